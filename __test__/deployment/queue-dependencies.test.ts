// Tasks that depend on others, created side by side and while those are resolved: a task never runs before all that it
// depends on is over, and none is forgotten.
import anyTest, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import type { DeploymentOptions } from '../../ts/deployment/index.js';
import { removeExpired } from '../../ts/deployment/queue/housekeeping.js';
import type { Queryable } from '../../ts/deployment/storage/database.js';
import { openStorage } from '../../ts/deployment/storage/index.js';
import { openPostgresql } from '../../ts/deployment/storage/postgresql.js';
import { schemaFor } from '../harness/database.js';
import { gate, PROGRAM_PATIENCE_MS, TEST_PATIENCE_MS, until, within } from '../harness/deadline.js';
import { startedFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { pooledDatabase } from '../harness/pgbouncer.js';
import { postgresql } from '../harness/postgresql.js';
import { definition, QUEUE, queueOf, WORKER } from '../harness/queue.js';
import { Random } from '../harness/random.js';
import { SEED, tellSeed } from '../harness/seed.js';
import { testWith } from '../harness/tools.js';

type Queue = ReturnType<typeof queueOf>;

/** Two processes of a deployment where the database serves several. */
const PLACES = [
  { name: 'PGlite', declare: anyTest, isShared: false, url: async () => undefined },
  {
    name: 'PostgreSQL',
    declare: testWith('postgres'),
    isShared: true,
    url: async () => (await postgresql()).createDatabase(),
  },
  {
    name: 'PgBouncer',
    declare: testWith('postgres', 'pgbouncer'),
    isShared: true,
    url: pooledDatabase,
  },
] as const;

async function queuesFor(t: ExecutionContext, databaseUrl: string | undefined): Promise<Queue[]> {
  t.timeout(TEST_PATIENCE_MS);
  const folder = freshDirectory(t);
  const start = async (options: Partial<DeploymentOptions>) => {
    const onNotice = () => undefined;
    const deployment = await startedFor(t, { folder, onNotice, ...options });
    return queueOf(deployment, deployment.credentials);
  };
  return databaseUrl === undefined
    ? [await start({ database: await schemaFor() })]
    : [await start({ databaseUrl }), await start({ databaseUrl })];
}

/** A task, and those that it depends on, by their numbers. */
interface Planned {
  readonly taskId: string;
  readonly requires: readonly number[];
}

const TASKS = 60;
const MOST_REQUIRED = 4;

/** A task requires some of those before it. */
function planned(random: Random): Planned[] {
  return Array.from({ length: TASKS }, (_, number) => {
    const count = Math.min(number, random.below(MOST_REQUIRED + 1));
    const requires = new Set(Array.from({ length: count }, () => random.below(number)));
    return { taskId: taskcluster.slugid(), requires: [...requires] };
  });
}

for (const { name, declare, url } of PLACES) {
  declare(
    `each task that is created while its dependencies are resolved runs after them (${name})`,
    async (t) => {
      tellSeed(t);
      const random = new Random(SEED);
      const queues = await queuesFor(t, await url());
      const plan = planned(random);
      const groups = [taskcluster.slugid(), taskcluster.slugid()];
      const created = plan.map(() => gate());
      const creations = plan.map(async ({ taskId, requires }, number) => {
        await Promise.all(requires.map((each) => created[each]?.opened));
        const dependencies = requires.map((each) => plan[each]?.taskId);
        const fields = { dependencies, taskGroupId: random.pick(groups) };
        await random.pick(queues).createTask(taskId, definition(fields));
        created[number]?.open();
      });
      let resolved = 0;
      const work = async (queue: Queue, workerId: string) => {
        while (resolved < plan.length) {
          const { tasks } = await queue.claimWork(QUEUE, { ...WORKER, workerId, tasks: 2 });
          for (const { status, runId } of tasks) {
            await queue.reportCompleted(status.taskId, runId);
            resolved += 1;
          }
        }
        // Ends the claims that still wait.
        await queue.createTask(taskcluster.slugid(), definition());
      };
      const workers = [...queues, ...queues, ...queues].map((queue, at) => work(queue, `w${at}`));
      await within(
        Promise.all([...creations, ...workers]),
        'the last of the tasks',
        PROGRAM_PATIENCE_MS,
      );
      await inOrder(t, queues, plan);
    },
  );
}

/** Each task has one run, which was scheduled when all that it depends on was completed. */
async function inOrder(t: ExecutionContext, [queue]: Queue[], plan: readonly Planned[]) {
  const runs: { scheduled: string; resolved: string }[] = [];
  for (const { taskId } of plan) {
    const { status } = await (queue as Queue).status(taskId);
    t.is(status.state, 'completed');
    t.is(status.runs.length, 1);
    runs.push(status.runs[0]);
  }
  plan.forEach(({ requires }, number) => {
    for (const each of requires) {
      const [before, after] = [runs[each]?.resolved ?? '', runs[number]?.scheduled ?? ''];
      t.true(before <= after, `${number} was scheduled at ${after}, ${each} resolved at ${before}`);
    }
  });
}

/** More than the queue changes in one statement. */
const DEPENDENTS = 120;

anyTest('a task that many depend on schedules all of them', async (t) => {
  const [queue] = (await queuesFor(t, undefined)) as [Queue];
  const required = taskcluster.slugid();
  await queue.createTask(required, definition());
  const dependents = Array.from({ length: DEPENDENTS }, () => taskcluster.slugid());
  const dependencies = [required];
  const create = (taskId: string) => queue.createTask(taskId, definition({ dependencies }));
  await Promise.all(dependents.map(create));
  await queue.claimTask(required, 0, WORKER);
  await queue.reportCompleted(required, 0);
  t.is((await queue.pendingTasks(QUEUE)).pendingTasks, DEPENDENTS);
});

for (const { name, declare, url } of PLACES.filter(({ isShared }) => isShared)) {
  declare(
    `a task with dependencies that is still being created delays neither another one in its group nor housekeeping (${name})`,
    async (t) => {
      const databaseUrl = (await url()) ?? '';
      const queues = await queuesFor(t, databaseUrl);
      const storage = await openStorage({ folder: freshDirectory(t), databaseUrl });
      t.teardown(() => storage.close());
      const [one, two] = queues as [Queue, Queue];
      const ids = [taskcluster.slugid(), taskcluster.slugid(), taskcluster.slugid()] as const;
      const [required, held, free] = ids;
      await one.createTask(required, definition());
      const dependent = definition({
        dependencies: [required],
        taskGroupId: taskcluster.slugid(),
      });
      const beside = await openPostgresql(databaseUrl);
      t.teardown(() => beside.close());
      let creation: Promise<unknown> = Promise.resolve();
      await beside.transaction(async (transaction) => {
        // What the creation adds near its end waits for this transaction.
        await transaction.query(
          "INSERT INTO task_dependencies VALUES ($1, $2, 'all-completed', false)",
          [held, required],
        );
        creation = one.createTask(held, dependent);
        await until(() => isWaiting(beside), 'the creation');
        await within(removeExpired(storage.store, storage.objects), 'the housekeeping');
        await within(two.createTask(free, dependent), 'the other one');
        await transaction.query('DELETE FROM task_dependencies WHERE task_id = $1', [held]);
      });
      await within(creation, 'the first one');
      const { tasks } = await two.listDependentTasks(required);
      t.deepEqual(
        tasks.map(({ status }: { status: { taskId: string } }) => status.taskId),
        [held, free].sort(),
      );
      await one.claimTask(required, 0, WORKER);
      await one.reportCompleted(required, 0);
      t.is((await two.status(held)).status.state, 'pending');
      t.is((await two.status(free)).status.state, 'pending');
    },
  );
}

/** Whether a transaction in this database waits for another one. */
async function isWaiting(database: Queryable): Promise<boolean> {
  const waiting = await database.query(
    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
  );
  return waiting.length > 0;
}
