/**
 * Checks that `LISTEN` works, by a notification to the process itself once a second. A pooler in
 * transaction mode accepts `LISTEN` without an error, and a firewall may drop an idle connection silently:
 * only a notification that arrives is proof.
 *
 * The notification goes out on another connection than the listening one, which would receive its own even
 * through a pooler.
 */
import { randomBytes } from 'node:crypto';
import type { Database } from './database.js';

export interface ListenProofOptions {
  readonly database: Database;
  /** Called with whether notifications arrive, first when that is known and then at each change. */
  readonly onChange: (isHeard: boolean) => void;
  /** Called once a second while no notifications arrive. */
  readonly onSilence: () => void;
}

/** Interval of notifications, in milliseconds. */
const INTERVAL = 1000;

/** Time after which a notification counts as lost, in milliseconds. */
const PATIENCE = 3000;

/** Silence after which the listening connection is replaced, in milliseconds. */
const RENEW_AFTER = 10_000;

export class ListenProof {
  readonly #options: ListenProofOptions;
  readonly #channel = `listen_proof_${randomBytes(8).toString('hex')}`;
  #timer: NodeJS.Timeout | undefined;
  #isHeard: boolean | undefined;
  /** When the last arrived notification was sent, or the first one of all. */
  #heardUntil = performance.now();
  #renewed = performance.now();

  private constructor(options: ListenProofOptions) {
    this.#options = options;
  }

  static async start(options: ListenProofOptions): Promise<ListenProof> {
    const proof = new ListenProof(options);
    const { database } = options;
    // Only this process changes an embedded database.
    if (database.isExclusive) {
      proof.#isHeard = true;
      return proof;
    }
    await database.listen(proof.#channel, (sent) => proof.#hear(sent));
    proof.#timer = setInterval(() => proof.#tick(), INTERVAL).unref();
    proof.#send();
    return proof;
  }

  /** Whether notifications arrive, as far as known. */
  get isHeard(): boolean {
    return this.#isHeard ?? false;
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const now = performance.now();
    if (now - this.#heardUntil > PATIENCE) {
      this.#set(false);
      if (now - Math.max(this.#heardUntil, this.#renewed) > RENEW_AFTER) {
        this.#renewed = now;
        this.#options.database.listenAnew();
      }
    }
    if (!this.isHeard) {
      this.#options.onSilence();
    }
    this.#send();
  }

  /** Sends a notification with its time. It needs no synchronous commit: losing it in a crash is harmless. */
  #send(): void {
    const { database } = this.#options;
    const sql = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";
    // A failed statement counts as silence.
    database.query(sql, [this.#channel, String(performance.now())]).catch(() => undefined);
  }

  #hear(sent: string | undefined): void {
    if (sent !== undefined) {
      this.#heardUntil = Math.max(this.#heardUntil, Number(sent));
      if (performance.now() - this.#heardUntil <= PATIENCE) {
        this.#set(true);
      }
    }
  }

  #set(isHeard: boolean): void {
    if (this.#isHeard !== isHeard) {
      this.#isHeard = isHeard;
      this.#options.onChange(isHeard);
    }
  }
}
