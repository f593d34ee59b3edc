// Ends the child processes of a test with the test, even if it fails before it has waited for one, and
// with the process of the test file, if ava or a user ends that early.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { ExecutionContext } from 'ava';
import { within } from './deadline.js';

const running = new Set<ChildProcess>();

process.once('exit', () => {
  for (const child of running) {
    child.kill('SIGKILL');
  }
});

/** Ends the child after the test, if it has not ended before; gives its exit code and signal. */
export function endsWith(
  t: Pick<ExecutionContext, 'teardown'>,
  child: ChildProcess,
): Promise<[code: number | null, signal: NodeJS.Signals | null]> {
  running.add(child);
  child.once('exit', () => running.delete(child));
  const exited = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  // A program that cannot be started tells the test where it waits for it.
  exited.catch(() => running.delete(child));
  t.teardown(async () => {
    child.kill('SIGKILL');
    await within(
      exited.catch(() => undefined),
      'the end of a child',
    );
  });
  return exited;
}
