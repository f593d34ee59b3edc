/**
 * What ids of clients and roles look like, as in Taskcluster's references, and what their descriptions
 * may be of.
 */
import { ApiError } from '../api/errors.js';

export const CLIENT_ID = /^[A-Za-z0-9!@/:.+|_-]+$/;

export const ROLE_ID = /^[\x20-\x7e]+$/;

/**
 * Text that comes back as it was given: a database has no NUL, and half a character in no encoding.
 *
 * @throws ApiError `InputError`
 */
export function checkDescription(description: string): void {
  if (/[\0\p{Surrogate}]/u.test(description)) {
    throw new ApiError(
      'InputError',
      'A description cannot have a NUL or half of a surrogate pair in it: leave it out',
    );
  }
}
