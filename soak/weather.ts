// The network between a proxy and its upstream: a relay of TCP connections on loopback, over which storms
// come and go. A storm delays, slices, narrows, silences, cuts or resets. As in TCP, no byte of a connection
// that goes on is changed, lost or moved.
//
// Toxiproxy has the same to offer, but hangs for good where a toxic is removed that holds bytes up
// (https://github.com/Shopify/toxiproxy/issues/558).
import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import type { Random } from '../__test__/harness/random.js';
import type { Ledger } from './ledger.js';
import { stoodStillSince } from './standstill.js';

/** What befalls a connection; times in milliseconds. */
interface Storm {
  /** Before each piece. */
  readonly delay?: number;
  /** Bytes that go at once. */
  readonly slice?: number;
  /** Bytes in a millisecond. */
  readonly rate?: number;
  /** Between the end of one side and the word of it to the other. */
  readonly linger?: number;
  /** From now on nothing passes; after this time the connection is closed. */
  readonly silence?: number;
  /** Bytes that still pass before it is closed. */
  readonly cut?: number;
  /** After this time it is reset. */
  readonly reset?: number;
}

const STORMS: Record<keyof Storm, (random: Random) => number> = {
  delay: (random) => random.between(2, 300),
  slice: (random) => random.pick([20, 500, 4_000]),
  rate: (random) => random.between(100, 10_000),
  linger: (random) => random.between(10, 1_000),
  silence: (random) => random.between(50, 2_000),
  cut: (random) => random.pick([0, 1, 100, 400, 5_000, 100_000, 2_000_000]),
  reset: (random) => random.pick([0, 5, 50, 500]),
};

const KINDS = Object.keys(STORMS) as (keyof Storm)[];

const FAIR: Storm = {};

/** How long it is fair, and how long a storm lasts. */
const FAIR_MS = [2_000, 6_000] as const;
const STORM_MS = [500, 4_000] as const;

/** How long after a storm the connections that it has broken are still found. */
const SETTLED_MS = 2_000;

/** A way to one upstream, and the weather on it. */
export class Weather {
  readonly port: number;
  readonly #server: net.Server;
  readonly #random: Random;
  readonly #ledger: Ledger;
  readonly #links = new Set<Link>();
  #storm = FAIR;
  /** How many of ten connections are in the storm. */
  #share = 0;
  /** When the last storm was over; later than any time while one lasts. */
  #stormUntil = 0;

  private constructor(server: net.Server, upstream: number, random: Random, ledger: Ledger) {
    this.port = (server.address() as net.AddressInfo).port;
    this.#server = server;
    this.#random = random;
    this.#ledger = ledger;
    server.on('connection', (near) => this.#join(near, upstream));
  }

  /** @param upstream - Its port on loopback. */
  static async on(upstream: number, random: Random, ledger: Ledger): Promise<Weather> {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Weather(server, upstream, random, ledger);
  }

  /** Whether nothing that happened from `since` on can be due to the network. */
  wasFairSince(since: number): boolean {
    return this.#stormUntil + SETTLED_MS < since && !stoodStillSince(since - SETTLED_MS);
  }

  /** Lets it change until `signal`; it is fair then. */
  async change(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(this.#random.between(...FAIR_MS), signal);
      if (!signal.aborted) {
        await this.#rage(signal);
      }
    }
  }

  stop(): void {
    this.#server.close();
    for (const link of this.#links) {
      link.reset();
    }
  }

  async #rage(signal: AbortSignal): Promise<void> {
    const kinds = [this.#random.pick(KINDS), this.#random.pick(KINDS)];
    this.#storm = Object.fromEntries(kinds.map((kind) => [kind, STORMS[kind](this.#random)]));
    this.#share = this.#random.pick([2, 5, 10]);
    this.#stormUntil = Number.POSITIVE_INFINITY;
    for (const kind of Object.keys(this.#storm)) {
      this.#ledger.add(`storms with ${kind}`);
    }
    for (const link of this.#links) {
      this.#draw(link);
    }
    await pause(this.#random.between(...STORM_MS), signal);
    this.#share = 0;
    for (const link of this.#links) {
      link.meet(FAIR);
    }
    this.#stormUntil = Date.now();
  }

  #join(near: net.Socket, upstream: number): void {
    const where = { port: upstream, host: '127.0.0.1', allowHalfOpen: true, noDelay: true };
    const link = new Link(near, net.connect(where));
    this.#links.add(link);
    void link.over.then(() => this.#links.delete(link));
    this.#draw(link);
  }

  #draw(link: Link): void {
    if (this.#random.below(10) < this.#share) {
      link.meet(this.#storm);
    }
  }
}

/** One connection through it. */
class Link {
  /** When neither side is open any more. */
  readonly over: Promise<unknown>;
  readonly #sides: readonly [net.Socket, net.Socket];
  #storm = FAIR;
  #left = Number.POSITIVE_INFINITY;
  #isSilent = false;

  constructor(near: net.Socket, far: net.Socket) {
    this.#sides = [near, far];
    this.over = Promise.all(
      this.#sides.map((side) => {
        side.on('error', () => this.reset());
        return new Promise((resolve) => side.once('close', resolve));
      }),
    );
    void this.#carry(near, far);
    void this.#carry(far, near);
  }

  meet(storm: Storm): void {
    this.#storm = storm;
    this.#left = storm.cut ?? Number.POSITIVE_INFINITY;
    if (this.#isSilent) {
      this.#close();
    }
    if (storm.silence !== undefined) {
      this.#isSilent = true;
      setTimeout(() => this.#close(), storm.silence);
    }
    if (storm.reset !== undefined) {
      setTimeout(() => this.reset(), storm.reset);
    }
  }

  reset(): void {
    for (const side of this.#sides) {
      // Node never closes a socket that is reset while its end is on its way.
      if (side.writableEnded) {
        side.destroy();
      } else {
        side.resetAndDestroy();
      }
    }
  }

  #close(): void {
    this.#isSilent = true;
    for (const side of this.#sides) {
      side.destroySoon();
    }
  }

  async #carry(from: net.Socket, to: net.Socket): Promise<void> {
    try {
      for await (const piece of from.iterator({ destroyOnReturn: false })) {
        await this.#pass(piece, to);
      }
      await sleep(this.#storm.linger ?? 0);
      if (!this.#isSilent) {
        to.end();
      }
    } catch {
      // One side is broken, so the other is broken, too.
      this.reset();
    }
  }

  async #pass(piece: Buffer, to: net.Socket): Promise<void> {
    const { delay = 0, slice = piece.length, rate = Number.POSITIVE_INFINITY } = this.#storm;
    const wait = delay + piece.length / rate;
    if (wait > 0) {
      await sleep(wait);
    }
    for (let at = 0; at < piece.length && !this.#isSilent; at += slice) {
      const part = piece.subarray(at, at + Math.min(slice, this.#left));
      this.#left -= part.length;
      if (!to.write(part)) {
        await once(to, 'drain');
      }
      if (this.#left === 0) {
        this.#close();
      }
      await turn();
    }
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
}
