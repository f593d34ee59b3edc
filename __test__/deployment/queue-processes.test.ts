// Several processes of the deployment beside each other on one PostgreSQL server and one folder:
// each run is claimed once, every process hears of pending tasks, and each serves every artifact.
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { removeExpired, removeOrphans } from '../../ts/deployment/queue/housekeeping.js';
import { openStorage } from '../../ts/deployment/storage/index.js';
import { pause, STILL_MS, within } from '../harness/deadline.js';
import { startedFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { postgresql } from '../harness/postgresql.js';
import { definition, QUEUE, queueOf, refusal, WORKER } from '../harness/queue.js';
import { testWith } from '../harness/tools.js';

/** As if each had a process of its own: nothing is shared but the database and the folder. */
async function processes(t: ExecutionContext, ofFirst: { claimTimeout?: number } = {}) {
  const databaseUrl = await (await postgresql()).createDatabase();
  const folder = freshDirectory(t);
  const start = (own = {}) => startedFor(t, { folder, databaseUrl, ...own });
  const deployments = await Promise.all([start(ofFirst), start(), start()]);
  const [one, two, three] = deployments;
  const queue = (each: typeof one) => queueOf(each, each.credentials);
  const queues = [queue(one), queue(two), queue(three)] as const;
  return { folder, databaseUrl, queues, one: queues[0], two: queues[1], three: queues[2] };
}

/** Makes one call for each item, through each queue in turn. */
function dealt<Item>(
  items: readonly Item[],
  queues: readonly Queue[],
  call: (queue: Queue, item: Item) => Promise<unknown>,
) {
  return items.map((item, index) => {
    const queue = queues[index % queues.length];
    return queue === undefined ? undefined : call(queue, item);
  });
}

type Queue = ReturnType<typeof queueOf>;

const test = testWith('postgres');

test('a worker that waits at one process hears of a task created at another', async (t) => {
  const { one, two } = await processes(t);
  const waiting = one.claimWork(QUEUE, { ...WORKER, tasks: 1 });
  await pause(STILL_MS);
  const taskId = taskcluster.slugid();
  await two.createTask(taskId, definition());
  t.is((await within(waiting, 'the task')).tasks[0].status.taskId, taskId);
});

test('every run is claimed once, through any process', async (t) => {
  const { queues } = await processes(t);
  const taskIds = Array.from({ length: 24 }, () => taskcluster.slugid());
  await Promise.all(
    dealt(taskIds, queues, (queue, taskId) => queue.createTask(taskId, definition())),
  );
  const claimed: string[] = [];
  const work = async (queue: (typeof queues)[number], workerId: string) => {
    while (claimed.length < taskIds.length) {
      const { tasks } = await queue.claimWork(QUEUE, { ...WORKER, workerId, tasks: 2 });
      for (const { status, runId } of tasks) {
        claimed.push(status.taskId);
        await queue.reportCompleted(status.taskId, runId);
      }
    }
    // Ends the claims that still wait.
    await queue.createTask(taskcluster.slugid(), definition());
  };
  const workers = [...queues, ...queues].map((queue, index) => work(queue, `w${index}`));
  await within(Promise.all(workers), 'the end of the work');
  t.deepEqual(claimed.slice(0, taskIds.length).sort(), taskIds.sort());
});

test('each dependent task is scheduled once, whichever processes resolve its dependencies', async (t) => {
  const { queues, one } = await processes(t);
  const required = Array.from({ length: 6 }, () => taskcluster.slugid());
  const dependents = Array.from({ length: 6 }, () => taskcluster.slugid());
  for (const taskId of required) {
    await one.createTask(taskId, definition());
    await one.claimTask(taskId, 0, WORKER);
  }
  const dependent = definition({ dependencies: required });
  await Promise.all([
    ...dealt(required, queues, (queue, taskId) => queue.reportCompleted(taskId, 0)),
    ...dealt(dependents, queues, (queue, taskId) => queue.createTask(taskId, dependent)),
  ]);
  for (const taskId of dependents) {
    const { status } = await one.status(taskId);
    t.is(status.state, 'pending');
    t.is(status.runs.length, 1);
  }
});

test('a claim that expires costs its task one retry among all processes', async (t) => {
  // The second claim, through another process, is not to end meanwhile.
  const { one, two, three } = await processes(t, { claimTimeout: 1 });
  const taskId = taskcluster.slugid();
  await one.createTask(taskId, definition());
  await one.claimTask(taskId, 0, WORKER);
  const { tasks } = await within(two.claimWork(QUEUE, { ...WORKER, tasks: 1 }), 'the retry');
  t.is(tasks[0].runId, 1);
  t.is((await three.status(taskId)).status.retriesLeft, 4);
});

test('a client uploads an artifact to one process and downloads it from another', async (t) => {
  const { one, two, three } = await processes(t);
  const taskId = taskcluster.slugid();
  await one.createTask(taskId, definition());
  await two.claimTask(taskId, 0, WORKER);
  const expires = taskcluster.fromNow('30 minutes');
  const artifact = { storageType: 's3', contentType: 'text/plain', expires };
  const { putUrl } = await one.createArtifact(taskId, 0, 'a', artifact);
  const at = async (queue: Queue, url: string) => {
    const { url: other } = await queue.artifact(taskId, 0, 'a');
    return new URL(new URL(url).pathname + new URL(url).search, other).href;
  };
  const headers = { 'Content-Type': 'text/plain' };
  t.is((await fetch(await at(two, putUrl), { method: 'PUT', body: 'hello', headers })).status, 200);
  const { url } = await one.artifact(taskId, 0, 'a');
  t.is(await (await fetch(await at(three, url))).text(), 'hello');
});

test('expired artifacts are removed with their bytes, and so are files without an artifact', async (t) => {
  const { folder, databaseUrl, one, two } = await processes(t);
  const objects = path.join(folder, 'artifacts/objects');
  const taskId = taskcluster.slugid();
  await one.createTask(taskId, definition());
  await one.claimTask(taskId, 0, WORKER);
  const put = async (name: string, expires: Date) => {
    const artifact = { storageType: 's3', contentType: 'text/plain', expires };
    const { putUrl } = await one.createArtifact(taskId, 0, name, artifact);
    await fetch(putUrl, { method: 'PUT', body: name, headers: { 'Content-Type': 'text/plain' } });
  };
  await put('kept', taskcluster.fromNow('30 minutes'));
  const [kept = ''] = readdirSync(objects);
  await put('old', taskcluster.fromNow('10 minutes'));
  t.is(readdirSync(objects).length, 2);

  const storage = await openStorage({ folder, databaseUrl });
  t.teardown(() => storage.close());
  await removeExpired(storage.store, storage.objects, taskcluster.fromNow('20 minutes'));
  t.deepEqual(readdirSync(objects), [kept]);
  t.is(await refusal(two.artifact(taskId, 0, 'old')), 'ResourceNotFound');

  const orphans = ['young', 'abandoned'].map((name) => path.join(objects, name));
  for (const file of orphans) {
    writeFileSync(file, 'x');
  }
  const longAgo = Date.now() / 1000 - 7200;
  utimesSync(orphans[1] ?? '', longAgo, longAgo);
  utimesSync(path.join(objects, kept), longAgo, longAgo);
  await removeOrphans(storage.store, storage.objects);
  t.deepEqual(orphans.map(existsSync), [true, false]);
  t.true(existsSync(path.join(objects, kept)));
});
