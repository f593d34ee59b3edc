// A call that fails without the caller's fault ends with 5xx and without internals, so that the client tries
// again: clients do not notice an outage of the database.
import { rmSync } from 'node:fs';
import path from 'node:path';
import anyTest, { type ExecutionContext } from 'ava';
import pg from 'pg';
import taskcluster from 'taskcluster-client';
import type { Deployment } from '../../ts/deployment/index.js';
import { Outage } from '../../ts/deployment/outage.js';
import type { Queryable } from '../../ts/deployment/storage/database.js';
import { isOutage, openPostgresql } from '../../ts/deployment/storage/postgresql.js';
import { schemaFor } from '../harness/database.js';
import { pause, TEST_PATIENCE_MS } from '../harness/deadline.js';
import {
  authorization,
  deploymentFor,
  type Sent,
  send,
  startedFor,
  withBewit,
} from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { pooledDatabase } from '../harness/pgbouncer.js';
import { postgresql } from '../harness/postgresql.js';
import { definition, QUEUE, queueOf, WORKER } from '../harness/queue.js';
import { testWith } from '../harness/tools.js';

const test = testWith('postgres', 'pgbouncer');

/** What no answer may name: addresses, errors of the system and of PostgreSQL, keys, files. */
const INTERNALS =
  /ECONN|terminat|127\.0\.0\.1|localhost|postgres|database|shutting|\bkey\b|\.ts:|\//i;

/** One test after the other, since all of them have one server. */
function alone(body: (t: ExecutionContext) => Promise<void>) {
  return async (t: ExecutionContext) => {
    t.timeout(TEST_PATIENCE_MS);
    const mine = turn.then(() => body(t));
    turn = mine.catch(() => undefined);
    await mine;
  };
}

let turn: Promise<void> = Promise.resolve();

async function start(t: ExecutionContext, databaseUrl: string) {
  const faults: unknown[] = [];
  const folder = freshDirectory(t);
  const onFault = (fault: unknown) => faults.push(fault);
  const deployment = await startedFor(t, { folder, databaseUrl, onFault });
  return { deployment, faults };
}

/** Calls that come signed, by header and by bewit, and without credentials. */
function* calls(deployment: Deployment): Generator<Sent> {
  const client = deployment.credentials;
  for (const target of ['/api/auth/v1/scopes/current', '/api/secrets/v1/secret/x']) {
    yield { target, headers: { Authorization: authorization(deployment, { client, target }) } };
    yield { target: withBewit(deployment, { client, target }) };
    yield { target };
  }
  yield { target: '/api/auth/v1/authenticate-anonymous' };
  yield { target: '/login/user', headers: { Cookie: `taskcluster-session=${'x'.repeat(43)}` } };
}

for (const [name, place] of [
  ['PostgreSQL', async () => (await postgresql()).createDatabase()],
  ['PgBouncer', pooledDatabase],
] as const) {
  test(
    `without its database a deployment answers 503 (${name})`,
    alone(async (t) => {
      const { deployment, faults } = await start(t, await place());
      const server = await postgresql();
      await server.stop();
      try {
        // The cached anonymous scopes are valid for less than a second.
        await pause(1000);
        for (const call of calls(deployment)) {
          const { status, json } = await send(deployment, call);
          t.is(status, 503, call.target);
          t.is(json.code, 'ServiceUnavailable');
          t.notRegex(json.message.split('\n---\n')[0], INTERNALS);
        }
        t.true(faults.length > 0);
      } finally {
        await server.resume();
      }
    }),
  );

  test(
    `an outage of two seconds fails no client that tries again (${name})`,
    alone(async (t) => {
      const { deployment } = await start(t, await place());
      const server = await postgresql();
      const end = Date.now() + 6000;
      const clients = [...work(deployment)].map((call) => repeated(call, () => Date.now() < end));
      const { rootUrl, credentials } = deployment;
      const queue = new taskcluster.Queue({ rootUrl, credentials, retries: RETRIES });
      const waiting = nextTask(queue);
      await pause(1000);
      await server.stop();
      await pause(2000);
      await server.resume();
      const counts = await Promise.all(clients);
      t.true(counts.every((count) => count > 0));
      const taskId = taskcluster.slugid();
      await queue.createTask(taskId, definition({ taskQueueId: WAITED_FOR }));
      t.is(await waiting, taskId);
    }),
  );
}

test(
  'a connection that is lost within a transaction is an outage',
  alone(async (t) => {
    const database = await openPostgresql(await (await postgresql()).createDatabase(), 1);
    t.teardown(() => database.close());
    const lost = async (end: (on: Queryable) => Promise<unknown>) =>
      t.throwsAsync(database.transaction(end), { instanceOf: Outage });
    const cut = 'SELECT pg_terminate_backend(pg_backend_pid())';
    await lost((on) => on.query(cut));
    // The statement after the loss: the client "is not queryable".
    await lost(async (on) => {
      await on.query(cut).catch(() => undefined);
      await on.query('SELECT 1');
    });
    // And the end of the transaction.
    await lost((on) => on.query(cut).catch(() => undefined));
    t.deepEqual(await database.query('SELECT 1 AS one'), [{ one: 1 }]);
    t.false((await t.throwsAsync(database.query('SELECT nothing'))) instanceof Outage);
  }),
);

anyTest('an outage is told from an error in a statement', (t) => {
  for (const [error, expected] of [
    [serverError('57P01'), true],
    [serverError('57P03'), true],
    [serverError('08P01'), true],
    [serverError('53300'), true],
    [serverError('25006'), true],
    [serverError('23505'), false],
    [serverError('57014'), false],
    [serverError('42P01'), false],
    [new Error('Client has encountered a connection error and is not queryable'), true],
    [Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }), true],
    [new TypeError('value.toPostgres is not a function'), false],
  ] as const) {
    t.is(isOutage(error), expected, `${error.message} ${'code' in error ? error.code : ''}`);
  }
});

function serverError(code: string): pg.DatabaseError {
  return Object.assign(new pg.DatabaseError('', 0, 'error'), { code });
}

/** Nothing is in it when a worker asks before the outage. */
const WAITED_FOR = 'demo/waited-for';

async function nextTask(queue: InstanceType<typeof taskcluster.Queue>): Promise<string> {
  for (;;) {
    const { tasks } = await queue.claimWork(WAITED_FOR, { ...WORKER, tasks: 1 });
    if (tasks.length > 0) {
      return tasks[0].status.taskId;
    }
  }
}

/**
 * The retries of the published client: 50 s, since a server takes its time to start on a busy
 * machine.
 */
const RETRIES = 8;

/** Calls such as clients make all day, by the published client and with its own retries. */
function* work({ rootUrl, credentials }: Deployment): Generator<() => Promise<unknown>> {
  const options = { rootUrl, credentials, retries: RETRIES };
  const auth = new taskcluster.Auth(options);
  const queue = new taskcluster.Queue(options);
  const secrets = new taskcluster.Secrets(options);
  const expires = taskcluster.fromNow('1 hour');
  const description = '';
  let number = 0;
  yield () => auth.currentScopes();
  yield () => auth.client(credentials.clientId);
  yield () => auth.createClient(`c${++number}`, { expires, description, scopes: ['x'] });
  yield () => auth.createRole(`r${++number}`, { description, scopes: [`s${number}`] });
  yield () => auth.expandScopes({ scopes: ['assume:r1'] });
  yield () => secrets.set(`n${++number}`, { expires, secret: { number } });
  yield async () => {
    const taskId = taskcluster.slugid();
    await queue.createTask(taskId, definition());
    await queue.claimTask(taskId, 0, WORKER);
    await queue.reportCompleted(taskId, 0);
  };
  yield () => queue.pendingTasks(QUEUE);
}

async function repeated(call: () => Promise<unknown>, goesOn: () => boolean): Promise<number> {
  let count = 0;
  for (; goesOn(); count += 1) {
    await call();
  }
  return count;
}

anyTest("a key that is missing is not the caller's fault", async (t) => {
  const faults: unknown[] = [];
  const database = await schemaFor();
  const onFault = (fault: unknown) => faults.push(fault);
  const deployment = await deploymentFor(t, { database, onFault });
  await database.query("UPDATE clients SET access_token_key = 'lost'");
  for (const call of calls(deployment)) {
    if (call.headers !== undefined && 'Authorization' in call.headers) {
      const { status, text } = await send(deployment, call);
      // A fault of auth is an outage for the services that ask it.
      t.is(status, call.target.startsWith('/api/auth/') ? 500 : 503);
      t.notRegex(text, /\bkey\b|lost|TASKCLUSTER_LOCAL/);
    }
  }
  t.regex(String(faults[0]), /the key lost is missing/);
});

anyTest("a file that has gone from the disk is not the caller's fault", async (t) => {
  const folder = freshDirectory(t);
  const deployment = await deploymentFor(t, { folder, onFault: () => undefined });
  const queue = queueOf(deployment, deployment.credentials);
  const taskId = taskcluster.slugid();
  await queue.createTask(taskId, definition());
  await queue.claimTask(taskId, 0, WORKER);
  const expires = taskcluster.fromNow('30 minutes');
  const artifact = { storageType: 's3', contentType: 'text/plain', expires };
  const { putUrl } = await queue.createArtifact(taskId, 0, 'a', artifact);
  const headers = { 'Content-Type': 'text/plain' };
  t.is((await fetch(putUrl, { method: 'PUT', body: 'hello', headers })).status, 200);
  rmSync(path.join(folder, 'artifacts/objects'), { recursive: true });
  const { url } = await queue.artifact(taskId, 0, 'a');
  const answer = await fetch(url);
  t.is(answer.status, 500);
  t.notRegex(await answer.text(), /ENOENT|artifacts/);
});
