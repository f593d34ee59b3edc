// The services other than auth authenticate their callers by asking auth.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import express from 'express';
import { RemoteAuthError, remoteValidator } from '../../ts/deployment/api/remote-validator.js';
import { Outage } from '../../ts/deployment/outage.js';
import { authOf } from '../harness/auth.js';
import { onEveryBackend } from '../harness/backends.js';
import { addDatabase } from '../harness/database.js';
import { authorization, deploymentFor, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { postgresql } from '../harness/postgresql.js';
import { testWith } from '../harness/tools.js';

/** Longer than any test takes. */
const HOUR_MS = 3_600_000;

const request = { method: 'get', resource: '/x', host: 'example.com', port: 80 };
const roles = [{ roleId: 'anonymous', scopes: ['secrets:get:public'] }];

onEveryBackend('a thousand calls without credentials cost auth one', async (t, place) => {
  const deployment = await deploymentFor(t, { ...place, roles });
  const validator = remoteValidator(deployment);
  const found = await Promise.all(Array.from({ length: 1000 }, () => validator(request)));
  t.is(deployment.counters().anonymous, 1);
  t.like(found.at(-1), {
    status: 'no-auth',
    scopes: ['assume:anonymous', 'secrets:get:public'],
  });
});

/**
 * Requests at once. They are fewer than the 511 connections that may wait for Node to accept them:
 * Node resets any further ones.
 */
const BURST = 500;

for (const [name, declare, place] of [
  [
    'PGlite',
    test,
    async (t: ExecutionContext) => {
      // A database of its own: in the shared one, other tests change roles.
      const folder = freshDirectory(t);
      await addDatabase(folder);
      return { folder, database: undefined };
    },
  ],
  [
    'PostgreSQL',
    testWith('postgres'),
    async () => ({
      database: undefined,
      databaseUrl: await (await postgresql()).createDatabase(),
    }),
  ],
] as const) {
  declare(`hundreds of requests without credentials cost auth one call (${name})`, async (t) => {
    const deployment = await deploymentFor(t, { ...(await place(t)), roles });
    const target = '/api/secrets/v1/secret/public';
    const answers = await Promise.all(
      Array.from({ length: BURST }, () => send(deployment, { target })),
    );
    t.true(answers.every(({ status }) => status === 404));
    t.deepEqual(deployment.counters(), { verified: 0, refused: 0, anonymous: 1 });
    // The answer is kept until a change of the roles is noticed.
    const auth = authOf(deployment);
    await auth.updateRole('anonymous', { description: '', scopes: [] });
    t.is((await send(deployment, { target })).status, 403);
    t.is(deployment.counters().anonymous, 2);
  });
}

onEveryBackend(
  'a service asks auth about each request with credentials, and gets its judgement',
  async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const validator = remoteValidator(deployment);
    const signed = (timestamp?: number) =>
      validator({
        ...request,
        authorization: authorization(deployment, {
          client: deployment.credentials,
          target: '/x',
          host: 'example.com',
          port: 80,
          ...(timestamp === undefined ? {} : { timestamp }),
        }),
      });
    const found = await signed();
    t.like(found, { status: 'auth-success', clientId: 'static/taskcluster/root', scopes: ['*'] });
    t.true(found.status !== 'auth-failed' && found.expires instanceof Date);
    const late = await signed(1);
    t.is(late.status, 'auth-failed');
    t.regex(late.status === 'auth-failed' ? late.message : '', /^Stale timestamp/);
    t.regex(late.status === 'auth-failed' ? (late.challenge ?? '') : '', /^Hawk ts=".*tsm="/);
    t.deepEqual(deployment.counters(), { verified: 1, refused: 1, anonymous: 0 });
  },
);

onEveryBackend(
  'a request with a Host that is too long for auth is refused with 401',
  async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const host = `${'x'.repeat(60)}.`.repeat(5);
    const answer = await send(deployment, {
      target: '/api/secrets/v1/secret/x',
      headers: { Host: `${host}com`, Authorization: 'Hawk id="a"' },
    });
    t.is(answer.status, 401);
    t.regex(answer.json.message, /^Bad Request: \n?Schema Validation Failed!/);
  },
);

onEveryBackend(
  'the secrets service refuses a payload that is not the signed one',
  async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const target = '/api/secrets/v1/secret/x';
    const payload = JSON.stringify({ secret: {}, expires: new Date(Date.now() + HOUR_MS) });
    const client = deployment.credentials;
    const put = (body: string) => {
      const Authorization = authorization(deployment, { client, method: 'PUT', target, payload });
      const headers = { Authorization, 'Content-Type': 'application/json' };
      return send(deployment, { method: 'PUT', target, headers, body });
    };
    t.is((await put(payload)).status, 200);
    const other = await put(`${payload} `);
    t.is(other.status, 401);
    t.regex(other.json.message, /^Invalid payload hash/);
  },
);

test('auth is asked again when it fails, and a failure is not kept', async (t) => {
  let calls = 0;
  let failures = 2;
  let failure = 500;
  const app = express().get('/api/auth/v1/authenticate-anonymous', (_request, response) => {
    calls += 1;
    failures -= 1;
    const expires = new Date(Date.now() + HOUR_MS);
    const answer = { status: 'no-auth', scheme: 'none', scopes: [], expires };
    // A kept connection that the server closes while it is idle would cost a question.
    response.set('Connection', 'close');
    response.status(failures >= 0 ? failure : 200).json(answer);
  });
  const server = app.listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const validator = remoteValidator({ rootUrl: `http://127.0.0.1:${port}` });
  t.is((await validator(request)).status, 'no-auth');
  t.is(calls, 3);

  failures = 4;
  const other = remoteValidator({ rootUrl: `http://127.0.0.1:${port}` });
  await t.throwsAsync(Promise.all([other(request), other(request)]), {
    instanceOf: Outage,
    message: 'auth answered 500: its own log says why',
  });
  t.is(calls, 7);
  t.is((await other(request)).status, 'no-auth');

  failures = 1;
  failure = 404;
  const elsewhere = remoteValidator({ rootUrl: `http://127.0.0.1:${port}` });
  await t.throwsAsync(elsewhere(request), { instanceOf: RemoteAuthError });
});

test('a request fails as an outage where a service cannot reach auth', async (t) => {
  const validator = remoteValidator({ rootUrl: 'http://127.0.0.1:1' });
  await t.throwsAsync(validator(request), {
    instanceOf: Outage,
    message:
      'cannot ask http://127.0.0.1:1/api/auth/v1/authenticate-anonymous: see that the auth service runs there',
  });
});
