/** Reads times that clients send. */
import { ApiError } from './errors.js';

/**
 * Reads a text in a schema's `date-time` format. The format has leap seconds and a year 0, which dates of
 * JavaScript and PostgreSQL do not have.
 *
 * @throws ApiError `InputError`
 */
export function instant(text: string): Date {
  const time = new Date(text);
  if (Number.isNaN(time.getTime()) || time.getUTCFullYear() < 1) {
    throw new ApiError('InputError', `\`${text}\` is not a time that can be kept: use another one`);
  }
  return time;
}
