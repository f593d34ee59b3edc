// An operator's commands beside a running deployment, on PGlite or PostgreSQL: they replace the root token,
// rotate keys, add and remove users, and calls go on.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { sharedDatabase } from '../../ts/deployment/storage/control.js';
import { authOf, errorOf } from '../harness/auth.js';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { endsWith } from '../harness/child.js';
import { addDatabase } from '../harness/database.js';
import { DATABASE_PATIENCE_MS, within } from '../harness/deadline.js';
import { type Client, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach, LOCAL } from '../harness/local.js';

async function running(t: ExecutionContext, { databaseUrl }: Place) {
  t.timeout(8 * DATABASE_PATIENCE_MS);
  const folder = freshDirectory(t);
  if (databaseUrl === undefined) {
    await addDatabase(folder);
  }
  const { TASKCLUSTER_LOCAL_KEYS: _, ...inherited } = process.env;
  const env = {
    ...inherited,
    TASKCLUSTER_LOCAL_DATA_FOLDER: folder,
    ...(databaseUrl === undefined ? {} : { TASKCLUSTER_LOCAL_DATABASE_URL: databaseUrl }),
  };
  const child = spawn(process.execPath, [...LOCAL, 'start'], { env });
  endsWith(t, child);
  const reach = await howToReach(child);
  const run = async (args: string[], input = '') => {
    const command = spawn(process.execPath, [...LOCAL, ...args], { env });
    command.stdin.end(input);
    const ended = Promise.all([text(command.stdout), text(command.stderr), once(command, 'exit')]);
    const [stdout, stderr, [code]] = await within(ended, args.join(' '), DATABASE_PATIENCE_MS);
    t.is(code, 0, stderr);
    return stdout;
  };
  return { folder, child, reach, run };
}

onEveryBackend(
  'an operator replaces the root token, and the old one ends with all that it signed',
  async (t, place) => {
    const { reach, run } = await running(t, place);
    const { credentials } = reach;
    const issued = taskcluster.createTemporaryCredentials({
      credentials,
      scopes: ['auth:*'],
      start: new Date(Date.now() - 60_000),
      expiry: taskcluster.fromNow('1 hour'),
    }) as Client;
    const call = (by: Partial<Client>) =>
      errorOf(authOf(reach, { credentials: by }).currentScopes());
    t.is((await call(credentials))[0], 'none');
    t.is((await call(issued))[0], 'none');
    const printed = await run(['root', 'reset']);
    const [, clientId = '', accessToken = ''] =
      /^export TASKCLUSTER_CLIENT_ID=(.+)\nexport TASKCLUSTER_ACCESS_TOKEN=(.+)\n$/.exec(printed) ??
      [];
    t.is(clientId, credentials.clientId);
    t.not(accessToken, credentials.accessToken);
    t.is((await call(credentials))[0], 'AuthenticationFailed');
    t.is((await call(issued))[0], 'AuthenticationFailed');
    t.is((await call({ clientId, accessToken }))[0], 'none');
  },
);

onEveryBackend('keys are rotated while calls go on', async (t, place) => {
  const { folder, reach, run } = await running(t, place);
  const auth = authOf(reach);
  const secrets = new taskcluster.Secrets({ ...reach, retries: 0 });
  const expires = taskcluster.fromNow('1 hour');
  await secrets.set('before', { secret: { number: 1 }, expires });
  let isOver = false;
  const calling = async () => {
    for (let number = 0; !isOver; number += 1) {
      await secrets.set(`n${number}`, { secret: { number }, expires });
      t.deepEqual((await secrets.get(`n${number}`)).secret, { number });
    }
  };
  const calls = calling();
  const said = await run(['rotate-keys']);
  isOver = true;
  await calls;
  const file = path.join(folder, 'keys');
  const [newest = ''] = readFileSync(file, 'utf8').split('\n');
  const [id] = newest.split(':');
  t.regex(said, new RegExp(`^Sealed \\d+ tokens and secrets again with the key ${id}\\.`));
  // Nothing is left that only the older one opens.
  writeFileSync(file, `${newest}\n`);
  t.deepEqual((await secrets.get('before')).secret, { number: 1 });
  t.is((await errorOf(auth.currentScopes()))[0], 'none');
});

onEveryBackend('an operator adds and removes users, and sets passwords', async (t, place) => {
  const { reach, run } = await running(t, place);
  const signIn = async (password: string) => {
    const headers = { 'content-type': 'application/json' };
    const body = JSON.stringify({ name: 'alice', password });
    return (await send(reach, { method: 'POST', target: '/login/local', headers, body })).status;
  };
  t.is(
    await run(['user', 'add', 'alice', '--role', 'r'], 'correct horse\n'),
    'Added alice, who is local/alice.\n',
  );
  t.is(await signIn('correct horse'), 204);
  t.is(await run(['user', 'list']), 'alice  r\n');
  await run(['user', 'set-password', 'alice'], 'battery staple\n');
  t.is(await signIn('correct horse'), 401);
  t.is(await signIn('battery staple'), 204);
  await run(['user', 'remove', 'alice']);
  t.is(await signIn('battery staple'), 401);
});

test('a command uses the database of a running deployment, in transactions of its own', async (t) => {
  const { folder, child } = await running(t, {});
  const data = path.join(folder, 'database');
  t.is(statSync(path.join(data, 'control')).mode & 0o777, 0o600);
  const database = await sharedDatabase(data);
  if (database === undefined) {
    t.fail('it is not shared');
    return;
  }
  const count = async () =>
    (await database.query("SELECT 1 FROM roles WHERE role_id LIKE 't%'")).length;
  const add = 'INSERT INTO roles (role_id, scopes) VALUES ($1, $2)';
  await t.throwsAsync(
    database.transaction(async (inner) => {
      await inner.query(add, ['t1', ['a']]);
      throw new Error('on the way');
    }),
    { message: 'on the way' },
  );
  t.is(await count(), 0);
  await t.throwsAsync(database.query('SELECT x FROM nowhere'), {
    message: /nowhere/,
    code: '42P01',
  });
  await database.transaction((inner) => inner.query(add, ['t2', ['a', 'b']]));
  const values = await database.query('SELECT scopes, created, $1::bytea AS bytes FROM roles', [
    Buffer.from([0, 255]),
  ]);
  t.like(values.at(-1), { scopes: ['a', 'b'] });
  const [{ created, bytes }] = values as [{ created: unknown; bytes: Uint8Array }];
  t.true(created instanceof Date);
  t.deepEqual([...bytes], [0, 255]);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
  t.is(await sharedDatabase(data), undefined);
});
