/**
 * Who waits for a password to be looked at, which takes long on purpose and is done for one after the
 * other. Addresses take turns, and names at each address: whoever guesses waits for himself, and
 * neither another address nor another name waits for more than one guess of each.
 *
 * What it is not: it looks at no password, and it remembers nobody who is not waiting.
 */
import { isIPv6 } from 'node:net';

/** More sign-ins at once than there is time for. */
export class TooManySignInsError extends Error {
  override readonly name = 'TooManySignInsError';
  override readonly message = 'Too many people are signing in just now: try again in a few seconds';
}

/** How many may wait: with one name at one address, at one address, and in all. */
const MOST_OF_NAME = 4;
const MOST_OF_ADDRESS = 64;
const MOST = 1024;

/** Who wants to sign in. */
export interface Applicant {
  readonly address: string;
  readonly name: string;
}

type Start = () => Promise<void>;

export class SignInQueue {
  /** By address and name; whose turn is next comes first. */
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

  /** The next one, whose address and name go behind the others. */
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

/** Takes out what has been in longest. */
function first<Value>(map: Map<string, Value>): { key: string; rest: Value } | undefined {
  const [entry] = map;
  if (entry === undefined) {
    return undefined;
  }
  const [key, rest] = entry;
  map.delete(key);
  return { key, rest };
}

/** Of an IPv6 address its /64, all of which one host may have (RFC 6177, section 2). */
function networkOf(address: string): string {
  if (!isIPv6(address) || address.startsWith('::ffff:')) {
    return address;
  }
  const [head = '', tail = ''] = address.split('::', 2);
  const groups = head.split(':').filter((group) => group !== '');
  const missing = 8 - groups.length - tail.split(':').filter((group) => group !== '').length;
  return [...groups, ...Array<string>(missing).fill('0')].slice(0, 4).join(':');
}
