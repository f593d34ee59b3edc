// A revoked right ends within a second at every process: also behind a pooler, where LISTEN receives
// nothing, while the listening connection is cut, and after a process was suspended.
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import anyTest, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { OLDEST, RolesVersion } from '../../ts/deployment/roles-version.js';
import { authOf } from '../harness/auth.js';
import { endsWith } from '../harness/child.js';
import { gate, pause, STILL_MS, until, within } from '../harness/deadline.js';
import { authorization, type Client, send, startedFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach, LOCAL, type Reach } from '../harness/local.js';
import { pooledDatabase } from '../harness/pgbouncer.js';
import { postgresql, runSql } from '../harness/postgresql.js';
import { definition, QUEUE, queueOf, WORKER } from '../harness/queue.js';
import { testWith } from '../harness/tools.js';

const test = testWith('postgres', 'pgbouncer');

const unpooled = async () => (await postgresql()).createDatabase();

interface Other extends Reach {
  readonly child: ChildProcessWithoutNullStreams;
  /** What it has said on stderr. */
  readonly said: () => string;
}

/** One deployment here, which changes things, and another one in a process of its own. */
async function both(t: ExecutionContext, databaseUrl: string) {
  const folder = freshDirectory(t);
  const one = await startedFor(t, { folder, databaseUrl, onNotice: () => undefined });
  const env = { ...process.env, TASKCLUSTER_LOCAL_DATABASE_URL: databaseUrl };
  const child = spawn(process.execPath, [...LOCAL, 'start', '--data-folder', folder], { env });
  endsWith(t, child);
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const other: Other = { ...(await howToReach(child)), child, said: () => stderr };
  return { one, other };
}

async function listenState({ rootUrl }: Reach): Promise<string> {
  const answer = await fetch(`${rootUrl}/__heartbeat__`);
  return ((await answer.json()) as { listen: string }).listen;
}

/**
 * Grants rights that can be revoked: to every caller, to a client by a role, and to a client by its
 * own scopes.
 */
async function grant({ rootUrl, credentials }: Pick<Reach, 'rootUrl' | 'credentials'>) {
  const auth = authOf({ rootUrl, credentials });
  const description = '';
  const scopes = ['secrets:get:x', 'auth:current-scopes'];
  await auth.createRole('anonymous', { description, scopes });
  await auth.createRole('reader', { description, scopes: ['secrets:get:y'] });
  const expires = taskcluster.fromNow('1 hour');
  const add = async (clientId: string, scopes: string[]): Promise<Client> => {
    const { accessToken } = await auth.createClient(clientId, { description, expires, scopes });
    return { clientId, accessToken };
  };
  const byRole = await add('by-role', ['assume:reader']);
  const byItself = await add('by-itself', ['secrets:get:z']);
  const revoke = async () => {
    await auth.updateRole('anonymous', { description, scopes: [] });
    await auth.updateRole('reader', { description, scopes: [] });
    await auth.disableClient(byItself.clientId);
  };
  return { byRole, byItself, revoke };
}

type Granted = Awaited<ReturnType<typeof grant>>;

/** The status of one call by each right; 404 means that the call was let through. */
async function statuses(other: Reach, { byRole, byItself }: Granted): Promise<number[]> {
  const signed = (client: Client, target: string) => {
    const Authorization = authorization(other, { client, target });
    return send(other, { target, headers: { Authorization } });
  };
  const answers = await Promise.all([
    send(other, { target: '/api/secrets/v1/secret/x' }),
    send(other, { target: '/api/auth/v1/scopes/current' }),
    signed(byRole, '/api/secrets/v1/secret/y'),
    signed(byItself, '/api/secrets/v1/secret/z'),
  ]);
  return answers.map(({ status }) => status);
}

const GRANTED = [404, 200, 404, 404];
const REVOKED = [403, 403, 403, 401];

/** No request that is begun a second after the change, or later, may still be let through. */
async function revokedWithinASecond(t: ExecutionContext, other: Reach, granted: Granted) {
  await until(async () => `${await statuses(other, granted)}` === `${GRANTED}`, 'the grant');
  await granted.revoke();
  const revoked = Date.now();
  for (let begun = revoked; begun < revoked + 3000; begun = Date.now()) {
    const found = await statuses(other, granted);
    if (begun > revoked + 1000) {
      t.deepEqual(found, REVOKED);
    }
  }
}

for (const [name, place, state, sentence] of [
  ['PostgreSQL', unpooled, 'heard', / LISTEN is heard/],
  ['PgBouncer', pooledDatabase, 'unheard', /warning: LISTEN is not heard: .*pooler/],
] as const) {
  test(`a revocation at one process applies at another within a second (${name})`, async (t) => {
    const { one, other } = await both(t, await place());
    await until(() => sentence.test(other.said()), `${sentence}`);
    t.is(await listenState(other), state);
    await revokedWithinASecond(t, other, await grant(one));
  });

  test(`a revocation applies at once at a process that was frozen meanwhile (${name})`, async (t) => {
    const { one, other } = await both(t, await place());
    const granted = await grant(one);
    await until(async () => `${await statuses(other, granted)}` === `${GRANTED}`, 'the grant');
    other.child.kill('SIGSTOP');
    await granted.revoke();
    await pause(5000);
    const asked = Promise.all([statuses(other, granted), statuses(other, granted)]);
    other.child.kill('SIGCONT');
    for (const found of await asked) {
      t.deepEqual(found, REVOKED);
    }
  });
}

test('a revocation applies within a second while the listening connection is cut again and again', async (t) => {
  const databaseUrl = await unpooled();
  const { one, other } = await both(t, databaseUrl);
  const granted = await grant(one);
  const { port } = await postgresql();
  const name = new URL(databaseUrl).pathname.slice(1);
  const cut = () =>
    runSql(
      port,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = '${name}' AND query LIKE 'LISTEN %'`,
    );
  let isOver = false;
  const cutting = async () => {
    while (!isOver) {
      await cut();
    }
  };
  const end = cutting();
  await until(async () => (await listenState(other)) === 'unheard', 'the cut');
  await revokedWithinASecond(t, other, granted);
  isOver = true;
  await end;
  await until(async () => (await listenState(other)) === 'heard', 'the connection');
});

test('a worker behind a pooler hears of a task that is created elsewhere', async (t) => {
  const { one, other } = await both(t, await pooledDatabase());
  const waiting = queueOf(other, one.credentials).claimWork(QUEUE, { ...WORKER, tasks: 1 });
  await pause(STILL_MS);
  const taskId = taskcluster.slugid();
  await queueOf(one, one.credentials).createTask(taskId, definition());
  const { tasks } = await within(waiting, 'the task');
  t.is(tasks[0].status.taskId, taskId);
});

anyTest(
  'requests that wait together ask for the version of the roles once, and a request after a change asks again',
  async (t) => {
    const answers: ReturnType<typeof gate<number>>[] = [];
    const version = new RolesVersion(() => {
      const answer = gate<number>();
      answers.push(answer);
      return answer.opened;
    });
    const asked = [version.current(), version.current()];
    answers[0]?.open(1);
    t.deepEqual(await Promise.all(asked), [1, 1]);
    t.is(await version.current(), 1);
    t.is(answers.length, 1);
    // The answer to an older question does not show the change.
    version.changed();
    const before = version.current();
    version.changed();
    const after = version.current();
    answers[2]?.open(3);
    answers[1]?.open(2);
    t.deepEqual(await Promise.all([before, after]), [2, 3]);
    t.is(await version.current(), 3);
    // Later requests do not wait for an older question either.
    version.changed();
    const lost = version.current().catch(() => 'lost');
    await pause(OLDEST + 50);
    const late = version.current();
    answers[4]?.open(5);
    t.is(await late, 5);
    answers[3]?.fail(new Error('the database is away'));
    t.is(await lost, 'lost');
  },
);
