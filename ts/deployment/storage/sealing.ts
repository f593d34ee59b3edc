/**
 * Encryption of values that must not be readable from the database alone: access tokens and secrets, each by
 * AES-256-GCM with a key outside the database.
 *
 * A sealed value belongs to its row: it cannot be opened in another one. It names its key, so that keys can
 * be replaced one after the other.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A sealed value, stored in the columns `<name>` and `<name>_key`. */
export interface Sealed {
  /** Nonce, ciphertext and tag, in this order. */
  readonly bytes: Uint8Array;
  readonly keyId: string;
}

/** Keys that are missing, malformed, or not those with which a value was sealed. */
export class SealingError extends Error {
  override readonly name = 'SealingError';
}

/** The environment variable that holds the keys instead of a file. */
export const KEYS_VARIABLE = 'TASKCLUSTER_LOCAL_KEYS';

const KEY_LENGTH = 32;
const NONCE_LENGTH = 12;
const TAG_LENGTH = 16;

/** Keys by their ids. The first one seals, all of them open. */
export class KeyRing {
  #keys: ReadonlyMap<string, Buffer>;
  readonly #file: string | undefined;
  /** The state of the file when it was last read. */
  #stamp: string | undefined;

  private constructor(keys: ReadonlyMap<string, Buffer>, file?: string, stamp?: string) {
    this.#keys = keys;
    this.#file = file;
    this.#stamp = stamp;
  }

  /**
   * Reads keys from a file and follows its changes: a running process seals with a key that is added to the
   * file.
   *
   * @throws SealingError
   */
  static ofFile(file: string): KeyRing {
    const stamp = stampOf(file);
    return new KeyRing(KeyRing.parse(readFileSync(file, 'utf8')).#keys, file, stamp);
  }

  /** The id of the key that seals. */
  get currentId(): string {
    const [currentId = ''] = this.#keys.keys();
    return currentId;
  }

  /**
   * Reads keys from text: `<id>:<base64 of 32 bytes>`, one on a line or separated by commas.
   *
   * @throws SealingError
   */
  static parse(text: string): KeyRing {
    const keys = new Map<string, Buffer>();
    for (const entry of text.split(/[\s,]+/).filter((part) => part !== '')) {
      const [, id, encoded] = /^([\w-]+):([A-Za-z0-9+/_-]+=*)$/.exec(entry) ?? [];
      const key = Buffer.from(encoded ?? '', 'base64');
      if (id === undefined || keys.has(id) || key.length !== KEY_LENGTH) {
        throw new SealingError(
          'keys are written <id>:<base64 of 32 bytes>, the one in use first, each id once: ' +
            'make one by `openssl rand -base64 32`',
        );
      }
      keys.set(id, key);
    }
    if (keys.size === 0) {
      throw new SealingError('there is no key: write at least one as <id>:<base64 of 32 bytes>');
    }
    return new KeyRing(keys);
  }

  /** Seals a value for `place`, which names its row; `open` takes the same place. */
  seal(text: string, place: string): Sealed {
    this.#readAgain();
    const keyId = this.currentId;
    const nonce = randomBytes(NONCE_LENGTH);
    const cipher = createCipheriv('aes-256-gcm', this.#key(keyId), nonce);
    cipher.setAAD(Buffer.from(place));
    const bytes = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
    return { bytes: Buffer.concat(bytes), keyId };
  }

  /** @throws SealingError */
  open({ bytes, keyId }: Sealed, place: string): string {
    const tag = bytes.subarray(bytes.length - TAG_LENGTH);
    const nonce = bytes.subarray(0, NONCE_LENGTH);
    const decipher = createDecipheriv('aes-256-gcm', this.#key(keyId), nonce);
    decipher.setAAD(Buffer.from(place)).setAuthTag(tag);
    const text = decipher.update(bytes.subarray(NONCE_LENGTH, bytes.length - TAG_LENGTH));
    try {
      return Buffer.concat([text, decipher.final()]).toString('utf8');
    } catch {
      throw new SealingError(
        `${place} was not sealed with the key ${keyId} that this deployment has: start it with ` +
          'the key file that belongs to its database',
      );
    }
  }

  /** Reads a changed file again. A file that cannot be read, perhaps while it is edited, changes no key. */
  #readAgain(): void {
    if (this.#file === undefined) {
      return;
    }
    try {
      const stamp = stampOf(this.#file);
      if (stamp !== this.#stamp) {
        this.#keys = KeyRing.parse(readFileSync(this.#file, 'utf8')).#keys;
        this.#stamp = stamp;
      }
    } catch {
      // The keys stay.
    }
  }

  #key(id: string): Buffer {
    if (!this.#keys.has(id)) {
      this.#readAgain();
    }
    const key = this.#keys.get(id);
    if (key === undefined) {
      throw new SealingError(
        `the key ${id} is missing: add it to the key file or to ${KEYS_VARIABLE} until all that ` +
          'was sealed with it has been sealed again',
      );
    }
    return key;
  }
}

/**
 * The keys of the environment, or of `file`, which is created with a new key if missing.
 *
 * @throws SealingError
 */
export async function loadKeys(file: string, environment = process.env): Promise<KeyRing> {
  const text = environment[KEYS_VARIABLE];
  if (text !== undefined) {
    return KeyRing.parse(text);
  }
  if (!existsSync(file)) {
    await makeKeyFile(file);
  }
  return KeyRing.ofFile(file);
}

/** A value that changes when the file is written or replaced. */
function stampOf(file: string): string {
  const { ino, mtimeMs, size } = statSync(file);
  return [ino, mtimeMs, size].join(' ');
}

/** Creates the file in one step; of several processes that start together only one does. */
async function makeKeyFile(file: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const unfinished = await writeBeside(file, newKey([]));
  try {
    await link(unfinished, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw error;
    }
  } finally {
    await rm(unfinished, { force: true });
  }
}

/** Puts a new key before those of a key file: it seals from now on, and they still open. */
export async function addKey(file: string): Promise<KeyRing> {
  const present = await readFile(file, 'utf8');
  const ids = [...present.matchAll(/^([\w-]+):/gm)].map(([, id = '']) => id);
  await rename(await writeBeside(file, newKey(ids) + present), file);
  return loadKeys(file, {});
}

/** A line of a key file. The id is the day, with a number if the day is already an id. */
function newKey(ids: readonly string[]): string {
  const day = new Date().toJSON().slice(0, 10);
  let id = day;
  for (let number = 2; ids.includes(id); number += 1) {
    id = `${day}-${number}`;
  }
  return `${id}:${randomBytes(KEY_LENGTH).toString('base64')}\n`;
}

async function writeBeside(file: string, content: string): Promise<string> {
  const unfinished = `${file}.${randomBytes(6).toString('hex')}`;
  const handle = await open(unfinished, 'wx', 0o600);
  await handle.writeFile(content);
  await handle.sync();
  await handle.close();
  return unfinished;
}
