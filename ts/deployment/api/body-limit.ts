/**
 * Refuses a body that its request announces as far longer than the limit. The parser of bodies refuses a longer one
 * too, but takes in all of it first, so that a client which reads only after sending finds the answer.
 */
import type { RequestHandler } from 'express';
import { ApiError } from './errors.js';

const MIB = 1024 * 1024;

/** How many times longer than the limit a body may be announced to be taken in. */
const TAKEN_IN = 16;

/** The middleware to put before a parser of bodies of up to `limit` bytes. */
export function announcedUpTo(limit: number): RequestHandler {
  return ({ headers }, _response, next) => {
    if (Number(headers['content-length']) > TAKEN_IN * limit) {
      throw tooLarge(limit);
    }
    next();
  };
}

export function tooLarge(limit: number): ApiError {
  const most = limit < MIB ? `${limit / 1024} KiB` : `${limit / MIB} MiB`;
  return new ApiError('InputTooLarge', `The payload is larger than ${most}`);
}
