/**
 * Ids that are nobody's to guess: whoever holds one has what it stands for. The store knows them by
 * their hashes only, so that nobody can use one who can read the data.
 */
import { createHash, randomBytes } from 'node:crypto';

const LENGTH = 32;

/** 43 characters of base64url. */
export function newId(): string {
  return randomBytes(LENGTH).toString('base64url');
}

/** By which it is kept. They are as random as can be, so that a fast hash does. */
export function hashOf(id: string): Uint8Array {
  return createHash('sha256').update(id).digest();
}
