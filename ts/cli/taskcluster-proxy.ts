#!/usr/bin/env node
/**
 * The command `taskcluster-proxy`: one process that reads its command line, starts a proxy through the
 * API, prints its addresses, and ends on a signal. It has no rules of its own.
 *
 * Each run loads only the modules that it needs.
 */
import { renameSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import type { Proxy as RunningProxy } from '../proxy.js';
import {
  type Command,
  flagName,
  maskSecrets,
  parseLine,
  readCommand,
  SECRET_VARIABLES,
} from './arguments.js';
import { help } from './help.js';
import { closeInspector, forgetSignals, keepInspectorClosed } from './inspector.js';

/** Read before anything else: it changes when the process that started this one ends. */
const LAUNCHER = process.ppid;

type Run = Command & { kind: 'run' };

/** `EX_USAGE` of sysexits.h. */
const USAGE_ERROR = 64;

/** The exit status of a signal is its number added to this, as in shells. */
const SIGNALLED = 128;
const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

async function main(args: string[]): Promise<void> {
  forgetSignals();
  await closeInspector();
  const line = parseLine(args);
  // Overwrites the arguments where the system keeps them for ps and /proc.
  process.title = ['taskcluster-proxy', ...maskSecrets(args, line)].join(' ');
  const command = readCommand(line, process.env);
  for (const name of SECRET_VARIABLES) {
    delete process.env[name];
  }
  switch (command.kind) {
    case 'help':
      return say(1, help());
    case 'version':
    case 'shortVersion':
      return sayVersion(command.kind);
    case 'run':
      return run(command);
  }
}

async function sayVersion(kind: 'version' | 'shortVersion'): Promise<void> {
  const { version, revision } = await import('../index.js');
  await say(
    1,
    kind === 'version'
      ? `Taskcluster proxy ${version} (git revision ${revision})\n`
      : `${version}\n`,
  );
}

async function run(command: Run): Promise<void> {
  const { endWithLauncher, sayOnStdout } = await import('./process.js');
  if (command.endsWithLauncher) {
    endWithLauncher(LAUNCHER);
  }
  process.on('uncaughtException', fail);
  const [{ hardenProcess, version }, { start }] = await Promise.all([
    import('../index.js'),
    import('../proxy.js'),
  ]);
  hardenProcess();
  const authorizedScopes = await readScopes(command);
  // A signal before the process was hardened may have opened an inspector.
  await closeInspector();
  const options = { ...command.options, ...(authorizedScopes && { authorizedScopes }) };
  const warned = command.taskId !== undefined;
  const proxy = await start(options, { name: flagName, warned });
  await keepInspectorClosed();
  stopOnSignals(proxy, command.grace);
  if (options.auditLog !== undefined) {
    process.on('SIGHUP', () => proxy.reopenAuditLog());
  }
  sayOnStdout(proxy.addresses.map((address) => `Listening on ${address}\n`).join(''));
  if (command.readyFile !== undefined) {
    writeReadyFile(command.readyFile, { pid: process.pid, addresses: proxy.addresses, version });
  }
}

/** The task's scopes, then the given ones; without either, no restriction. */
async function readScopes({ options, scopes, taskId }: Run): Promise<string[] | undefined> {
  if (taskId === undefined) {
    return scopes.length === 0 ? undefined : scopes;
  }
  const { taskScopes } = await import('../task-scopes.js');
  return [...(await taskScopes(taskId, options)), ...scopes];
}

/** The first signal lets running requests finish, the second one does not. */
function stopOnSignals(proxy: RunningProxy, grace: number): void {
  let stopping = false;
  for (const [signal, number] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      if (stopping) {
        process.exit(SIGNALLED + number);
      }
      stopping = true;
      proxy.stop(grace).then(() => process.exit(0), fail);
    });
  }
}

/** Writes the file by one rename, so that a reader never sees a part of it. */
function writeReadyFile(path: string, content: object): void {
  const unfinished = `${path}.${process.pid}`;
  try {
    writeFileSync(unfinished, `${JSON.stringify(content)}\n`);
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw new Error(`cannot write the ready file: ${(error as Error).message}`);
  }
}

async function fail(error: Error & { code?: string }): Promise<never> {
  const usage = error.code === 'ERR_OPTIONS' || error.code === 'ERR_CREDENTIALS';
  await say(2, `taskcluster-proxy: ${error.message}\n`);
  process.exit(usage ? USAGE_ERROR : 1);
}

/** The last words of this process, to stdout (1) or stderr (2). */
async function say(stream: 1 | 2, text: string): Promise<void> {
  try {
    const { sayLast } = await import('./process.js');
    sayLast(stream, text);
  } catch {
    sayWithoutAddon(stream, text);
  }
}

/** Prints without a proxy running; it may wait for a reader. */
function sayWithoutAddon(stream: number, text: string): void {
  try {
    // Straight to the descriptor: `process.stdout` costs milliseconds and dies with a closed pipe.
    writeSync(stream, text);
  } catch {
    // There is no reader.
  }
}

main(process.argv.slice(2)).catch(fail);
