/**
 * The end of a server that leaves nothing undone: what runs is answered, each connection ends behind
 * its answer, and who waits for something that may never come is told at once that there is none.
 *
 * In this order: heartbeats say 503, so that a balancer in front turns to others; for `delay` all is
 * served as before; then nothing is accepted any more, and what still runs has `grace` to end.
 */
import type { Server, ServerResponse } from 'node:http';
import { setImmediate, setTimeout } from 'node:timers/promises';

export interface StopOptions {
  /** For how long it goes on serving, until a balancer has noticed, in milliseconds; 0 when absent. */
  readonly delay?: number;
  /**
   * How long requests may take to end after that, in milliseconds; 0 when absent, which closes every
   * connection, whatever is running on it.
   */
  readonly grace?: number;
}

/** Between looks at which connections have nothing running any more, in milliseconds. */
const LOOK = 50;

export class Stopping {
  readonly #server: Server;
  readonly #onBegin: () => void;
  readonly #hurry = new AbortController();
  #ended: Promise<void> | undefined;

  /** @param onBegin - Called when it begins: lets those go who wait. */
  constructor(server: Server, onBegin: () => void) {
    this.#server = server;
    this.#onBegin = onBegin;
  }

  /** Whether it has begun. */
  get hasBegun(): boolean {
    return this.#ended !== undefined;
  }

  /** To be called with each request, before it is answered. */
  serve(response: ServerResponse): void {
    // The next request comes on another connection, to another process where there is a balancer.
    response.shouldKeepAlive &&= !this.hasBegun;
  }

  /** Resolves when every connection is closed. Called once more, it waits for nothing any longer. */
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
      // What has arrived by now is seen to be a request on its way.
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
    // Ends the pause, where nothing had to be waited for any more.
    this.#hurry.abort();
  }

  async #pause(milliseconds: number): Promise<void> {
    await setTimeout(milliseconds, undefined, { signal: this.#hurry.signal }).catch(
      () => undefined,
    );
  }
}
