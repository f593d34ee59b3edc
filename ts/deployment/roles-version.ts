/**
 * The current version of the roles, for all data that a process derives from them. A notification tells a
 * change at once, but a pooler, a cut connection or a suspended process may miss it. So an answer of the
 * database is valid for less than half a second in any case: then the process asks again, once for all
 * waiting requests.
 *
 * It reads no roles; `auth/clients.ts` does.
 */

/**
 * Greatest age of the version behind an answer, in milliseconds. Another service that caches the answer for
 * the same time still drops it within a second of the change.
 */
export const OLDEST = 450;

/** An answer of the database, valid as of the time of the question. */
interface Known {
  readonly version: number;
  readonly asked: Moment;
}

export class RolesVersion {
  readonly #read: () => Promise<number>;
  #known: Known | undefined;
  #question: { readonly answer: Promise<number>; readonly asked: Moment } | undefined;

  /** @param read - Asks the database. */
  constructor(read: () => Promise<number>) {
    this.#read = read;
  }

  /** Resolves with a version; data read afterwards are of this version or a later one. */
  async current(): Promise<number> {
    if (this.#known !== undefined && isRecent(this.#known.asked)) {
      return this.#known.version;
    }
    if (this.#question !== undefined && isRecent(this.#question.asked)) {
      return this.#question.answer;
    }
    const asked = moment();
    const answer = this.#read();
    const question = { answer, asked };
    this.#question = question;
    try {
      const version = await answer;
      // Otherwise a change was notified meanwhile, or a newer question was asked.
      if (this.#question === question) {
        this.#known = { version, asked };
      }
      return version;
    } finally {
      if (this.#question === question) {
        this.#question = undefined;
      }
    }
  }

  /** To be called when roles have changed, or may have. */
  changed(): void {
    this.#known = undefined;
    this.#question = undefined;
  }
}

/** Checks both clocks: the monotonic one stops while a machine sleeps, the other may be set. */
interface Moment {
  readonly monotonic: number;
  readonly wall: number;
}

function moment(): Moment {
  return { monotonic: performance.now(), wall: Date.now() };
}

function isRecent({ monotonic, wall }: Moment): boolean {
  return Math.max(performance.now() - monotonic, Date.now() - wall) < OLDEST;
}
