// Runs the command to its end, or until it listens, with only the environment that the test gives.
import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import type { ExecutionContext } from 'ava';
import { endsWith } from './child.js';
import { gate, within } from './deadline.js';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** Another build of the command can be tested by naming it here. */
const { TASKCLUSTER_PROXY_COMMAND = path.join(ROOT, 'dist/cli/taskcluster-proxy.cjs'), PATH = '' } =
  process.env;

export const COMMAND = TASKCLUSTER_PROXY_COMMAND;

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

type Environment = Record<string, string>;

/** The environment that a run needs to get past the checks. */
export const ENOUGH: Environment = {
  TASKCLUSTER_ROOT_URL: 'http://127.0.0.1:1',
  TASKCLUSTER_CLIENT_ID: 'project/tester',
  TASKCLUSTER_ACCESS_TOKEN: 'not-a-secret',
};

function spawnCommand(t: Pick<ExecutionContext, 'teardown'>, args: string[], env: Environment) {
  const child = spawn(process.execPath, [COMMAND, ...args], {
    env: { PATH, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = endsWith(t, child);
  return { child, exited };
}

/** Runs the command to its end. */
export async function runCommand(
  t: Pick<ExecutionContext, 'teardown'>,
  args: string[],
  env: Environment = {},
): Promise<Ended> {
  const { child, exited } = spawnCommand(t, args, env);
  const [[code, signal], stdout, stderr] = await within(
    Promise.all([exited, text(child.stdout), text(child.stderr)]),
    `the end of taskcluster-proxy ${args.join(' ')}`,
  );
  return { code, signal, stdout, stderr };
}

export interface Listening {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Lines of stdout until it was quiet. */
  readonly lines: string[];
  readonly urls: string[];
  /** What it wrote to stderr so far. */
  stderr(): string;
  readonly exited: Promise<unknown[]>;
}

/** Runs the command until it has named `listeners` addresses. */
export async function startCommand(
  t: Pick<ExecutionContext, 'teardown'>,
  args: string[],
  env: Environment = ENOUGH,
  listeners = 1,
): Promise<Listening> {
  const { child, exited } = spawnCommand(t, args, env);
  const ready = gate();
  let stdout = '';
  let stderr = '';
  const urls = () => [...stdout.matchAll(/^Listening on (\S+)\n/gm)].map(([, url = '']) => url);
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    stderr += part;
  });
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    stdout += part;
    if (urls().length >= listeners) {
      ready.open();
    }
  });
  void exited.then(([code]) => ready.fail(new Error(`it ended with ${code}:\n${stderr}`)));
  await within(ready.opened, 'the line `Listening on`');
  return {
    child,
    pid: child.pid ?? 0,
    lines: stdout.split('\n').slice(0, -1),
    urls: urls(),
    stderr: () => stderr,
    exited,
  };
}
