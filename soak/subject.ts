// The proxy under soak: its process, what it tells of itself, and what the kernel tells of it.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { unusedPort } from '../__test__/harness/port.js';
import type { CredentialSet } from '../__test__/harness/signature.js';
import { countDescriptors, readMemory } from '../bench/measure.js';
import { Program } from '../bench/program.js';

const ROOT = path.resolve(import.meta.dirname, '..');
const { TASKCLUSTER_PROXY_COMMAND = path.join(ROOT, 'dist/cli/taskcluster-proxy.cjs') } =
  process.env;

const METRIC = /^taskcluster_proxy_(\w+) (\S+)$/gm;

export interface SubjectOptions {
  readonly rootUrl: string;
  readonly credentials: CredentialSet;
  readonly flags: readonly string[];
  /** PEM of the authority that it trusts. */
  readonly authority: string;
  readonly log: string;
}

/** What a process holds. */
export interface Holding {
  readonly descriptors: number;
  readonly threads: number;
  /** Resident, in bytes. */
  readonly memory: number;
}

export class Subject {
  readonly port: number;
  readonly log: string;
  readonly #program: Program;

  private constructor(program: Program, port: number, log: string) {
    this.#program = program;
    this.port = port;
    this.log = log;
  }

  static async start(options: SubjectOptions): Promise<Subject> {
    const { rootUrl, credentials, flags, authority, log } = options;
    const port = await unusedPort();
    const where = ['--port', `${port}`, '--ip-address', '127.0.0.1', '--root-url', rootUrl];
    const program = new Program([process.execPath, TASKCLUSTER_PROXY_COMMAND, ...where, ...flags], {
      log,
      env: {
        TASKCLUSTER_CLIENT_ID: credentials.clientId,
        TASKCLUSTER_ACCESS_TOKEN: credentials.accessToken,
        SSL_CERT_FILE: authority,
      },
    });
    await program.listensOn(port);
    return new Subject(program, port, log);
  }

  get hasEnded(): boolean {
    return this.#program.hasEnded;
  }

  holding(): Holding {
    const { pid } = this.#program;
    return {
      descriptors: countDescriptors(pid),
      threads: existsSync(`/proc/${pid}`) ? readdirSync(`/proc/${pid}/task`).length : 0,
      memory: this.hasEnded ? 0 : readMemory(pid).resident,
    };
  }

  async metrics(): Promise<Map<string, number>> {
    const answer = await fetch(`http://127.0.0.1:${this.port}/__metrics__`);
    const text = await answer.text();
    return new Map([...text.matchAll(METRIC)].map(([, name = '', value]) => [name, Number(value)]));
  }

  /** Waits until no request runs and only the asking client is connected; gives what is left. */
  async comesToRest(milliseconds: number): Promise<{ requests: number; connections: number }> {
    const limit = Date.now() + milliseconds;
    for (;;) {
      const metrics = await this.metrics();
      const left = {
        requests: (metrics.get('running_requests') ?? Number.NaN) - 1,
        connections: (metrics.get('open_connections') ?? Number.NaN) - 1,
      };
      if ((left.requests === 0 && left.connections === 0) || Date.now() > limit) {
        return left;
      }
      await sleep(250);
    }
  }

  /** Whether its log tells of a panic. */
  panics(): string[] {
    return readFileSync(this.log, 'utf8').match(/^.*panicked.*$/gm) ?? [];
  }

  stop(): Promise<void> {
    return this.#program.stop();
  }
}
