// A worker as its tasks' proxies see it: the launcher under build/, which starts, updates and ends
// them as generic-worker does, and which can crash.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import type { ExecutionContext } from 'ava';
import { COMMAND } from './command.js';
import { PROGRAM_PATIENCE_MS, within } from './deadline.js';
import type { CredentialSet } from './signature.js';
import { pathOf } from './tools.js';

/** What a worker tells a task's proxy. */
export interface TaskProxy {
  readonly ipAddress: string;
  readonly port: number;
  readonly rootUrl: string;
  readonly allowedUser: string;
  readonly allowedNetwork?: string;
  readonly scopes: string[];
  readonly credentials: CredentialSet;
}

interface Answer {
  readonly pid?: number;
  readonly status?: number;
  readonly error?: string;
}

export class Worker {
  /** What it and its proxies wrote so far. */
  log = '';
  readonly #child: ChildProcess;
  readonly #orders: Writable;
  readonly #answers: AsyncIterator<string>;
  readonly #exited: Promise<unknown[]>;

  /** Starts a worker with as much of an environment as a machine gives it. */
  constructor(t: Pick<ExecutionContext, 'teardown'>, environment: Record<string, string> = {}) {
    const { PATH = '' } = process.env;
    this.#child = spawn(pathOf('launcher'), [], {
      env: { PATH, ...environment },
      // A service's process leads a session of its own.
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    });
    const [, out, errors, answers] = this.#child.stdio as Readable[];
    for (const stream of [out, errors]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.log += text;
      });
    }
    this.#orders = this.#child.stdin as Writable;
    this.#orders.on('error', () => {});
    const lines = createInterface({ input: answers as Readable });
    this.#answers = lines[Symbol.asyncIterator]();
    this.#exited = once(this.#child, 'exit');
    t.teardown(() => this.killed());
  }

  /** Starts the proxy of the task in a slot; resolves once its port is active. */
  async start(slot: number, task: TaskProxy): Promise<number> {
    const { pid = 0 } = await this.#order({ do: 'start', slot, executable: COMMAND, ...task });
    return pid;
  }

  /** Hands over credentials of a reclaim; the status of the answer. */
  async update(slot: number, credentials: CredentialSet): Promise<number | undefined> {
    return (await this.#order({ do: 'update', slot, credentials })).status;
  }

  /** Ends the task's proxy by SIGKILL, as the end of every task does. */
  async terminate(slot: number): Promise<void> {
    await this.#order({ do: 'terminate', slot });
  }

  /** It ends by itself, of an error. */
  async panics(): Promise<void> {
    this.#send({ do: 'panic' });
    await within(this.#exited, 'the end of the worker');
  }

  async killed(): Promise<void> {
    this.#child.kill('SIGKILL');
    await within(this.#exited, 'the end of the worker');
  }

  #send(order: object): void {
    this.#orders.write(`${JSON.stringify(order)}\n`);
  }

  async #order(order: object): Promise<Answer> {
    this.#send(order);
    const { value = '{"error":"it has ended"}' } = await within(
      this.#answers.next(),
      'an answer of the worker',
      PROGRAM_PATIENCE_MS,
    );
    const answer: Answer = JSON.parse(value);
    if (answer.error !== undefined) {
      throw new Error(`${answer.error}\n${this.log}`);
    }
    return answer;
  }
}
