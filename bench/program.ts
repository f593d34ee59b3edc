// A program that the bench starts, and ends: its output in files, its port awaited. What is measured
// of it stands in measure.ts.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { PROGRAM_PATIENCE_MS } from '../__test__/harness/deadline.js';
import { accepts } from '../__test__/harness/port.js';
import { isExecutable } from '../__test__/harness/programs.js';

const STOP_LIMIT_MS = 5_000;

/** What the user is told in one sentence, without a stack. */
export class BenchError extends Error {
  override readonly name = 'BenchError';
}

export interface ProgramOptions {
  /** Where stderr goes; stdout too, unless it is looked at by the caller. */
  log: string;
  env?: Record<string, string>;
}

/** The programs that have not ended yet. */
const living = new Set<ChildProcess>();

// A bench that is interrupted leaves no servers behind.
process.on('exit', () => {
  for (const child of living) {
    child.kill('SIGTERM');
  }
});

export class Program {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #command: readonly string[];
  readonly #log: string;

  constructor(command: readonly string[], { log, env = {} }: ProgramOptions) {
    const [file = '', ...args] = command;
    const descriptor = openSync(log, 'a');
    const { PATH = '' } = process.env;
    this.#child = spawn(file, args, {
      env: { PATH, ...env },
      stdio: ['ignore', descriptor, descriptor],
    });
    closeSync(descriptor);
    this.#command = command;
    this.#log = log;
    living.add(this.#child);
    this.#exited = once(this.#child, 'exit')
      .catch(() => undefined)
      .finally(() => living.delete(this.#child));
    this.pid = this.#child.pid ?? 0;
  }

  /** Resolves when a process accepts connections on this port of 127.0.0.1. */
  async listensOn(port: number): Promise<void> {
    const limit = Date.now() + PROGRAM_PATIENCE_MS;
    while (!(await accepts(port))) {
      if (this.hasEnded || Date.now() > limit) {
        const told = readFileSync(this.#log, 'utf8').slice(-2_000);
        throw new BenchError(`${this.#command.join(' ')} does not listen on ${port}:\n${told}`);
      }
      await sleep(5);
    }
  }

  get hasEnded(): boolean {
    return this.pid === 0 || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async stop(): Promise<void> {
    if (this.hasEnded) {
      return;
    }
    this.#child.kill('SIGTERM');
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_LIMIT_MS);
    await this.#exited;
    clearTimeout(killer);
  }
}

/** The path of a program of the system, if it is installed. */
export function findProgram(name: string): string | undefined {
  const { PATH = '' } = process.env;
  return [...PATH.split(path.delimiter), '/usr/sbin', '/usr/local/sbin']
    .map((directory) => path.join(directory, name))
    .find(isExecutable);
}
