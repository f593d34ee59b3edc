// Tasks for the queue of a local deployment, and the published JavaScript client to handle them.
import taskcluster from 'taskcluster-client';
import type { Client } from './deployment.js';

/** The task queue of the tests, and the worker that claims from it. */
export const QUEUE = 'demo/local';
export const WORKER = { workerGroup: 'group', workerId: 'worker' };

export function queueOf({ rootUrl }: { rootUrl: string }, credentials: Partial<Client>) {
  return new taskcluster.Queue({ rootUrl, credentials, retries: 0 });
}

/** The same client, made from the reference that the deployment serves: with what npm's does not know yet. */
export async function referencedQueueOf(
  { rootUrl }: { rootUrl: string },
  credentials: Partial<Client>,
) {
  const reference = await fetch(`${rootUrl}/references/queue/v1/api.json`);
  const Queue = taskcluster.createClient(await reference.json(), 'Queue');
  return new Queue({ rootUrl, credentials, retries: 0 });
}

/** A task's definition, with an hour until its deadline. */
export function definition(fields: object = {}) {
  return {
    taskQueueId: QUEUE,
    created: new Date(),
    deadline: taskcluster.fromNow('1 hour'),
    payload: {},
    metadata: { name: 'n', description: 'd', owner: 'o@example.com', source: 'https://s' },
    ...fields,
  };
}

/** The code of the error that a call ends with. */
export async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    await call;
    return 'none';
  } catch (error) {
    return (error as { code: string }).code;
  }
}
