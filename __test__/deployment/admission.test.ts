// To which client the local deployment attributes a request, and which requests it refuses: the rules of
// Taskcluster's auth service.
import test, { type ExecutionContext } from 'ava';
import { newTaskId } from '../../ts/demo/worker.js';
import type { Database } from '../../ts/deployment/storage/database.js';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { schemaFor } from '../harness/database.js';
import { pause, within } from '../harness/deadline.js';
import {
  type Answer,
  authorization,
  type Client,
  deploymentFor,
  type Sent,
  type Signing,
  send,
  temporary,
  withBewit,
} from '../harness/deployment.js';
import { unusedPort } from '../harness/port.js';

const ANONYMOUS = ['anonymous-scope', 'assume:anonymous', 'auth:current-scopes'];

const clients = {
  root: { clientId: 'test/root', accessToken: 'root-secret', scopes: ['*'] },
  narrow: {
    clientId: 'test/narrow',
    accessToken: 'narrow-secret',
    scopes: ['assume:project:x', 'secrets:*'],
  },
  disabled: { clientId: 'test/disabled', accessToken: 'd', scopes: ['*'], disabled: true },
  expired: { clientId: 'test/expired', accessToken: 'e', scopes: ['*'], expires: new Date(0) },
};
const { root, narrow } = clients;

const roles = [
  { roleId: 'anonymous', scopes: ['anonymous-scope', 'auth:current-scopes'] },
  { roleId: 'project:*', scopes: ['project-scope'] },
];

function start(t: ExecutionContext, place: Place = {}) {
  return deploymentFor(t, { ...place, clients: Object.values(clients), roles });
}

type Deployment = Awaited<ReturnType<typeof start>>;
type Case = Partial<Signing> & { sent?: Partial<Sent> };

const CURRENT_SCOPES = '/api/auth/v1/scopes/current';

/** Signs one request and sends another, which differs where `sent` says so. */
function ask(deployment: Deployment, { sent, ...signing }: Case): Promise<Answer> {
  const signed = { client: root, target: CURRENT_SCOPES, ...signing };
  return send(deployment, {
    method: signed.method ?? 'GET',
    target: signed.target,
    ...sent,
    headers: { Authorization: authorization(deployment, signed), ...sent?.headers },
  });
}

const NARROW = ['assume:project:x', 'project-scope', 'secrets:*'];
const now = () => Math.floor(Date.now() / 1000);

// Values that depend on the time are made when a case asks for them: a test may begin minutes after
// this is read.

const ACCEPTED: Record<string, [Case, string[]]> = {
  'permanent credentials': [{ client: root }, ['*']],
  'scopes that a role adds': [{ client: narrow }, [...ANONYMOUS, ...NARROW]],
  'an empty ext': [{ client: narrow, ext: {} }, [...ANONYMOUS, ...NARROW]],
  'an unknown field in ext': [{ client: narrow, ext: { later: 1 } }, [...ANONYMOUS, ...NARROW]],
  'a clock that is 14 minutes slow': [
    {
      get timestamp() {
        return now() - 14 * 60;
      },
    },
    ['*'],
  ],
  'a clock that is 14 minutes fast': [
    {
      get timestamp() {
        return now() + 14 * 60;
      },
    },
    ['*'],
  ],
  'temporary credentials': [
    { client: temporary(narrow, { scopes: ['secrets:get:a'] }) },
    [...ANONYMOUS, 'secrets:get:a'],
  ],
  'temporary credentials without scopes': [
    { client: temporary(narrow, { scopes: [] }) },
    ANONYMOUS,
  ],
  'temporary credentials with scopes that a role expands': [
    { client: temporary(root, { scopes: ['assume:project:y'] }) },
    [...ANONYMOUS, 'assume:project:y', 'project-scope'],
  ],
  'named temporary credentials': [
    { client: temporary(root, { name: 'task-client/x', scopes: ['a', 'b:*'] }) },
    ['a', ...ANONYMOUS, 'b:*'],
  ],
  'a certificate of an issuer with a clock four minutes fast': [
    {
      get client() {
        return temporary(root, { scopes: ['a'], with: { start: Date.now() + 4 * 60_000 } });
      },
    },
    ['a', ...ANONYMOUS],
  ],
  authorizedScopes: [
    { client: narrow, ext: { authorizedScopes: ['secrets:get:a'] } },
    [...ANONYMOUS, 'secrets:get:a'],
  ],
  'an empty list of authorizedScopes': [
    { client: narrow, ext: { authorizedScopes: [] } },
    ANONYMOUS,
  ],
  'authorizedScopes that a role gives': [
    { client: narrow, ext: { authorizedScopes: ['project-scope'] } },
    [...ANONYMOUS, 'project-scope'],
  ],
  'authorizedScopes that every caller has': [
    { client: narrow, ext: { authorizedScopes: ['anonymous-scope'] } },
    ANONYMOUS,
  ],
  'authorizedScopes of temporary credentials': [
    {
      client: temporary(root, { name: 'task-client/x', scopes: ['a:*', 'b'] }),
      ext: { authorizedScopes: ['a:1'] },
    },
    ['a:1', ...ANONYMOUS],
  ],
  'a host in capitals': [
    { host: 'example.com', port: 80, sent: { headers: { Host: 'EXAMPLE.com' } } },
    ['*'],
  ],
  'a host with a port': [
    { host: 'example.com', port: 1234, sent: { headers: { Host: 'example.com:1234' } } },
    ['*'],
  ],
  'an IPv6 host': [{ host: '[::1]', port: 1234, sent: { headers: { Host: '[::1]:1234' } } }, ['*']],
  'a port that a reverse proxy forwards': [
    { host: 'a.b', port: 8443, sent: { headers: { Host: 'a.b', 'X-Forwarded-Port': '8443' } } },
    ['*'],
  ],
  'a scheme that a reverse proxy forwards': [
    { host: 'a.b', port: 443, sent: { headers: { Host: 'a.b', 'X-Forwarded-Proto': 'https' } } },
    ['*'],
  ],
};

for (const [what, [asked, scopes]] of Object.entries(ACCEPTED)) {
  test(`a request is accepted: ${what}`, async (t) => {
    const deployment = await start(t);
    const answer = await ask(deployment, asked);
    t.is(answer.status, 200, answer.text);
    t.deepEqual(answer.json, { scopes: [...scopes].sort() });
    t.deepEqual(deployment.counters(), { verified: 1, refused: 0, anonymous: 0 });
  });
}

const task = newTaskId();
const artifact = (name: string) => `/api/queue/v1/task/${task}/runs/0/artifacts/${name}`;

const REFUSED: Record<string, [Case, RegExp]> = {
  'a wrong access token': [{ client: { ...root, accessToken: 'other' } }, /mac/i],
  "another client's access token": [{ client: { ...root, clientId: narrow.clientId } }, /mac/i],
  'an unknown client': [
    { client: { ...root, clientId: 'test/nobody' } },
    /Client with clientId 'test\/nobody' not found/,
  ],
  'a disabled client': [{ client: clients.disabled }, /is disabled/],
  'an expired client': [{ client: clients.expired }, /has expired/],
  'a clock that is 16 minutes slow': [
    {
      get timestamp() {
        return now() - 16 * 60;
      },
    },
    /Stale timestamp/,
  ],
  'a clock that is 16 minutes fast': [
    {
      get timestamp() {
        return now() + 16 * 60;
      },
    },
    /Stale timestamp/,
  ],
  'another method': [{ sent: { method: 'HEAD' } }, /mac/i],
  'another path': [{ sent: { target: `${CURRENT_SCOPES}/` } }, /mac/i],
  'a decoded path': [
    { target: artifact('public%2Fa'), sent: { target: artifact('public/a') } },
    /mac/i,
  ],
  'an encoded path': [{ target: artifact('a;b'), sent: { target: artifact('a%3Bb') } }, /mac/i],
  'a query that was not signed': [{ sent: { target: `${CURRENT_SCOPES}?` } }, /mac/i],
  'another order of the query': [
    { target: `${CURRENT_SCOPES}?a&b`, sent: { target: `${CURRENT_SCOPES}?b&a` } },
    /mac/i,
  ],
  'another host': [{ sent: { headers: { Host: 'example.com' } } }, /mac/i],
  'another port': [{ sent: { headers: { 'X-Forwarded-Port': '1' } } }, /mac/i],
  'a malformed Host': [{ sent: { headers: { Host: 'a/b' } } }, /Invalid Host header/],
  'another scheme': [{ sent: { headers: { Authorization: 'Basic YTpi' } } }, /./],
  'nothing after the scheme': [{ sent: { headers: { Authorization: 'Hawk' } } }, /./],
  'an attribute twice': [
    { sent: { headers: { Authorization: 'Hawk id="a", id="b", ts="1", nonce="1", mac="x"' } } },
    /./,
  ],
  'no mac': [{ sent: { headers: { Authorization: 'Hawk id="a", ts="1", nonce="1"' } } }, /./],
  'a header of more than 4096 characters': [{ ext: { later: 'x'.repeat(4096) } }, /./],
  'both a header and a bewit': [
    { target: `${CURRENT_SCOPES}?bewit=x` },
    /Cannot use two authentication schemes/,
  ],
  'an ext that is not base64 of JSON': [{ ext: 'abcd' }, /ext/],
  'an ext that is not an object': [{ ext: Buffer.from('null').toString('base64') }, /./],
  'authorizedScopes that the client has not': [
    { client: narrow, ext: { authorizedScopes: ['queue:get-task:x'] } },
    /Supplied credentials do not satisfy authorizedScopes[\s\S]*secrets:\*[\s\S]*queue:get-task:x/,
  ],
  'authorizedScopes that temporary credentials have not': [
    { client: temporary(root, { scopes: ['a'] }), ext: { authorizedScopes: ['b'] } },
    /do not satisfy authorizedScopes/,
  ],
  'authorizedScopes that are not a list': [{ ext: { authorizedScopes: 'a' } }, /authorizedScopes/],
  'authorizedScopes that are not scopes': [
    { ext: { authorizedScopes: ['a\nb'] } },
    /authorizedScopes/,
  ],
  'a certificate that is not an object': [{ ext: { certificate: true } }, /certificate/],
  'a certificate of a later version': [
    { client: temporary(root, { scopes: [], with: { version: 2 } }) },
    /version must be 1/,
  ],
  'a certificate with a short seed': [
    { client: temporary(root, { scopes: [], with: { seed: 'x'.repeat(43) } }) },
    /seed must be 44 characters/,
  ],
  'a certificate with a text as start': [
    { client: temporary(root, { scopes: [], with: { start: '2016' } }) },
    /start/,
  ],
  'a certificate with invalid scopes': [{ client: temporary(root, { scopes: [1] }) }, /scopes/],
  'a certificate that has expired': [
    {
      get client() {
        return temporary(root, { scopes: [], with: { expiry: Date.now() - 6 * 60_000 } });
      },
    },
    /expiry < now/,
  ],
  'a certificate that is not valid yet': [
    {
      get client() {
        return temporary(root, { scopes: [], with: { start: Date.now() + 60 * 60_000 } });
      },
    },
    /start > now/,
  ],
  'a certificate for more than 31 days': [
    { client: temporary(root, { scopes: [], with: { expiry: Date.now() + 31 * 86_400_000 } }) },
    /31 days/,
  ],
  'a certificate with a scope added later': [
    { client: temporary(root, { scopes: ['a'], after: { scopes: ['a', 'b'] } }) },
    /signature is not valid/,
  ],
  'a certificate with its expiry put off later': [
    { client: temporary(root, { scopes: [], after: { expiry: Date.now() + 7_200_000 } }) },
    /signature is not valid/,
  ],
  'a certificate of another client': [
    { client: { ...temporary(root, { scopes: [] }), clientId: narrow.clientId } },
    /signature is not valid/,
  ],
  'a named certificate under another name': [
    { client: { ...temporary(root, { name: 'x/a', scopes: [] }), clientId: 'x/b' } },
    /signature is not valid/,
  ],
  'a certificate with its own client as the issuer': [
    { client: temporary(root, { name: root.clientId, scopes: [] }) },
    /issuer must differ/,
  ],
  'a name that the issuer may not give': [
    { client: temporary(narrow, { name: 'task-client/x', scopes: [] }) },
    /doesn't have `auth:create-client:task-client\/x`/,
  ],
  'scopes that the issuer has not': [
    { client: temporary(narrow, { scopes: ['godlike'] }) },
    /doesn't satisfy all certificate scopes godlike/,
  ],
  'an issuer that is disabled': [
    { client: temporary(clients.disabled, { name: 'x/y', scopes: [] }) },
    /is disabled/,
  ],
  'a certificate with the permanent access token': [
    { client: { ...temporary(root, { scopes: [] }), accessToken: root.accessToken } },
    /mac/i,
  ],
};

for (const [what, [asked, reason]] of Object.entries(REFUSED)) {
  test(`a request is refused: ${what}`, async (t) => {
    const deployment = await start(t);
    const answer = await ask(deployment, asked);
    t.is(answer.status, 401);
    t.is(answer.headers['access-control-allow-origin'], '*');
    t.regex(answer.headers['www-authenticate'] ?? '', /^hawk/i);
    if (asked.sent?.method !== 'HEAD') {
      t.is(answer.json.code, 'AuthenticationFailed');
      t.regex(answer.json.message, reason);
      t.regex(answer.json.requestInfo.time, /^20\d\d-/);
    }
    t.is(deployment.counters().verified, 0);
  });
}

onEveryBackend(
  'a client with a wrong clock is told the time of the deployment',
  async (t, place) => {
    const deployment = await start(t, place);
    const asked = now();
    const { headers } = await ask(deployment, { timestamp: asked - 3600 });
    const [, ts] =
      /^Hawk ts="(\d+)", tsm="[^"]+", error="[^"]+"$/.exec(headers['www-authenticate'] ?? '') ?? [];
    const told = Number(ts);
    t.true(told >= asked && told <= now(), headers['www-authenticate'] ?? 'no challenge');
  },
);

onEveryBackend(
  'a request is accepted with the payload that its signature covers, and refused with another',
  async (t, place) => {
    const deployment = await start(t, place);
    const target = '/api/auth/v1/scopes/expand';
    const payload = '{"scopes": ["assume:project:z"]}';
    const expand = (body: string, contentType: string) =>
      ask(deployment, {
        method: 'POST',
        target,
        payload,
        contentType: 'application/json',
        sent: { body, headers: { 'Content-Type': contentType } },
      });
    const right = await expand(payload, 'application/json; charset=utf-8');
    t.deepEqual(right.json, { scopes: ['assume:project:z', 'project-scope'] }, right.text);
    const wrong = await expand('{"scopes": ["assume:project:y"]}', 'application/json');
    t.is(wrong.status, 401);
    t.regex(wrong.json.message, /Invalid payload hash/);
  },
);

onEveryBackend(
  'bewits: good for GET and HEAD of one target until they expire',
  async (t, place) => {
    const deployment = await start(t, place);
    const target = CURRENT_SCOPES;
    const signing = { client: narrow, target, ext: { authorizedScopes: ['secrets:get:a'] } };
    const signed = withBewit(deployment, signing);
    const answer = await send(deployment, { target: signed });
    t.deepEqual(answer.json, { scopes: [...ANONYMOUS, 'secrets:get:a'] }, answer.text);
    t.is((await send(deployment, { target: signed, method: 'HEAD' })).status, 200);
    t.is((await send(deployment, { target: signed.replace('current', 'current/') })).status, 401);
    t.is((await send(deployment, { target: `${signed}&x=1` })).status, 401);

    const asTask = temporary(root, { name: 'task-client/x', scopes: ['auth:current-scopes'] });
    const ofTask = withBewit(deployment, { client: asTask, target });
    t.is((await send(deployment, { target: ofTask })).status, 200);
    const expired = withBewit(deployment, { client: root, target }, -1);
    t.is((await send(deployment, { target: expired })).status, 401);
    const put = withBewit(deployment, { client: root, target: '/api/secrets/v1/secret/x' });
    const body = JSON.stringify({ secret: {}, expires: new Date() });
    const headers = { 'Content-Type': 'application/json' };
    t.is((await send(deployment, { method: 'PUT', target: put, body, headers })).status, 401);
  },
);

onEveryBackend('targets are verified byte for byte', async (t, place) => {
  const deployment = await start(t, place);
  for (const name of [
    'public//a',
    'public/a/',
    'a%2Fb',
    'a%252Fb',
    'a;b=c',
    'a+b',
    'a/../b',
    './a',
    "!$&'()*,=:@",
    `${'x'.repeat(3000)}`,
  ]) {
    const answer = await ask(deployment, { target: artifact(name) });
    t.is(answer.status, 404, `${name}: ${answer.text}`);
    t.is(answer.json.code, 'ResourceNotFound');
  }
});

onEveryBackend(
  'a caller without credentials has the scopes of the role anonymous',
  async (t, place) => {
    const open = await start(t, place);
    const scopes = await send(open, { target: CURRENT_SCOPES });
    t.deepEqual(scopes.json, { scopes: ANONYMOUS });
    t.deepEqual(open.counters(), { verified: 0, refused: 0, anonymous: 1 });
  },
);

onEveryBackend(
  'a caller without credentials is refused where there is no role anonymous',
  async (t, place) => {
    const closed = await deploymentFor(t, place);
    const refused = await send(closed, { target: CURRENT_SCOPES });
    t.is(refused.status, 403);
    t.is(refused.json.code, 'InsufficientScopes');
    t.regex(refused.json.message, /requires Taskcluster credentials[\s\S]*auth:current-scopes/);
  },
);

onEveryBackend('a wrong signature never falls back to anonymous scopes', async (t, place) => {
  const deployment = await start(t, place);
  t.is((await send(deployment, { target: CURRENT_SCOPES })).status, 200);
  const wrong: Client = { ...root, accessToken: 'wrong' };
  t.is((await ask(deployment, { client: wrong })).status, 401);
});

onEveryBackend('authenticateHawk judges a signature for another service', async (t, place) => {
  const deployment = await start(t, place);
  const judge = (request: object) =>
    send(deployment, {
      method: 'POST',
      target: '/api/auth/v1/authenticate-hawk',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ method: 'get', resource: '/x', host: 'a.b', port: 443, ...request }),
    });
  const signing = { client: narrow, target: '/x', host: 'a.b', port: 443 };
  const right = await judge({ authorization: authorization(deployment, signing) });
  t.like(right.json, { status: 'auth-success', scheme: 'hawk', clientId: narrow.clientId });
  t.deepEqual(right.json.scopes, [...ANONYMOUS, ...NARROW].sort());
  t.regex(right.json.expires, /^\d{4}-\d\d-/);
  const wrong = await judge({ authorization: authorization(deployment, { ...signing, port: 1 }) });
  t.deepEqual(Object.keys(wrong.json), ['status', 'message']);
  t.is(wrong.json.status, 'auth-failed');
  const none = await judge({});
  t.like(none.json, { status: 'no-auth', scheme: 'none', scopes: ANONYMOUS });
  const anonymous = await send(deployment, { target: '/api/auth/v1/authenticate-anonymous' });
  t.like(anonymous.json, { status: 'no-auth', scheme: 'none', scopes: ANONYMOUS });
});

onEveryBackend(
  'the client tester with the access token no-secret may call the test endpoints',
  async (t, place) => {
    const deployment = await start(t, place);
    const tester = { clientId: 'tester', accessToken: 'no-secret' };
    const get = (client: Client) =>
      ask(deployment, { client, target: '/api/auth/v1/test-authenticate-get/' });
    t.deepEqual((await get(tester)).json, {
      clientId: 'tester',
      scopes: ['assume:anonymous', 'test:*', 'auth:create-client:test:*'],
    });
    t.is((await get(root)).status, 401);
    const named = temporary(tester, { name: 'test:x', scopes: ['test:authenticate-get'] });
    t.is((await get(named)).json.clientId, 'test:x');
    t.is((await get(temporary(tester, { scopes: ['test:other'] }))).status, 403);

    const body = JSON.stringify({ clientScopes: ['z', 'a:*'], requiredScopes: ['a:b'] });
    const post = (ext: Record<string, unknown>) =>
      ask(deployment, {
        client: tester,
        method: 'POST',
        target: '/api/auth/v1/test-authenticate',
        ext,
        sent: { body, headers: { 'Content-Type': 'application/json' } },
      });
    t.deepEqual((await post({})).json, {
      clientId: 'tester',
      scopes: ['assume:anonymous', 'z', 'a:*'],
    });
    t.is((await post({ authorizedScopes: ['a:c'] })).status, 403);
  },
);

// Alone: beside seventy other deployments in this process, the start takes minutes on a busy machine.
test.serial('a client that connects during the start is answered', async (t) => {
  const database = await schemaFor();
  const slow: Database = {
    location: database.location,
    isExclusive: database.isExclusive,
    query: (...statement) => database.query(...statement),
    script: (sql) => database.script(sql),
    transaction: (work) => database.transaction(work),
    listen: (channel, listener) => pause(300).then(() => database.listen(channel, listener)),
    listenAnew: () => database.listenAnew(),
    close: () => database.close(),
  };
  const port = await unusedPort();
  const started = deploymentFor(t, { database: slow, port });
  // A test that fails does not wait for it.
  started.catch(() => {});
  let answer: Answer | undefined;
  while (answer === undefined) {
    const sent = send({ rootUrl: `http://127.0.0.1:${port}` }, { target: '/__heartbeat__' });
    answer = await within(
      sent.catch(() => pause(5).then(() => undefined)),
      'an answer',
    );
  }
  t.is(answer.status, 200);
  await started;
});
