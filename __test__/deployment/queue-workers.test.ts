// The queue of the local deployment lists workers, task queues and their tasks; an operator puts a worker
// into quarantine and changes priorities.
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { onEveryBackend, openPlace, type Place } from '../harness/backends.js';
import { within } from '../harness/deadline.js';
import { authorization, deploymentFor, send } from '../harness/deployment.js';
import {
  definition,
  QUEUE,
  queueOf,
  referencedQueueOf,
  refusal,
  WORKER,
} from '../harness/queue.js';

const [PROVISIONER = '', TYPE = ''] = QUEUE.split('/');
const ROUTE = [PROVISIONER, TYPE, WORKER.workerGroup, WORKER.workerId] as const;

async function queueFor(t: ExecutionContext, place: Place, scopes?: string[]) {
  const client = { clientId: 'test/caller', accessToken: 'secret', scopes: scopes ?? [] };
  const deployment = await deploymentFor(t, { ...place, clients: [client] });
  const queue = queueOf(deployment, deployment.credentials);
  return { deployment, queue, caller: await referencedQueueOf(deployment, client) };
}

type Queue = ReturnType<typeof queueOf>;

async function create(queue: Queue, count: number, fields: object = {}): Promise<string[]> {
  const taskIds = Array.from({ length: count }, () => taskcluster.slugid());
  for (const taskId of taskIds) {
    await queue.createTask(taskId, definition(fields));
  }
  return taskIds;
}

/** All pages of a list, of so few entries each that there are several. */
async function allOf<Entry>(
  list: (query: object) => Promise<{ continuationToken?: string }>,
  name: string,
): Promise<Entry[]> {
  const entries: Entry[] = [];
  for (let query: object = { limit: 2 }; ; ) {
    const page = await list(query);
    entries.push(...(Reflect.get(page, name) as Entry[]));
    if (page.continuationToken === undefined) {
      return entries;
    }
    query = { limit: 2, continuationToken: page.continuationToken };
  }
}

onEveryBackend('a worker that has claimed is listed with its runs', async (t, place) => {
  const { queue } = await queueFor(t, place);
  t.is(await refusal(queue.getWorker(...ROUTE)), 'ResourceNotFound');
  t.is(await refusal(queue.getTaskQueue(QUEUE)), 'ResourceNotFound');
  t.is(await refusal(queue.getWorkerType(PROVISIONER, TYPE)), 'ResourceNotFound');
  t.is(await refusal(queue.getProvisioner(PROVISIONER)), 'ResourceNotFound');
  t.deepEqual(await queue.listTaskQueues(), { taskQueues: [] });

  const taskIds = await create(queue, 22);
  await queue.claimTask(taskIds[0], 0, WORKER);
  const [first, ...others] = await allOf<object>(
    (query) => queue.listTaskQueues(query),
    'taskQueues',
  );
  t.deepEqual(others, []);
  t.like(first, { taskQueueId: QUEUE, stability: 'experimental', description: '' });
  t.is(
    await refusal(queue.getWorker(...ROUTE)),
    'ResourceNotFound',
    'as long as it has a task given',
  );

  await queue.claimWork(QUEUE, { ...WORKER, tasks: 21 });
  const worker = await queue.getWorker(...ROUTE);
  t.like(worker, { ...WORKER, provisionerId: PROVISIONER, workerType: TYPE, taskQueueId: QUEUE });
  t.deepEqual(
    worker.recentTasks,
    taskIds.slice(2).map((taskId) => ({ taskId, runId: 0 })),
    'the last twenty',
  );
  t.true(Date.parse(worker.quarantineUntil) < Date.now());
  t.true(Date.parse(worker.expires) > Date.now() + 23 * 60 * 60 * 1000);

  const { firstClaim, lastDateActive } = worker;
  t.deepEqual(await queue.listWorkers(PROVISIONER, TYPE), {
    workers: [{ ...WORKER, firstClaim, lastDateActive, latestTask: worker.recentTasks.at(-1) }],
  });
  const { expires, ...known } = await queue.getTaskQueue(QUEUE);
  t.deepEqual(await queue.listTaskQueues(), { taskQueues: [{ expires, ...known }] });
  const provisioner = { ...known, expires, provisionerId: PROVISIONER };
  t.deepEqual(await queue.getWorkerType(PROVISIONER, TYPE), {
    ...{ ...provisioner, workerType: TYPE, actions: [] },
  });
  t.deepEqual(await queue.listWorkerTypes(PROVISIONER), {
    workerTypes: [{ ...provisioner, workerType: TYPE }],
  });
  t.deepEqual(await queue.listWorkerTypes('other'), { workerTypes: [] });
  delete provisioner.taskQueueId;
  const shown = { ...provisioner, actions: [] };
  t.deepEqual(await queue.getProvisioner(PROVISIONER), shown);
  t.deepEqual(await queue.listProvisioners(), { provisioners: [shown] });
});

onEveryBackend(
  'workers and task queues are listed in pages, until they expire',
  async (t, place) => {
    const opened = await openPlace(place);
    const { queue } = await queueFor(t, opened);
    const declare = (type: string, id: string, expires = taskcluster.fromNow('1 hour')) =>
      queue.declareWorker('p', type, 'g', id, { expires });
    for (const id of ['a', 'B', 'c', 'd-e', 'd']) {
      await declare('one', id);
    }
    for (const type of ['three', 'two']) {
      await declare(type, 'a');
    }
    await declare('past', 'a');
    const workersOf = async (query: object) =>
      (
        await allOf<{ workerId: string }>(
          (page) => queue.listWorkers('p', 'one', { ...query, ...page }),
          'workers',
        )
      ).map(({ workerId }) => workerId);
    t.deepEqual(await workersOf({}), ['B', 'a', 'c', 'd', 'd-e']);
    const until = { quarantineUntil: taskcluster.fromNow('1 hour') };
    await queue.quarantineWorker('p', 'one', 'g', 'c', until);
    await queue.quarantineWorker('p', 'past', 'g', 'a', until);
    t.deepEqual(await workersOf({ quarantined: true }), ['c']);
    t.deepEqual(await workersOf({ quarantined: false }), ['B', 'a', 'd', 'd-e']);
    for (const table of ['workers', 'task_queues']) {
      await opened.database.query(
        `UPDATE ${table} SET expires = now() - interval '1 hour' WHERE task_queue_id = 'p/past'`,
      );
    }
    // In quarantine, but of no task queue any more.
    t.is(await refusal(queue.getWorker('p', 'past', 'g', 'a')), 'ResourceNotFound');
    const types = await allOf<{ workerType: string }>(
      (query) => queue.listWorkerTypes('p', query),
      'workerTypes',
    );
    t.deepEqual(
      types.map(({ workerType }) => workerType),
      ['one', 'three', 'two'],
    );
    await declare('one', 'd', taskcluster.fromNow('-1 hour'));
    t.true(
      (await queue.getWorker('p', 'one', 'g', 'd')).expires > new Date().toJSON(),
      'never earlier',
    );
  },
);

onEveryBackend('an operator describes a task queue, property by property', async (t, place) => {
  const { deployment, queue, caller } = await queueFor(t, place, [
    'queue:declare-worker-type:p/one#description',
    'queue:declare-provisioner:p#description',
  ]);
  const described = await caller.declareWorkerType('p', 'one', { description: 'fast' });
  t.like(described, { taskQueueId: 'p/one', description: 'fast', stability: 'experimental' });
  t.like(
    await queue.declareWorkerType('p', 'one', {
      stability: 'stable',
      expires: '3017-07-29T00:00:00Z',
    }),
    { description: 'fast', stability: 'stable', expires: '3017-07-29T00:00:00.000Z' },
  );
  await queue.declareWorker('p', 'one', 'g', 'w', { expires: taskcluster.fromNow('1 hour') });
  const known = { description: 'fast', stability: 'stable', expires: '3017-07-29T00:00:00.000Z' };
  t.like(await queue.getTaskQueue('p/one'), known);
  t.like(await queue.getWorkerType('p', 'one'), known);
  const stable = { description: 'slow', stability: 'stable' };
  t.is(await refusal(caller.declareWorkerType('p', 'one', stable)), 'InsufficientScopes');
  t.is(await refusal(queue.declareWorkerType('p', 'one', { description: 'a\0' })), 'InputError');
  // A provisioner consists of its task queues, and keeps no description.
  t.like(await caller.declareProvisioner('p', { description: 'ours' }), { description: '' });
  t.is(await refusal(queue.declareProvisioner('q', { description: '' })), 'ResourceNotFound');
  // Without a property no scope is named: every client would pass.
  t.is(await refusal(queue.declareProvisioner('p', {})), 'InputValidationError');
  t.is(await refusal(queue.declareWorkerType('p', 'two', {})), 'InputValidationError');
  const target = '/api/queue/v1/provisioners/p/worker-types/two';
  const headers = { 'Content-Type': 'application/json' };
  t.is((await send(deployment, { method: 'PUT', target, headers, body: '{}' })).status, 403);
});

onEveryBackend('a worker in quarantine gets no tasks', async (t, place) => {
  const { deployment, queue, caller } = await queueFor(t, place, [
    `queue:quarantine-worker:${ROUTE.join('/')}`,
    `queue:declare-worker:${ROUTE.join('/')}#expires`,
  ]);
  const quarantine = (when: string, on = caller) =>
    on.quarantineWorker(...ROUTE, {
      quarantineUntil: taskcluster.fromNow(when),
      quarantineInfo: 'its disk is full',
    });
  t.is(await refusal(quarantine('1 hour')), 'ResourceNotFound');
  await caller.declareWorker(...ROUTE, { expires: taskcluster.fromNow('2 days') });
  const other = [PROVISIONER, TYPE, 'group', 'other'] as const;
  const declared = caller.declareWorker(...other, { expires: taskcluster.fromNow('2 days') });
  t.is(await refusal(declared), 'InsufficientScopes');
  const { quarantineUntil } = await quarantine('1 hour');
  t.true(Date.parse(quarantineUntil) > Date.now());
  t.is((await queue.getWorker(...ROUTE)).quarantineUntil, quarantineUntil);

  const target = `/api/queue/v1/claim-work/${QUEUE}`;
  const Authorization = authorization(deployment, {
    client: deployment.credentials,
    method: 'POST',
    target,
  });
  const leaving = new AbortController();
  const waiting = fetch(deployment.rootUrl + target, {
    method: 'POST',
    headers: { Authorization, 'Content-Type': 'application/json' },
    body: JSON.stringify({ ...WORKER, tasks: 1 }),
    signal: leaving.signal,
  });
  const [taskId = '', next = ''] = await create(queue, 2);
  const claim = { workerGroup: 'group', workerId: 'other', tasks: 1 };
  const { tasks } = await within(queue.claimWork(QUEUE, claim), 'the task for another worker');
  t.is(tasks[0].status.taskId, taskId);
  leaving.abort();
  await t.throwsAsync(waiting, { any: true });
  t.is(await refusal(queue.claimTask(next, 0, WORKER)), 'RequestConflict');
  await quarantine('-1 second');
  t.is((await queue.claimWork(QUEUE, { ...WORKER, tasks: 1 })).tasks[0].status.taskId, next);
});

onEveryBackend('pending and claimed tasks are listed in the order of time', async (t, place) => {
  const { queue, caller } = await queueFor(t, place, [`queue:pending-list:${QUEUE}`]);
  const taskIds = await create(queue, 5);
  await create(queue, 1, { taskQueueId: 'demo/other' });
  const pending = () =>
    allOf<{ taskId: string }>((query) => caller.listPendingTasks(QUEUE, query), 'tasks');
  const [task, ...others] = await pending();
  t.like(task, { taskId: taskIds[0], runId: 0, task: { taskQueueId: QUEUE, retries: 5 } });
  t.deepEqual(
    [task, ...others].map((each) => each?.taskId),
    taskIds,
  );
  t.is(await refusal(caller.listClaimedTasks(QUEUE)), 'InsufficientScopes');

  await queue.claimWork(QUEUE, { ...WORKER, tasks: 3 });
  t.deepEqual(
    (await pending()).map(({ taskId }) => taskId),
    taskIds.slice(3),
  );
  const claimed = await allOf<{ taskId: string }>(
    (query) => queue.listClaimedTasks(QUEUE, query),
    'tasks',
  );
  t.deepEqual(
    claimed.map(({ taskId }) => taskId),
    taskIds.slice(0, 3),
  );
  const { started } = (await queue.status(taskIds[0])).status.runs[0];
  t.like(claimed[0], { runId: 0, ...WORKER, claimed: started, task: { taskQueueId: QUEUE } });
  await queue.reportCompleted(taskIds[1], 0);
  t.is((await queue.listClaimedTasks(QUEUE)).tasks.length, 2);
});

onEveryBackend(
  'a task is served before others once a caller has raised its priority',
  async (t, place) => {
    const { queue, caller } = await queueFor(t, place, [
      `queue:change-task-priority-in-queue:${QUEUE}`,
    ]);
    const [first = '', second = '', third = ''] = await create(queue, 3);
    const change = (taskId: string, newPriority = 'high', on = caller) =>
      on.changeTaskPriority(taskId, { newPriority });
    const [elsewhere = ''] = await create(queue, 1, { taskQueueId: 'demo/other' });
    t.is(await refusal(change(elsewhere)), 'InsufficientScopes');
    t.is((await change(third)).status.priority, 'high');
    t.is((await queue.task(third)).priority, 'high');
    const claim = async () =>
      (await queue.claimWork(QUEUE, { ...WORKER, tasks: 1 })).tasks[0].status.taskId;
    t.is(await claim(), third);
    await change(second);
    t.is(await claim(), second);
    await queue.reportCompleted(second, 0);
    t.is(await refusal(change(second, 'low')), 'RequestConflict');
    await queue.rerunTask(second);
    t.is(await refusal(change(second, 'low')), 'RequestConflict', 'once resolved');
    t.is(await refusal(change(taskcluster.slugid())), 'ResourceNotFound');
    t.is((await change(first, 'highest')).status.state, 'pending');
  },
);

onEveryBackend(
  'a changed priority of a group holds for its tasks that are not resolved',
  async (t, place) => {
    const taskGroupId = taskcluster.slugid();
    const { queue, caller } = await queueFor(t, place, [
      `queue:change-task-group-priority:-/${taskGroupId}`,
    ]);
    const [resolved = '', ...open] = await create(queue, 3, { taskGroupId });
    const [ahead = ''] = await create(queue, 1, { priority: 'low' });
    await queue.cancelTask(resolved);
    const change = () => caller.changeTaskGroupPriority(taskGroupId, { newPriority: 'medium' });
    t.deepEqual(await change(), {
      ...{ taskGroupId, schedulerId: '-', newPriority: 'medium' },
      ...{ tasksAffected: 2, taskIds: [...open].sort() },
    });
    t.like(await change(), { tasksAffected: 0, taskIds: [] });
    const { tasks } = await queue.claimWork(QUEUE, { ...WORKER, tasks: 3 });
    t.deepEqual(
      tasks.map((each: { status: { taskId: string } }) => each.status.taskId),
      [...open, ahead],
    );
    const other = caller.changeTaskGroupPriority(ahead, { newPriority: 'low' });
    t.is(await refusal(other), 'InsufficientScopes');
  },
);
