/** Sessions of signed-in users: a browser or another client with cookies holds a random id. */
import type { CookieOptions, Request, Response } from 'express';
import type { PublicUrl } from '../public-url.js';
import type { LocalUser, OpenSession, Store } from '../storage/store.js';
import { hashOf, newId } from './random-ids.js';

const COOKIE = 'taskcluster-session';

/** A week, as in Taskcluster's own web server, in milliseconds. */
const LIFETIME = 7 * 24 * 60 * 60 * 1000;

const ID = new RegExp(`(?:^|;)\\s*${COOKIE}=([A-Za-z0-9_-]{43})\\s*(?:;|$)`);

export class Sessions {
  readonly #store: Store;

  readonly #publicUrl: Pick<PublicUrl, 'of'>;

  constructor(store: Store, publicUrl: Pick<PublicUrl, 'of'>) {
    this.#store = store;
    this.#publicUrl = publicUrl;
  }

  /**
   * Begins a session under a new id, and ends the session of the request. False if the user's password has
   * changed meanwhile.
   */
  async open(request: Request, response: Response, user: LocalUser): Promise<boolean> {
    const id = newId();
    const session = {
      idHash: hashOf(id),
      userName: user.name,
      expires: new Date(Date.now() + LIFETIME),
    };
    await this.#end(request);
    if (!(await this.#store.sessions.open(session, user.passwordHash))) {
      return false;
    }
    response.cookie(COOKIE, id, { ...this.#attributes(request), maxAge: LIFETIME });
    return true;
  }

  /** The session of a request. */
  async of(request: Request): Promise<OpenSession | undefined> {
    const id = idOf(request);
    return id === undefined ? undefined : this.#store.sessions.get(hashOf(id), new Date());
  }

  /** A value that identifies the request's session and cannot be used to take it over. */
  mark(request: Request): string | undefined {
    const id = idOf(request);
    return id === undefined ? undefined : Buffer.from(hashOf(id)).toString('base64url');
  }

  async close(request: Request, response: Response): Promise<void> {
    await this.#end(request);
    response.clearCookie(COOKIE, this.#attributes(request));
  }

  /**
   * `lax`, since users follow links from other sites to the pages. Every change is a POST, which
   * `ownPagesOnly` checks.
   */
  #attributes(request: Request): CookieOptions {
    const secure = this.#publicUrl.of(request).startsWith('https:');
    return { path: '/login', httpOnly: true, sameSite: 'lax', secure };
  }

  async #end(request: Request): Promise<void> {
    const id = idOf(request);
    if (id !== undefined) {
      await this.#store.sessions.remove(hashOf(id));
    }
  }
}

function idOf({ headers }: Request): string | undefined {
  return ID.exec(headers.cookie ?? '')?.[1];
}
