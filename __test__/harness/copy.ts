// A copy of the command that every user of the machine can read: a checkout may be private to its owner.
import { chmodSync, copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { COMMAND } from './command.js';
import { freshDirectory } from './directory.js';

/** A copy of the command and its addon, gone after the test; the path of the command. */
export function copyForOthers(t: Pick<ExecutionContext, 'teardown'>): string {
  const root = path.resolve(path.dirname(COMMAND), '../..');
  const copy = freshDirectory(t);
  chmodSync(copy, 0o755);
  const command = path.join(copy, path.relative(root, COMMAND));
  mkdirSync(path.dirname(command), { recursive: true });
  copyFileSync(COMMAND, command);
  for (const name of ['package.json', ...readdirSync(root).filter((it) => it.endsWith('.node'))]) {
    copyFileSync(path.join(root, name), path.join(copy, name));
  }
  return command;
}
