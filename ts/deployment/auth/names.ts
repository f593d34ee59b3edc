/**
 * The patterns of client ids and role ids, as in Taskcluster's references, and the characters allowed in
 * descriptions.
 */
import { ApiError } from '../api/errors.js';

export const CLIENT_ID = /^[A-Za-z0-9!@/:.+|_-]+$/;

export const ROLE_ID = /^[\x20-\x7e]+$/;

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
