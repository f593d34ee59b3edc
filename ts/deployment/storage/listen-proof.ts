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
  /** Called once a second for as long as they do not. */
  readonly onSilence: () => void;
}

/** Between notices, in milliseconds. */
const INTERVAL = 1000;

/** How long one may take before it counts as lost, in milliseconds. */
const PATIENCE = 3000;

/** After so much silence the connection that listens is made anew, in milliseconds. */
const RENEW_AFTER = 10_000;

export class ListenProof {
  readonly #options: ListenProofOptions;
  readonly #channel = `listen_proof_${randomBytes(8).toString('hex')}`;
  #timer: NodeJS.Timeout | undefined;
  #isHeard: boolean | undefined;
  /** When the last notice was sent that has arrived, or the first of all. */
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

  /** Whether notices arrive, as far as is known. */
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

  /** It says when it was sent. Nothing is lost with it: a crash need not remember it. */
  #send(): void {
    const { database } = this.#options;
    const sql = "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)";
    // Without a database nothing arrives either.
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
