/** The characters allowed in descriptions. */
import { ApiError } from './errors.js';

/**
 * Text that the database can return unchanged: PostgreSQL stores no NUL and no half of a surrogate pair.
 *
 * @throws ApiError `InputError`
 */
export function checkDescription(description: string): void {
  if (/[\0\p{Surrogate}]/u.test(description)) {
    throw new ApiError(
      'InputError',
      'A description cannot contain a NUL or half of a surrogate pair: leave it out',
    );
  }
}
