/**
 * Random ids that cannot be guessed: the holder of an id owns its session. The store keeps only their
 * hashes, so that a reader of the data cannot use one.
 */
import { createHash, randomBytes } from 'node:crypto';

const LENGTH = 32;

/** 43 characters of base64url. */
export function newId(): string {
  return randomBytes(LENGTH).toString('base64url');
}

/** The stored form. The ids have full entropy, so a fast hash suffices. */
export function hashOf(id: string): Uint8Array {
  return createHash('sha256').update(id).digest();
}
