/**
 * The queue of sign-ins that wait for a password check. A check takes long on purpose, and runs one at a
 * time. Addresses take turns, and names at each address: a client that guesses passwords delays itself, and
 * any other address or name by no more than one guess of each.
 *
 * The queue checks no password, and remembers only waiting sign-ins.
 */
import { isIPv6 } from 'node:net';

/** Too many sign-ins at once. */
export class TooManySignInsError extends Error {
  override readonly name = 'TooManySignInsError';
  override readonly message = 'Too many users are signing in just now: try again in a few seconds';
}

/** Most waiting sign-ins: with one name at one address, at one address, and in all. */
const MOST_OF_NAME = 4;
const MOST_OF_ADDRESS = 64;
const MOST = 1024;

/** A waiting sign-in. */
export interface Applicant {
  readonly address: string;
  readonly name: string;
}

type Start = () => Promise<void>;

export class SignInQueue {
  /** Waiting sign-ins by address and name, in the order of their turns. */
  readonly #waiting = new Map<string, Map<string, Start[]>>();
  #count = 0;
  #isRunning = false;

  /** Does `work` in the applicant's turn. @throws TooManySignInsError */
  run<Result>(applicant: Applicant, work: () => Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#add(applicant, () => work().then(resolve, reject));
      void this.#runAll();
    });
  }

  #add({ address, name }: Applicant, start: Start): void {
    const network = networkOf(address);
    const names = this.#waiting.get(network) ?? new Map<string, Start[]>();
    const starts = names.get(name) ?? [];
    const ofAddress = [...names.values()].reduce((sum, { length }) => sum + length, 0);
    if (starts.length >= MOST_OF_NAME || ofAddress >= MOST_OF_ADDRESS || this.#count >= MOST) {
      throw new TooManySignInsError();
    }
    starts.push(start);
    this.#count += 1;
    this.#waiting.set(network, names.set(name, starts));
  }

  async #runAll(): Promise<void> {
    if (this.#isRunning) {
      return;
    }
    this.#isRunning = true;
    for (let next = this.#take(); next !== undefined; next = this.#take()) {
      await next();
    }
    this.#isRunning = false;
  }

  /** Takes the next sign-in and moves its address and name to the end. */
  #take(): Start | undefined {
    const names = first(this.#waiting);
    const starts = names && first(names.rest);
    const start = starts?.rest.shift();
    if (names === undefined || starts === undefined || start === undefined) {
      return undefined;
    }
    this.#count -= 1;
    if (starts.rest.length > 0) {
      names.rest.set(starts.key, starts.rest);
    }
    if (names.rest.size > 0) {
      this.#waiting.set(names.key, names.rest);
    }
    return start;
  }
}

/** Removes the first entry. */
function first<Value>(map: Map<string, Value>): { key: string; rest: Value } | undefined {
  const [entry] = map;
  if (entry === undefined) {
    return undefined;
  }
  const [key, rest] = entry;
  map.delete(key);
  return { key, rest };
}

/** Of an IPv6 address the /64, since one host may have all of it (RFC 6177, section 2). */
function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) {
    return address;
  }
  const [head = '', tail = ''] = address.split('::', 2);
  const groups = head.split(':').filter((group) => group !== '');
  const missing = 8 - groups.length - tail.split(':').filter((group) => group !== '').length;
  return [...groups, ...Array<string>(missing).fill('0')].slice(0, 4).join(':');
}
