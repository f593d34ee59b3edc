// The command taskcluster-local, started as an operator starts it.
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { DATABASE_PATIENCE_MS, within } from './deadline.js';

/** Without V8's optimising compilers, which take longer than a short command runs. */
export const SHORT_LIVED = ['--liftoff-only'];

const COMMAND = path.resolve(import.meta.dirname, '../../dist/cli/taskcluster-local.js');

/** What Node runs for `taskcluster-local`, arguments follow. */
export const LOCAL = [...SHORT_LIVED, COMMAND];

export interface Reach {
  readonly rootUrl: string;
  readonly credentials: { readonly clientId: string; readonly accessToken: string };
}

/** How to reach the deployment of `child`, a `taskcluster-local start`, as it prints it. */
export async function howToReach(child: ChildProcessWithoutNullStreams): Promise<Reach> {
  let printed = '';
  while (!/ACCESS_TOKEN=.*\n/.test(printed)) {
    const [chunk] = await within(
      once(child.stdout, 'data'),
      'how to reach it',
      DATABASE_PATIENCE_MS,
    );
    printed += chunk;
  }
  const [rootUrl = '', clientId = '', accessToken = ''] = [
    ...printed.matchAll(/^export TASKCLUSTER_\w+=(.*)$/gm),
  ].map(([, value]) => value ?? '');
  return { rootUrl, credentials: { clientId, accessToken } };
}
