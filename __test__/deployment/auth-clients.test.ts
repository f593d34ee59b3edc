// Taskcluster's own JavaScript client creates, changes and deletes clients of the auth service.
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { openStorage } from '../../ts/deployment/storage/index.js';
import { openDatabase } from '../../ts/deployment/storage/open.js';
import { authOf, errorOf } from '../harness/auth.js';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { schemaFor } from '../harness/database.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';

const CLIENT = 'nobody/sds:ad_asd/df-sAdSfchsdfsdfs';
const expires = taskcluster.fromNow('1 hour');
const description = 'Test client...';

async function start(t: ExecutionContext, place: Place) {
  const deployment = await deploymentFor(t, place);
  return { deployment, auth: authOf(deployment) };
}

onEveryBackend('a client is made, found, and used', async (t, place) => {
  const { deployment, auth } = await start(t, place);
  const scopes = ['scope1', 'auth:current-scopes'];
  const created = await auth.createClient(CLIENT, { expires, description, scopes });
  t.like(created, {
    clientId: CLIENT,
    description,
    expires: expires.toJSON(),
    scopes,
    expandedScopes: ['auth:current-scopes', 'scope1'],
    disabled: false,
    deleteOnExpiration: false,
    lastModified: created.created,
    lastRotated: created.created,
    lastDateUsed: created.created,
  });
  t.regex(created.accessToken, /^[a-zA-Z0-9_-]{44}$/);
  const { accessToken, ...told } = created;
  t.deepEqual(await auth.client(CLIENT), told);
  const own = authOf(deployment, { credentials: { clientId: CLIENT, accessToken } });
  t.deepEqual((await own.currentScopes()).scopes, [
    'assume:anonymous',
    'auth:current-scopes',
    'scope1',
  ]);
});

onEveryBackend(
  'a client is made once, and making it again the same is no conflict',
  async (t, place) => {
    const { auth } = await start(t, place);
    const first = await auth.createClient(CLIENT, { expires, description });
    t.deepEqual(await auth.createClient(CLIENT, { expires, description }), first);
    t.deepEqual(await errorOf(auth.createClient(CLIENT, { expires, description: 'AGAIN' })), [
      'RequestConflict',
      409,
      'Client already exists',
    ]);
  },
);

onEveryBackend('an invalid client is refused', async (t, place) => {
  const { auth } = await start(t, place);
  const body = { expires, description, scopes: ['scope1:**'] };
  const stars = ['InputError', 400, 'scopes must not end with `**`'] as const;
  t.deepEqual(await errorOf(auth.createClient(CLIENT, body)), stars);
  await auth.createClient(CLIENT, { expires, description });
  t.deepEqual(await errorOf(auth.updateClient(CLIENT, body)), stars);
  const nul = await errorOf(auth.createClient(CLIENT, { ...body, scopes: ['\u0000'] }));
  t.is(nul[0], 'InputValidationError');
  t.is((await errorOf(auth.client('a b')))[0], 'InvalidRequestArguments');
});

onEveryBackend('a caller cannot create, change or delete a static client', async (t, place) => {
  const { auth } = await start(t, place);
  const root = 'static/taskcluster/root';
  const body = { expires, description };
  for (const call of [
    auth.createClient('static/other', body),
    auth.updateClient(root, body),
    auth.resetAccessToken(root),
    auth.disableClient(root),
    auth.enableClient(root),
    auth.deleteClient(root),
  ]) {
    const [code, status, message] = await errorOf(call);
    t.deepEqual([code, status], ['InputError', 400]);
    t.regex(message, /^clientId "static\/.*" starts with "static\/" which is reserved/);
  }
  t.like(await auth.client(root), { scopes: ['*'] });
});

onEveryBackend('a client is changed', async (t, place) => {
  const { auth } = await start(t, place);
  const created = await auth.createClient(CLIENT, { expires, description, scopes: ['a', 'b:*'] });
  const later = taskcluster.fromNow('2 hours');
  const kept = await auth.updateClient(CLIENT, { expires: later, description: 'Another' });
  t.like(kept, { expires: later.toJSON(), description: 'Another', scopes: ['a', 'b:*'] });
  t.false('accessToken' in kept);
  t.true(kept.lastModified > created.lastModified);
  t.is(kept.lastRotated, created.lastRotated);
  const changed = await auth.updateClient(CLIENT, { expires, description, scopes: ['c'] });
  t.deepEqual(changed.scopes, ['c']);
  t.deepEqual(await auth.client(CLIENT), changed);
  t.deepEqual(await errorOf(auth.updateClient('other', { expires, description })), [
    'ResourceNotFound',
    404,
    'Client not found',
  ]);
});

onEveryBackend('a caller grants a client only its own scopes', async (t, place) => {
  const { deployment, auth } = await start(t, place);
  await auth.createClient(CLIENT, { expires, description, scopes: ['had'] });
  const narrow = authOf(deployment, {
    authorizedScopes: ['auth:create-client:nobody/*', 'auth:update-client:nobody/*', 'mine:*'],
  });
  const body = (...scopes: string[]) => ({ expires, description, scopes });
  const code = async (call: Promise<unknown>) => (await errorOf(call))[0];
  t.is(await code(narrow.createClient('nobody/x', body('mine:a'))), 'none');
  t.is(await code(narrow.createClient('nobody/y', body('other'))), 'InsufficientScopes');
  t.is(await code(narrow.createClient('somebody', body())), 'InsufficientScopes');
  t.is(await code(narrow.updateClient(CLIENT, body('had', 'mine:b'))), 'none');
  t.is(await code(narrow.updateClient(CLIENT, body('had', 'other'))), 'InsufficientScopes');
  t.is(await code(narrow.updateClient(CLIENT, body())), 'none');
  t.is(await code(narrow.updateClient('somebody', body())), 'InsufficientScopes');
});

onEveryBackend('an access token is replaced, and the old one ends', async (t, place) => {
  const { deployment, auth } = await start(t, place);
  const scopes = ['auth:current-scopes'];
  const created = await auth.createClient(CLIENT, { expires, description, scopes });
  const reset = await auth.resetAccessToken(CLIENT);
  t.not(reset.accessToken, created.accessToken);
  t.is(reset.lastRotated, reset.lastModified);
  t.true(reset.lastRotated > created.lastRotated);
  const status = async (accessToken: string) =>
    (
      await errorOf(
        authOf(deployment, { credentials: { clientId: CLIENT, accessToken } }).currentScopes(),
      )
    )[1];
  t.is(await status(created.accessToken), 401);
  t.is(await status(reset.accessToken), 200);
  t.is((await errorOf(auth.resetAccessToken('other')))[1], 404);
});

onEveryBackend('a client is disabled, enabled and removed', async (t, place) => {
  const { deployment, auth } = await start(t, place);
  const scopes = ['auth:current-scopes'];
  const { accessToken } = await auth.createClient(CLIENT, { expires, description, scopes });
  const own = authOf(deployment, { credentials: { clientId: CLIENT, accessToken } });
  for (const [name, disabled] of [
    ['disableClient', true],
    ['disableClient', true],
    ['enableClient', false],
    ['enableClient', false],
  ] as const) {
    t.is((await auth[name](CLIENT)).disabled, disabled);
    t.is((await auth.client(CLIENT)).disabled, disabled);
    t.is((await errorOf(own.currentScopes()))[1], disabled ? 401 : 200);
  }
  for (const _time of ['first', 'second']) {
    await auth.deleteClient(CLIENT);
    t.is((await errorOf(auth.client(CLIENT)))[1], 404);
  }
  t.is((await errorOf(own.currentScopes()))[1], 401);
  t.is((await errorOf(auth.disableClient(CLIENT)))[1], 404);
});

onEveryBackend('clients are listed by prefix and in pages', async (t, place) => {
  const { auth } = await start(t, place);
  const ids = ['/aa', '/bb', '/bb/1', '/bb/2', '/bb/3'].map((suffix) =>
    `x_%${suffix}`.replace('%', ''),
  );
  for (const id of ids) {
    await auth.createClient(id, { expires, description });
  }
  await auth.createClient('xy/bb', { expires, description });
  const idsOf = ({ clients }: { clients: { clientId: string }[] }) =>
    clients.map(({ clientId }) => clientId);
  t.deepEqual(idsOf(await auth.listClients({ prefix: 'x_/' })), ids);
  t.deepEqual(idsOf(await auth.listClients({ prefix: 'x_/bb/' })), ids.slice(2));
  t.true(idsOf(await auth.listClients()).includes('static/taskcluster/root'));
  const pages: string[][] = [];
  let token: string | undefined;
  do {
    const page = await auth.listClients({
      prefix: 'x_/',
      limit: 2,
      ...(token && { continuationToken: token }),
    });
    pages.push(idsOf(page));
    token = page.continuationToken;
  } while (token !== undefined);
  t.deepEqual(pages, [ids.slice(0, 2), ids.slice(2, 4), ids.slice(4)]);
});

/** Data that a deployment and a test beside it have open at the same time. */
async function dataAt(t: ExecutionContext, { databaseUrl: url }: Place) {
  const folder = freshDirectory(t);
  return { folder, database: await (url ? openDatabase({ folder, url }) : schemaFor()) };
}

onEveryBackend(
  'an expired client is removed only if deleteOnExpiration is set',
  async (t, place) => {
    const storage = await openStorage(await dataAt(t, place));
    t.teardown(() => storage.close());
    const { clients } = storage.store;
    const at = (ms: number) => new Date(Date.now() + ms);
    const client = { accessToken: 'x', scopes: [], disabled: false };
    for (const [clientId, deleteOnExpiration, ms] of [
      ['gone', true, -1000],
      ['kept', false, -1000],
      ['later', true, 3_600_000],
    ] as const) {
      await clients.put({ ...client, clientId, deleteOnExpiration, expires: at(ms) });
    }
    t.deepEqual(await clients.removeExpired(new Date()), ['gone']);
    const left = await clients.list('', { after: '', limit: 10 });
    t.deepEqual(
      left.map(({ clientId }) => clientId),
      ['kept', 'later'],
    );
  },
);

onEveryBackend(
  'the last use of a client is not noted at each call, and is noted again after a day',
  async (t, place) => {
    const data = await dataAt(t, place);
    const deployment = await deploymentFor(t, data);
    const auth = authOf(deployment);
    const scopes = ['auth:current-scopes'];
    const { accessToken, lastDateUsed } = await auth.createClient(CLIENT, {
      expires,
      description,
      scopes,
    });
    const own = authOf(deployment, { credentials: { clientId: CLIENT, accessToken } });
    await own.currentScopes();
    t.is((await auth.client(CLIENT)).lastDateUsed, lastDateUsed);
    const days = 24 * 60 * 60 * 1000;
    const storage = await openStorage(data);
    await storage.store.clients.used(CLIENT, new Date(Date.now() - days));
    await own.currentScopes();
    t.true((await auth.client(CLIENT)).lastDateUsed >= lastDateUsed);
  },
);

onEveryBackend(
  'a description with a NUL or half of a surrogate pair is refused',
  async (t, place) => {
    const { auth } = await start(t, place);
    await auth.createClient('c', { expires, description });
    await auth.createRole('r', { description, scopes: [] });
    for (const wrong of ['a\u0000b', 'a\ud800', '\udc00']) {
      for (const call of [
        auth.createClient('new', { expires, description: wrong }),
        auth.updateClient('c', { expires, description: wrong }),
        auth.createRole('new', { description: wrong, scopes: [] }),
        auth.updateRole('r', { description: wrong, scopes: [] }),
      ]) {
        const [code, status, said] = await errorOf(call);
        t.deepEqual([code, status], ['InputError', 400]);
        t.regex(said, /^A description cannot contain a NUL or half of a surrogate pair/);
      }
    }
    t.is((await errorOf(auth.client('new')))[1], 404);
    const whole = await auth.createClient('whole', { expires, description: '\u{1f600}' });
    t.is(whole.description, '\u{1f600}');
  },
);
