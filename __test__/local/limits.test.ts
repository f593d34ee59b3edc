// The limits of `taskcluster-local start`: each flag has its effect, and a limit that makes no sense is refused.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import pg from 'pg';
import taskcluster from 'taskcluster-client';
import { endsWith } from '../harness/child.js';
import { until, within } from '../harness/deadline.js';
import { authorization, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach, LOCAL } from '../harness/local.js';
import { postgresql } from '../harness/postgresql.js';
import { definition, QUEUE, queueOf, WORKER } from '../harness/queue.js';
import { testWith } from '../harness/tools.js';

function spawnLocal(t: ExecutionContext, ...args: string[]) {
  const env = { ...process.env, TMPDIR: freshDirectory(t) };
  const child = spawn(process.execPath, [...LOCAL, 'start', ...args], { env });
  endsWith(t, child);
  return child;
}

testWith('postgres')('each limit is the one that the operator sets', async (t) => {
  const databaseUrl = await (await postgresql()).createDatabase();
  const child = spawnLocal(
    t,
    ...['--database-url', databaseUrl, '--database-connections', '2'],
    ...['--body-limit', '1KiB', '--claim-timeout', '90s', '--max-connections', '8'],
  );
  const local = await howToReach(child);

  const client = local.credentials;
  const set = { client, method: 'PUT', target: '/api/secrets/v1/secret/a' };
  const statusOf = async (length: number) => {
    const body = JSON.stringify({
      secret: { a: 'x'.repeat(length) },
      expires: taskcluster.fromNow('1 hour'),
    });
    const headers = {
      'Content-Type': 'application/json',
      Authorization: authorization(local, set),
    };
    return (await send(local, { ...set, headers, body })).status;
  };
  t.is(await statusOf(500), 200);
  t.is(await statusOf(1024), 413);

  const queue = queueOf(local, client);
  await queue.createTask(taskcluster.slugid(), definition());
  const began = Date.now();
  const { tasks } = await queue.claimWork(QUEUE, { ...WORKER, tasks: 1 });
  const taken = Date.parse(tasks[0].status.runs[0].takenUntil) - 90_000;
  // Rounded up to a second.
  t.true(taken >= began && taken < Date.now() + 1_000, `${taken - began} ms`);

  const target = '/api/auth/v1/clients/';
  const listed = () =>
    send(local, {
      target,
      headers: { Authorization: authorization(local, { client, target }) },
    });
  await Promise.all(Array.from({ length: 6 }, listed));
  const watching = new pg.Client({ connectionString: databaseUrl });
  await watching.connect();
  const { rows } = await watching.query(
    `SELECT count(*)::int AS number FROM pg_stat_activity
     WHERE datname = current_database() AND application_name = 'taskcluster-local'`,
  );
  await watching.end();
  t.is(rows[0].number, 3, 'two, and the one that listens');

  const { port } = new URL(local.rootUrl);
  const held: net.Socket[] = [];
  t.teardown(() => held.forEach((socket) => void socket.destroy()));
  const ping = () => send(local, { target: '/api/auth/v1/ping' }).then(({ status }) => status);
  for (let opened = 0; opened < 8; opened += 1) {
    const socket = net.connect(Number(port), '127.0.0.1').on('error', () => undefined);
    held.push(socket);
    await once(socket, 'connect');
  }
  await until(async () => (await ping().catch(() => 'closed')) === 'closed', 'the limit');
  for (const socket of held) {
    socket.destroy();
  }
  await until(async () => (await ping().catch(() => 'closed')) === 200, 'room for a client');
});

test('a limit that makes no sense is refused', async (t) => {
  for (const [args, sentence] of [
    [['--max-connections', '0'], /0 is not a count: give a whole number from 1 to 9999999/],
    [
      ['--database-connections', 'many'],
      /many is not a count: give a whole number from 1 to 9999999/,
    ],
    [['--body-limit', '0'], /0 is no size of a body: give 1KiB or more/],
    [['--body-limit', '1 KiB'], /--body-limit/],
    [['--claim-timeout', '0'], /0 is no time for a worker: give 1s or more/],
    [['--claim-timeout', '20'], /--claim-timeout/],
  ] as const) {
    const child = spawnLocal(t, ...args);
    const ended = Promise.all([text(child.stderr), once(child, 'exit')]);
    const [said, [code]] = await within(ended, 'its end');
    t.is(code, 64, args.join(' '));
    t.regex(said, sentence);
  }
});
