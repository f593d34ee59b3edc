/** Who has signed in where: a browser, or whatever else keeps cookies, holds a random id. */
import type { CookieOptions, Request, Response } from 'express';
import type { PublicUrl } from '../public-url.js';
import type { LocalUser, OpenSession, Store } from '../storage/store.js';
import { hashOf, newId } from './random-ids.js';

const COOKIE = 'taskcluster-session';

/** As Taskcluster's own web server has it: a week, in milliseconds. */
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
   * Begins a session under a new id, and ends the one that the request is part of. False where the
   * user's password is not that any more.
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

  /** The session that a request is part of. */
  async of(request: Request): Promise<OpenSession | undefined> {
    const id = idOf(request);
    return id === undefined ? undefined : this.#store.sessions.get(hashOf(id), new Date());
  }

  /** What tells a request's session from others, and is of no use to anybody else. */
  mark(request: Request): string | undefined {
    const id = idOf(request);
    return id === undefined ? undefined : Buffer.from(hashOf(id)).toString('base64url');
  }

  async close(request: Request, response: Response): Promise<void> {
    await this.#end(request);
    response.clearCookie(COOKIE, this.#attributes(request));
  }

  /**
   * Lax, since a user comes to where third parties ask by a link of theirs. What changes anything is
   * a POST, and `ownPagesOnly` looks at those.
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
