// The states of tasks in the local deployment: tasks wait for others, are retried, rerun, cancelled, and
// resolved at their deadline.
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import type { DeploymentOptions } from '../../ts/deployment/index.js';
import type { Database } from '../../ts/deployment/storage/database.js';
import { onEveryBackend, openPlace, type Place } from '../harness/backends.js';
import { until, within } from '../harness/deadline.js';
import { deploymentFor } from '../harness/deployment.js';
import { definition, QUEUE, queueOf, refusal, WORKER } from '../harness/queue.js';

type Queue = ReturnType<typeof queueOf>;

async function queueFor(
  t: ExecutionContext,
  options: Place & Pick<DeploymentOptions, 'claimTimeout'>,
) {
  const deployment = await deploymentFor(t, options);
  return { deployment, queue: queueOf(deployment, deployment.credentials) };
}

async function create(queue: Queue, fields: object = {}): Promise<string> {
  const taskId = taskcluster.slugid();
  await queue.createTask(taskId, definition(fields));
  return taskId;
}

async function stateOf(queue: Queue, taskId: string): Promise<string> {
  return (await queue.status(taskId)).status.state;
}

/** Claims a task's last run and ends it. */
async function resolve(
  queue: Queue,
  taskId: string,
  how: 'reportCompleted' | 'reportFailed' = 'reportCompleted',
): Promise<void> {
  const runId = (await queue.status(taskId)).status.runs.length - 1;
  await queue.claimTask(taskId, runId, WORKER);
  await queue[how](taskId, runId);
}

async function reaches(queue: Queue, taskId: string, state: string): Promise<void> {
  await until(async () => (await stateOf(queue, taskId)) === state, `${taskId} to be ${state}`);
}

onEveryBackend('a task waits until all that it depends on are completed', async (t, place) => {
  const { queue } = await queueFor(t, place);
  const [a, b] = [await create(queue), await create(queue)];
  const dependent = await create(queue, { dependencies: [a, b] });
  t.deepEqual((await queue.status(dependent)).status.runs, []);
  t.is(await stateOf(queue, dependent), 'unscheduled');
  t.is(await refusal(queue.claimTask(dependent, 0, WORKER)), 'ResourceNotFound');
  await resolve(queue, a);
  t.is(await stateOf(queue, dependent), 'unscheduled');
  const waiting = queue.claimWork(QUEUE, { ...WORKER, tasks: 4 });
  t.is((await waiting).tasks[0].status.taskId, b, 'what can be claimed');
  await queue.reportCompleted(b, 0);
  t.like((await queue.status(dependent)).status, {
    state: 'pending',
    runs: [{ reasonCreated: 'scheduled' }],
  });
  const later = await create(queue, { dependencies: [a, b] });
  t.is(await stateOf(queue, later), 'pending', 'nothing to wait for');
  const { tasks } = await queue.listDependentTasks(a);
  t.deepEqual(
    tasks.map((each: { status: { taskId: string } }) => each.status.taskId),
    [dependent, later].sort(),
  );
});

onEveryBackend(
  'a failure is enough for all-resolved, and never for all-completed',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    const required = await create(queue);
    const dependencies = [required];
    const strict = await create(queue, { dependencies });
    const lenient = await create(queue, { dependencies, requires: 'all-resolved' });
    const late = taskcluster.slugid();
    await resolve(queue, required, 'reportFailed');
    t.is(await stateOf(queue, strict), 'unscheduled');
    t.is(await stateOf(queue, lenient), 'pending');
    await queue.createTask(late, definition({ dependencies, requires: 'all-resolved' }));
    t.is(await stateOf(queue, late), 'pending');
    await queue.rerunTask(required);
    await resolve(queue, required);
    t.is(await stateOf(queue, strict), 'pending', 'once it has been run again');
  },
);

onEveryBackend(
  'a chain of tasks runs to its end, and a waiting worker hears of each',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    const chain = [await create(queue)];
    for (let length = 1; length < 4; length += 1) {
      chain.push(await create(queue, { dependencies: chain.slice(-1) }));
    }
    const done: string[] = [];
    const work = async () => {
      while (done.length < chain.length) {
        const { tasks } = await queue.claimWork(QUEUE, { ...WORKER, tasks: 1 });
        for (const { status, runId } of tasks) {
          done.push(status.taskId);
          await queue.reportCompleted(status.taskId, runId);
        }
      }
    };
    await within(work(), 'the end of the chain');
    t.deepEqual(done, chain);
  },
);

onEveryBackend(
  'dependencies that resolve at the same moment schedule a task once',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    const dependencies = await Promise.all(Array.from({ length: 8 }, () => create(queue)));
    const dependent = await create(queue, { dependencies });
    for (const taskId of dependencies) {
      await queue.claimTask(taskId, 0, WORKER);
    }
    await Promise.all(dependencies.map((taskId) => queue.reportCompleted(taskId, 0)));
    const { status } = await queue.status(dependent);
    t.is(status.runs.length, 1);
  },
);

onEveryBackend(
  'a client schedules a task that depends on itself or on a task that is never resolved',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    const taskId = taskcluster.slugid();
    const task = definition({ dependencies: [taskId] });
    await queue.createTask(taskId, task);
    t.is((await queue.createTask(taskId, task)).status.state, 'unscheduled', 'again');
    t.is((await queue.scheduleTask(taskId)).status.state, 'pending');
    t.is((await queue.scheduleTask(taskId)).status.runs.length, 1);
    t.is(await refusal(queue.scheduleTask(taskcluster.slugid())), 'ResourceNotFound');
  },
);

onEveryBackend(
  'a task is refused if a dependency is missing or expires before its deadline, and nothing of it is left',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    const short = {
      deadline: taskcluster.fromNow('1 minute'),
      expires: taskcluster.fromNow('2 minutes'),
    };
    const required = await create(queue, short);
    const taskId = taskcluster.slugid();
    const missing = definition({ dependencies: [required, taskcluster.slugid()] });
    t.is(await refusal(queue.createTask(taskId, missing)), 'InputError');
    const expiring = definition({ dependencies: [required] });
    t.is(await refusal(queue.createTask(taskId, expiring)), 'InputError');
    t.is(await refusal(queue.status(taskId)), 'ResourceNotFound');
    t.is(await refusal(queue.getTaskGroup(taskId)), 'ResourceNotFound');
    t.is((await queue.createTask(taskId, definition())).status.state, 'pending');
  },
);

const EXCEPTIONS: [reason: string, retry: string | undefined][] = [
  ['worker-shutdown', 'retry'],
  ['intermittent-task', 'task-retry'],
  ['internal-error', undefined],
  ['malformed-payload', undefined],
  ['resource-unavailable', undefined],
];

onEveryBackend(
  'an exception is retried where its reason says so, while there are retries',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    for (const [reason, retry] of EXCEPTIONS) {
      const taskId = await create(queue, { retries: 1 });
      await queue.claimTask(taskId, 0, WORKER);
      const { status } = await queue.reportException(taskId, 0, { reason });
      t.like(status.runs[0], { state: 'exception', reasonResolved: reason }, reason);
      t.is(status.runs[1]?.reasonCreated, retry, reason);
      t.is(status.retriesLeft, retry === undefined ? 1 : 0);
      t.is(
        (await queue.reportException(taskId, 0, { reason })).status.runs.length,
        status.runs.length,
      );
      t.is(await refusal(queue.reportCompleted(taskId, 0)), 'RequestConflict');
      if (retry !== undefined) {
        await queue.claimTask(taskId, 1, WORKER);
        const { status: last } = await queue.reportException(taskId, 1, { reason });
        t.like(last, { state: 'exception', retriesLeft: 0 }, 'no retries left');
        t.is(last.runs.length, 2);
      }
    }
    const taskId = await create(queue);
    t.is(
      await refusal(queue.reportException(taskId, 0, { reason: 'worker-shutdown' })),
      'RequestConflict',
      'not running',
    );
    t.is(
      await refusal(queue.reportException(taskId, 0, { reason: 'deadline-exceeded' })),
      'InputValidationError',
    );
    t.is(
      await refusal(queue.reportException(taskId, 1, { reason: 'worker-shutdown' })),
      'ResourceNotFound',
    );
  },
);

onEveryBackend('a client cancels a task, and reruns it afterwards', async (t, place) => {
  const { queue } = await queueFor(t, place);
  const taskId = await create(queue);
  const canceled = { state: 'exception', runs: [{ reasonResolved: 'canceled' }] };
  t.like((await queue.cancelTask(taskId)).status, canceled);
  t.like((await queue.cancelTask(taskId)).status, canceled, 'again');
  t.is((await queue.scheduleTask(taskId)).status.state, 'exception');
  const { status } = await queue.rerunTask(taskId);
  t.like(status, { state: 'pending', retriesLeft: 5 });
  t.is(status.runs[1].reasonCreated, 'rerun');
  t.is((await queue.rerunTask(taskId)).status.runs.length, 2, 'while it is pending');
  await queue.claimTask(taskId, 1, WORKER);
  await queue.cancelTask(taskId);
  t.is(await refusal(queue.reportCompleted(taskId, 1)), 'RequestConflict');

  const waiting = await create(queue, { dependencies: [taskId] });
  t.like((await queue.cancelTask(waiting)).status, {
    state: 'exception',
    runs: [{ reasonCreated: 'exception', reasonResolved: 'canceled' }],
  });
});

onEveryBackend('only a caller with the scopes cancels a task', async (t, place) => {
  const clients = [
    ['one', 'queue:cancel-task:-/<group>/<task>'],
    ['project', 'queue:cancel-task-in-project:p'],
    ['legacy', 'queue:cancel-task', 'assume:scheduler-id:-/<group>'],
    ['half', 'queue:cancel-task'],
    ['other', 'queue:cancel-task-in-project:q', 'queue:rerun-task-in-project:p'],
  ];
  const taskId = taskcluster.slugid();
  const deployment = await deploymentFor(t, {
    ...place,
    clients: clients.map(([clientId = '', ...scopes]) => ({
      clientId,
      accessToken: `token-${clientId}`,
      scopes: scopes.map((scope) => scope.replace('<group>', taskId).replace('<task>', taskId)),
    })),
  });
  const root = queueOf(deployment, deployment.credentials);
  await root.createTask(taskId, definition({ projectId: 'p' }));
  const outcomes: Record<string, string> = {};
  for (const [clientId = ''] of clients) {
    const client = queueOf(deployment, { clientId, accessToken: `token-${clientId}` });
    outcomes[clientId] = await refusal(client.cancelTask(taskId));
  }
  const refused = 'InsufficientScopes';
  t.deepEqual(outcomes, {
    one: 'none',
    project: 'none',
    legacy: 'none',
    half: refused,
    other: refused,
  });
});

onEveryBackend(
  'a claim that is not renewed ends its run, and the task is retried',
  async (t, place) => {
    const { queue } = await queueFor(t, { ...place, claimTimeout: 1 });
    const taskId = await create(queue, { retries: 1 });
    const required = await create(queue, { dependencies: [taskId], requires: 'all-resolved' });
    await queue.claimTask(taskId, 0, WORKER);
    await reaches(queue, taskId, 'pending');
    const { status } = await queue.status(taskId);
    t.like(status, {
      retriesLeft: 0,
      runs: [
        { state: 'exception', reasonResolved: 'claim-expired' },
        { state: 'pending', reasonCreated: 'retry' },
      ],
    });
    t.true(status.runs[0].resolved >= status.runs[0].takenUntil);
    t.is(await refusal(queue.reclaimTask(taskId, 0)), 'RequestConflict');
    t.is(await stateOf(queue, required), 'unscheduled');
    await queue.claimTask(taskId, 1, WORKER);
    await reaches(queue, taskId, 'exception');
    t.is((await queue.status(taskId)).status.runs.length, 2, 'no retries left');
    await reaches(queue, required, 'pending');
  },
);

/** Brings a task's deadline about. */
function reachDeadline(database: Database, taskId: string): Promise<unknown> {
  const deadline = new Date();
  return database.query(
    `UPDATE tasks SET due = $2,
       definition = jsonb_set(definition::jsonb, '{deadline}', to_jsonb($3::text))::json
     WHERE task_id = $1`,
    [taskId, deadline, deadline.toJSON()],
  );
}

onEveryBackend(
  'a task ends at its deadline, whether it is running, pending or unscheduled',
  async (t, place) => {
    const opened = await openPlace(place);
    const { queue } = await queueFor(t, opened);
    const [running, pending] = [await create(queue), await create(queue)];
    const waiting = await create(queue, { dependencies: [running] });
    await queue.claimTask(running, 0, WORKER);
    for (const taskId of [running, pending, waiting]) {
      await reachDeadline(opened.database, taskId);
    }
    for (const taskId of [running, pending, waiting]) {
      await reaches(queue, taskId, 'exception');
      const { status } = await queue.status(taskId);
      t.is(status.runs.length, 1);
      t.is(status.runs[0].reasonResolved, 'deadline-exceeded');
      t.is(await refusal(queue.rerunTask(taskId)), 'RequestConflict');
      t.is(await refusal(queue.cancelTask(taskId)), 'RequestConflict');
    }
    t.is((await queue.status(waiting)).status.runs[0].reasonCreated, 'exception');
  },
);

onEveryBackend(
  'a task group has one scheduler, and is listed in pages, sealed and canceled',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    const taskGroupId = taskcluster.slugid();
    const inGroup = { taskGroupId, schedulerId: 's' };
    const members = [await create(queue, inGroup), await create(queue, inGroup)];
    await resolve(queue, members[0] ?? '');
    const other = definition({ taskGroupId, schedulerId: 'another' });
    t.is(await refusal(queue.createTask(taskcluster.slugid(), other)), 'RequestConflict');
    const { tasks, continuationToken, ...group } = await queue.listTaskGroup(taskGroupId, {
      limit: 1,
    });
    t.like(group, inGroup);
    const rest = await queue.listTaskGroup(taskGroupId, { continuationToken });
    const listed = [...tasks, ...rest.tasks].map(({ status }) => status.taskId);
    t.deepEqual(listed, [...members].sort());
    t.is(rest.continuationToken, undefined);

    t.is(await refusal(queue.cancelTaskGroup(taskGroupId)), 'RequestConflict', 'not sealed');
    const { sealed } = await queue.sealTaskGroup(taskGroupId);
    t.is((await queue.sealTaskGroup(taskGroupId)).sealed, sealed, 'again');
    t.deepEqual(await queue.getTaskGroup(taskGroupId), { ...group, sealed });
    const late = definition(inGroup);
    t.is(await refusal(queue.createTask(taskcluster.slugid(), late)), 'RequestConflict');
    t.deepEqual(await queue.cancelTaskGroup(taskGroupId), {
      taskGroupId,
      taskGroupSize: 2,
      cancelledCount: 1,
      taskIds: members.slice(1),
    });
    t.is(await refusal(queue.listTaskGroup(taskcluster.slugid())), 'ResourceNotFound');
  },
);

onEveryBackend(
  'a client reads several tasks at once, and the counts of pending and claimed tasks',
  async (t, place) => {
    const { queue } = await queueFor(t, place);
    const taskIds = [await create(queue), await create(queue)];
    const all = [...taskIds, taskcluster.slugid()];
    const { statuses } = await queue.statuses({ taskIds: all });
    t.deepEqual(
      statuses.map((each: { taskId: string }) => each.taskId).sort(),
      [...taskIds].sort(),
    );
    const { tasks } = await queue.tasks({ taskIds: all });
    t.like(tasks[0].task, { taskQueueId: QUEUE });
    const counts = { provisionerId: 'demo', workerType: 'local', taskQueueId: QUEUE };
    t.deepEqual(await queue.pendingTasks(QUEUE), { ...counts, pendingTasks: 2 });
    await queue.claimWork(QUEUE, { ...WORKER, tasks: 1 });
    t.deepEqual(await queue.taskQueueCounts(QUEUE), {
      ...counts,
      pendingTasks: 1,
      claimedTasks: 1,
    });
  },
);
