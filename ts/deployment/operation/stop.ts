/**
 * Stops a server in order: running requests are answered, each connection ends after its answer, and
 * workers that wait for a task are told at once that there is none.
 *
 * The steps: heartbeats answer 503, so that a load balancer turns to other processes; all requests are
 * served for `delay`; then no connection is accepted, and running requests have `grace` to end.
 */
import type { Server, ServerResponse } from 'node:http';
import { setImmediate, setTimeout } from 'node:timers/promises';

export interface StopOptions {
  /** Time to serve as before, until a load balancer has noticed, in milliseconds; 0 when absent. */
  readonly delay?: number;
  /**
   * Time for running requests to end after that, in milliseconds; 0 when absent, which closes every
   * connection at once.
   */
  readonly grace?: number;
}

/** Interval between checks for idle connections, in milliseconds. */
const LOOK = 50;

export class Stopping {
  readonly #server: Server;
  readonly #onBegin: () => void;
  readonly #hurry = new AbortController();
  #ended: Promise<void> | undefined;

  /** @param onBegin - Called when the stop begins, to answer waiting workers. */
  constructor(server: Server, onBegin: () => void) {
    this.#server = server;
    this.#onBegin = onBegin;
  }

  /** Whether the stop has begun. */
  get hasBegun(): boolean {
    return this.#ended !== undefined;
  }

  /** To be called with each request, before its handler. */
  serve(response: ServerResponse): void {
    // The client sends its next request on another connection; a balancer picks another process.
    response.shouldKeepAlive &&= !this.hasBegun;
  }

  /** Resolves when every connection is closed. A second call closes them at once. */
  end(options: StopOptions): Promise<void> {
    if (this.#ended === undefined) {
      this.#ended = this.#end(options);
    } else {
      this.#hurry.abort();
    }
    return this.#ended;
  }

  async #end({ delay = 0, grace = 0 }: StopOptions): Promise<void> {
    this.#onBegin();
    if (delay > 0) {
      await this.#pause(delay);
    }
    if (grace > 0) {
      // A connection with received bytes now counts as one with a request.
      await setImmediate();
    }
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const looking = setInterval(() => this.#server.closeIdleConnections(), LOOK);
    if (grace > 0) {
      await Promise.race([closed, this.#pause(grace)]);
    }
    clearInterval(looking);
    this.#server.closeAllConnections();
    await closed;
    // Ends the pause early if nothing is left to wait for.
    this.#hurry.abort();
  }

  async #pause(milliseconds: number): Promise<void> {
    await setTimeout(milliseconds, undefined, { signal: this.#hurry.signal }).catch(
      () => undefined,
    );
  }
}
