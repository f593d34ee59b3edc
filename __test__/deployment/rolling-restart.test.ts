// Three processes on one database behind a balancer are replaced one after another while clients without
// retries call, and no call fails; nor does one while a newer version migrates the tables beside them.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import type { ExecutionContext } from 'ava';
import pg from 'pg';
import taskcluster from 'taskcluster-client';
import { MIGRATIONS, migrate } from '../../ts/deployment/storage/migrations/index.js';
import { openDatabase } from '../../ts/deployment/storage/open.js';
import { endsWith } from '../harness/child.js';
import { DATABASE_PATIENCE_MS, TEST_PATIENCE_MS, until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { startBalancer } from '../harness/haproxy.js';
import { howToReach } from '../harness/local.js';
import { unusedPort } from '../harness/port.js';
import { postgresql } from '../harness/postgresql.js';
import { definition, WORKER } from '../harness/queue.js';
import { testWith } from '../harness/tools.js';

const test = testWith('postgres', 'haproxy');

const COMMAND = path.resolve(import.meta.dirname, '../../dist/cli/taskcluster-local.js');

interface Place {
  readonly folder: string;
  readonly databaseUrl: string;
}

function local(t: ExecutionContext, { folder, databaseUrl }: Place, ...args: string[]) {
  const env = { ...process.env, TASKCLUSTER_LOCAL_DATABASE_URL: databaseUrl };
  const place = ['--data-folder', folder];
  const child = spawn(process.execPath, [COMMAND, ...args, ...place], { env });
  endsWith(t, child);
  return child;
}

async function startOn(t: ExecutionContext, place: Place, port: number) {
  const options = ['--port', `${port}`, '--stop-delay', '2s', '--log-level', 'warn'];
  const child = local(t, place, 'start', ...options);
  child.stderr.resume();
  return { child, port, ...(await howToReach(child)) };
}

/** What it has said and how it has ended. */
async function ended(child: ReturnType<typeof local>) {
  const end = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  const [stdout, stderr, [code]] = await within(end, 'its end', DATABASE_PATIENCE_MS);
  return { stdout, stderr, code };
}

test('no call fails while processes are replaced or a newer version migrates the tables', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const databaseUrl = await (await postgresql()).createDatabase();
  const place = { folder: freshDirectory(t), databaseUrl };
  const first = await startOn(t, place, await unusedPort());
  const others = [await unusedPort(), await unusedPort()].map((port) => startOn(t, place, port));
  const running = [first, ...(await Promise.all(others))];
  const balancer = await startBalancer(
    t,
    running.map(({ port }) => port),
  );
  const load = startLoad(balancer.url, first.credentials);
  for (const { child, port } of running) {
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    t.deepEqual(await within(exit, 'its end', DATABASE_PATIENCE_MS), [0, null]);
    await until(async () => !(await balancer.isUp(port)), 'the balancer noticing');
    await startOn(t, place, port);
    await until(() => balancer.isUp(port), 'the balancer noticing');
  }
  t.deepEqual(await load.failuresSoFar(), []);

  await bringTablesUpToDate(databaseUrl);
  t.deepEqual(await load.stop(), []);

  const older = await ended(local(t, place, 'start'));
  t.is(older.code, 1);
  t.regex(
    older.stderr,
    /^taskcluster-local: the database has been used by a newer version \(next\)/,
  );
  const status = await ended(local(t, place, 'status', '--json'));
  t.is(status.code, 1);
  const { processes, listen, migrations, problems } = JSON.parse(status.stdout);
  t.deepEqual([processes, listen], [3, 'heard']);
  t.is(migrations.applied, MIGRATIONS.length + 1);
  t.regex(problems[0], /^a newer version has used the data \(next\)/);
});

/** As a newer version would, with a table in use for two seconds, as by a backup. */
async function bringTablesUpToDate(databaseUrl: string): Promise<void> {
  const backup = new pg.Client(databaseUrl);
  await backup.connect();
  await backup.query('BEGIN; SELECT count(*) FROM tasks');
  const database = await openDatabase({ folder: '', url: databaseUrl });
  const up = 'ALTER TABLE tasks ADD COLUMN next text; ALTER TABLE clients ADD COLUMN next text';
  const migrating = migrate(database, [...MIGRATIONS, { name: 'next', up }]);
  await pause(2000);
  await backup.end();
  await migrating;
  await database.close();
}

/** Nothing is in it until the end. */
const WAITED_FOR = 'nothing/here';

/** Clients that call all the time and try nothing twice; one waits for work. */
function startLoad(rootUrl: string, credentials: { clientId: string; accessToken: string }) {
  const failures: string[] = [];
  let isOver = false;
  let count = 0;
  const options = { rootUrl, credentials, retries: 0 };
  const queue = new taskcluster.Queue(options);
  const auth = new taskcluster.Auth(options);
  const secrets = new taskcluster.Secrets(options);
  const expires = taskcluster.fromNow('1 hour');
  const calls = [
    () => auth.currentScopes(),
    () => secrets.set(`n${++count}`, { expires, secret: { count } }),
    async () => {
      const taskId = taskcluster.slugid();
      await queue.createTask(taskId, definition());
      await queue.claimTask(taskId, 0, WORKER);
      await queue.reportCompleted(taskId, 0);
    },
    () => queue.claimWork(WAITED_FOR, { ...WORKER, tasks: 1 }),
  ];
  const loops = calls.map(async (call) => {
    while (!isOver) {
      await call().catch((error: Error) => failures.push(error.message.split('\n')[0] ?? ''));
      count += 1;
      await pause(5);
    }
  });
  return {
    async failuresSoFar() {
      return [...failures];
    },
    async stop() {
      isOver = true;
      // Ends the claim that waits for work.
      await queue.createTask(taskcluster.slugid(), definition({ taskQueueId: WAITED_FOR }));
      await within(Promise.all(loops), 'the end of the load', DATABASE_PATIENCE_MS);
      return failures;
    },
  };
}
