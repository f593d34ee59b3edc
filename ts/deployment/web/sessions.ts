/**
 * Who has signed in where: a browser, or whatever else keeps cookies, holds a random id, and the
 * store holds the hash of it, so that nobody can take a session over who can read the data.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { CookieOptions, Request, Response } from 'express';
import type { LocalUser, OpenSession, Store } from '../storage/store.js';

const COOKIE = 'taskcluster-session';

/** As Taskcluster's own web server has it: a week, in milliseconds. */
const LIFETIME = 7 * 24 * 60 * 60 * 1000;

const ID_LENGTH = 32;
const ID = new RegExp(`(?:^|;)\\s*${COOKIE}=([A-Za-z0-9_-]{43})\\s*(?:;|$)`);

export class Sessions {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /**
   * Begins a session under a new id, and ends the one that the request is part of. False where the
   * user's password is not that any more.
   */
  async open(request: Request, response: Response, user: LocalUser): Promise<boolean> {
    const id = randomBytes(ID_LENGTH).toString('base64url');
    const session = {
      idHash: hashed(id),
      userName: user.name,
      expires: new Date(Date.now() + LIFETIME),
    };
    await this.#end(request);
    if (!(await this.#store.sessions.open(session, user.passwordHash))) {
      return false;
    }
    response.cookie(COOKIE, id, { ...attributes(request), maxAge: LIFETIME });
    return true;
  }

  /** The session that a request is part of. */
  async of(request: Request): Promise<OpenSession | undefined> {
    const id = idOf(request);
    return id === undefined ? undefined : this.#store.sessions.get(hashed(id), new Date());
  }

  async close(request: Request, response: Response): Promise<void> {
    await this.#end(request);
    response.clearCookie(COOKIE, attributes(request));
  }

  async #end(request: Request): Promise<void> {
    const id = idOf(request);
    if (id !== undefined) {
      await this.#store.sessions.remove(hashed(id));
    }
  }
}

function attributes({ headers }: Request): CookieOptions {
  const secure = headers['x-forwarded-proto'] === 'https';
  return { path: '/login', httpOnly: true, sameSite: 'strict', secure };
}

function idOf({ headers }: Request): string | undefined {
  return ID.exec(headers.cookie ?? '')?.[1];
}

function hashed(id: string): Uint8Array {
  return createHash('sha256').update(id).digest();
}
