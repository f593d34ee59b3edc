// Local users of the deployment: they sign in with a password, and act by temporary credentials.
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { syncStaticClients, webServerScopes } from '../../ts/deployment/auth/static-clients.js';
import type { Deployment } from '../../ts/deployment/index.js';
import { grantChanges } from '../../ts/deployment/services.js';
import { openStorage, type Storage } from '../../ts/deployment/storage/index.js';
import {
  addNewUser,
  addUser,
  removeUser,
  setPassword,
  UserError,
} from '../../ts/deployment/web/local-users.js';
import { hashPassword, isPassword } from '../../ts/deployment/web/passwords.js';
import { SignInQueue, TooManySignInsError } from '../../ts/deployment/web/sign-in-queue.js';
import { User } from '../../ts/deployment/web/user.js';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { schemaFor } from '../harness/database.js';
import { gate } from '../harness/deadline.js';
import { type Answer, deploymentFor, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { refusal } from '../harness/queue.js';

/** Longer than any test takes. */
const HOUR_MS = 3_600_000;

const ALICE = { name: 'alice@example.com', password: 'corre\u0301ct horse', roles: ['team:a'] };

const ROLES = [
  { roleId: 'anonymous', scopes: ['auth:current-scopes'] },
  { roleId: 'team:a', scopes: ['secrets:get:team/*'] },
  { roleId: 'login-identity:local/*', scopes: ['secrets:set:of/<..>'] },
];

const JSON_BODY = { 'content-type': 'application/json' };

function signIn(
  deployment: Deployment,
  { name, password }: { name: unknown; password: unknown },
  headers: Record<string, string> = {},
): Promise<Answer> {
  return send(deployment, {
    method: 'POST',
    target: '/login/local',
    headers: { ...JSON_BODY, ...headers },
    body: JSON.stringify({ name, password }),
  });
}

/** What a browser would send back. */
function cookieOf(answer: Answer): string {
  return (answer.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? '';
}

const user = (deployment: Deployment, cookie: string) =>
  send(deployment, { target: '/login/user', headers: { cookie } });

const credentials = (deployment: Deployment, cookie: string) =>
  send(deployment, { method: 'POST', target: '/login/credentials', headers: { cookie } });

test('the scopes of a user are the roles, the identity and the anonymous scopes', (t) => {
  const scopes = ['assume:a', 'assume:b', 'assume:login-identity:local/x', 'assume:anonymous'];
  t.deepEqual(new User('local/x', ['a', 'b', 'a']).scopes(), scopes);
  t.deepEqual(new User('local/x', []).scopes(), scopes.slice(2));
});

onEveryBackend(
  'a user signs in, acts by temporary credentials, and signs out',
  async (t, place) => {
    const deployment = await deploymentFor(t, { ...place, users: [ALICE], roles: ROLES });
    // The same text, composed otherwise.
    const signedIn = await signIn(deployment, { ...ALICE, password: 'corr\u00e9ct horse' });
    t.is(signedIn.status, 204, signedIn.text);
    const [cookie] = signedIn.headers['set-cookie'] ?? [];
    t.regex(cookie ?? '', /^taskcluster-session=[\w-]{43}; Max-Age=604800; Path=\/login; /);
    t.regex(cookie ?? '', /; HttpOnly; SameSite=Lax$/);
    const session = cookieOf(signedIn);
    const found = await user(deployment, session);
    t.like(found.json, {
      identity: 'local/alice@example.com',
      scopes: [
        'assume:team:a',
        'assume:login-identity:local/alice@example.com',
        'assume:anonymous',
      ],
    });
    const began = Date.now();
    const issued = (await credentials(deployment, session)).json;
    const since = Date.parse(issued.expires) - 14.5 * 60_000;
    t.true(since >= began && since <= Date.now(), `${since - began} ms`);
    const { rootUrl } = deployment;
    const auth = new taskcluster.Auth({ rootUrl, credentials: issued.credentials, retries: 0 });
    const { scopes } = await auth.currentScopes();
    for (const scope of [
      'assume:anonymous',
      'auth:current-scopes',
      'secrets:get:team/*',
      'secrets:set:of/alice@example.com',
    ]) {
      t.true(scopes.includes(scope), `${scope} in ${scopes}`);
    }
    const secrets = new taskcluster.Secrets({
      rootUrl,
      credentials: issued.credentials,
      retries: 0,
    });
    t.is(await refusal(secrets.get('others')), 'InsufficientScopes');
    const out = { method: 'POST', target: '/login/logout', headers: { cookie: session } };
    t.is((await send(deployment, out)).status, 200);
    t.is((await user(deployment, session)).status, 401);
    t.is((await credentials(deployment, session)).status, 401);
  },
);

onEveryBackend(
  'a session ends when it expires, and when the password of its user changes',
  async (t, place) => {
    const { database = await schemaFor(), databaseUrl } = place;
    const options = databaseUrl === undefined ? { database } : { databaseUrl };
    const { store, close } = await openStorage({ folder: freshDirectory(t), ...options });
    t.teardown(close);
    await addUser(store, ALICE, grantChanges);
    const { passwordHash = '' } = (await store.users.get(ALICE.name)) ?? {};
    const time = Date.now();
    const session = (id: number, lifetime: number) => ({
      idHash: Buffer.alloc(32, id),
      userName: ALICE.name,
      expires: new Date(time + lifetime),
    });
    const isOpen = async (id: number, at = 0) =>
      (await store.sessions.get(Buffer.alloc(32, id), new Date(time + at))) !== undefined;
    t.true(await store.sessions.open(session(1, 1000), passwordHash));
    t.true(await store.sessions.open(session(2, 9000), passwordHash));
    t.deepEqual(
      [await isOpen(1), await isOpen(1, 1000), await isOpen(2, 1000)],
      [true, false, true],
    );
    await store.sessions.removeExpired(new Date(time + 1000));
    t.deepEqual([await isOpen(1), await isOpen(2)], [false, true]);

    await addUser(store, { ...ALICE, roles: ['team:b'] }, grantChanges);
    const found = await store.sessions.get(Buffer.alloc(32, 2), new Date(time));
    t.deepEqual(found?.user, { name: ALICE.name, passwordHash, roles: ['team:b'] });
    await addUser(store, { ...ALICE, password: 'another one' }, grantChanges);
    t.false(await isOpen(2));
    t.false(
      await store.sessions.open(session(3, 1000), passwordHash),
      'found right before the change',
    );
    t.false(await isOpen(3));
  },
);

/** Storage with a web server's client in it, as a deployment leaves it. */
async function storageFor(t: ExecutionContext, place: Place): Promise<Storage> {
  const { database = await schemaFor(), databaseUrl } = place;
  const options = databaseUrl === undefined ? { database } : { databaseUrl };
  const storage = await openStorage({ folder: freshDirectory(t), ...options });
  t.teardown(storage.close);
  await syncStaticClients(storage.store, []);
  return storage;
}

const scopesOfWebServer = async ({ store }: Storage) =>
  (await store.clients.get('static/taskcluster/web-server'))?.scopes;

onEveryBackend(
  'the web server has the scopes to act for the present users, and no more',
  async (t, place) => {
    const storage = await storageFor(t, place);
    const { store } = storage;
    t.deepEqual(await scopesOfWebServer(storage), [
      'assume:anonymous',
      'assume:login-identity:*',
      'auth:create-client:local/*',
      'auth:delete-client:local/*',
      'auth:disable-client:local/*',
      'auth:enable-client:local/*',
      'auth:update-client:local/*',
      'auth:reset-access-token:local/*',
    ]);
    await addNewUser(store, ALICE, grantChanges);
    await Promise.all(
      ['b', 'c', 'd'].map((name) =>
        addNewUser(store, { name, password: 'password', roles: [`team:${name}`] }, grantChanges),
      ),
    );
    const roles = ['team:a', 'team:b', 'team:c', 'team:d'];
    t.deepEqual(await scopesOfWebServer(storage), webServerScopes(roles));
    await removeUser(store, 'c', grantChanges);
    await syncStaticClients(store, []);
    t.deepEqual(await scopesOfWebServer(storage), webServerScopes(['team:d', 'team:b', 'team:a']));
    const again = addNewUser(store, ALICE, grantChanges);
    await t.throwsAsync(again, {
      instanceOf: UserError,
      message: /^there is a user alice@.* already/,
    });
  },
);

onEveryBackend(
  'the history lists a change of a user as one of the client that acts for the user',
  async (t, place) => {
    const { store } = await storageFor(t, place);
    await store.roles.put({ roleId: 'team:a', scopes: ['auth:list-clients'] });
    await addUser(store, { ...ALICE, roles: [] }, grantChanges);
    await addUser(store, { ...ALICE, roles: [] }, grantChanges);
    await addUser(store, { ...ALICE, roles: ['team:a'] }, grantChanges);
    await addNewUser(store, { name: 'bob', password: 'password', roles: ['team:a'] }, grantChanges);
    await setPassword(store, 'bob', 'another one');
    await removeUser(store, 'bob', grantChanges);
    const records = [...(await store.audit.latest({ entityType: 'client' }, 100))].reverse();
    t.deepEqual(
      records.map(({ entityId, actionType, address }) => [entityId, actionType, address]),
      [
        [`local/${ALICE.name}`, 'created', 'start'],
        [`local/${ALICE.name}`, 'updated', 'start'],
        ['local/bob', 'created', 'user add'],
        ['local/bob', 'access token reset', 'user set-password'],
        ['local/bob', 'deleted', 'user remove'],
      ],
    );
    const [, updated, added, , removed] = records;
    const own = `assume:login-identity:local/${ALICE.name}`;
    t.deepEqual(updated?.grants?.before, [own]);
    t.deepEqual(updated?.grants?.after, ['assume:team:a', own]);
    const effects = (record: (typeof records)[number] | undefined) =>
      record?.grants?.holder.map(({ direction, endpoint }) => `${direction} ${endpoint}`);
    t.deepEqual(effects(added), ['opens listClients']);
    t.deepEqual(effects(removed), ['closes listClients']);
  },
);

onEveryBackend('static clients go when they are not configured any more', async (t, place) => {
  const { store } = await storageFor(t, place);
  const client = { accessToken: 'x', scopes: [], expires: new Date('3000-01-01'), disabled: false };
  const extra = Array.from({ length: 120 }, (_, index) => `static/extra/${index}`);
  for (const clientId of ['static/a', 'static/b', 'statics/c', 'd', ...extra]) {
    await store.clients.put({ ...client, clientId });
  }
  const { root } = await syncStaticClients(store, [{ clientId: 'static/b' }]);
  const left = await store.clients.list('', { after: '', limit: 1000 });
  t.deepEqual(
    left.map(({ clientId }) => clientId),
    [
      ...['d', 'static/b', 'static/taskcluster/queue', 'static/taskcluster/root'],
      ...['static/taskcluster/web-server', 'statics/c'],
    ],
  );
  t.deepEqual(await syncStaticClients(store, []).then((own) => own.root), root, 'the same token');
});

onEveryBackend(
  "a new password and the removal of a user end the user's sessions",
  async (t, place) => {
    const { store } = await storageFor(t, place);
    const expires = new Date(Date.now() + HOUR_MS);
    const begin = async (name: string, id: number) => {
      const { passwordHash = '' } = (await store.users.get(name)) ?? {};
      const idHash = Buffer.alloc(32, id);
      await store.sessions.open({ idHash, userName: name, expires }, passwordHash);
    };
    const isThere = async (id: number) => {
      const idHash = Buffer.alloc(32, id);
      return (await store.sessions.get(idHash, new Date())) !== undefined;
    };
    await addNewUser(store, ALICE, grantChanges);
    await addNewUser(store, { ...ALICE, name: 'bob' }, grantChanges);
    await begin(ALICE.name, 1);
    await begin('bob', 2);
    await setPassword(store, ALICE.name, ALICE.password);
    t.deepEqual([await isThere(1), await isThere(2)], [false, true]);
    t.deepEqual((await store.users.get(ALICE.name))?.roles, ALICE.roles);

    const client = { accessToken: 'x', scopes: [], expires, disabled: false };
    for (const clientId of ['local/bob/x-1', 'local/bobby/x-2']) {
      await store.clients.put({ ...client, clientId });
    }
    await removeUser(store, 'bob', grantChanges);
    t.false(await isThere(2));
    t.true((await store.clients.get('local/bob/x-1'))?.disabled);
    t.false((await store.clients.get('local/bobby/x-2'))?.disabled);
    for (const gone of [
      removeUser(store, 'bob', grantChanges),
      setPassword(store, 'bob', 'password'),
    ]) {
      await t.throwsAsync(gone, { instanceOf: UserError, message: /^there is no user bob: see / });
    }
  },
);

onEveryBackend(
  'a password is hashed anew at sign-in once the cost of hashing has risen',
  async (t, place) => {
    const where = place.databaseUrl === undefined ? { database: await schemaFor() } : place;
    const options = { folder: freshDirectory(t), ...where };
    const deployment = await deploymentFor(t, options);
    const { store } = await openStorage(options);
    await store.users.add({ name: 'bob', passwordHash: WEAKER, roles: ['x'] });
    const hash = async () => (await store.users.get('bob'))?.passwordHash ?? '';
    t.is((await signIn(deployment, { name: 'bob', password: 'passworD' })).status, 401);
    t.is(await hash(), WEAKER);
    const cookie = cookieOf(await signIn(deployment, { name: 'bob', password: 'password' }));
    const kept = await hash();
    t.regex(kept, /^\$scrypt\$ln=14,r=8,p=5\$/);
    t.is((await user(deployment, cookie)).status, 200, 'the session stays');
    t.is((await signIn(deployment, { name: 'bob', password: 'password' })).status, 204);
    t.is(await hash(), kept);
  },
);

test('a user who is refused does not learn whether the name exists, and gets no session', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const unknown = await signIn(deployment, { name: 'bob', password: ALICE.password });
  const wrong = await signIn(deployment, { name: ALICE.name, password: 'hunter2-hunter2' });
  for (const { status, json, headers } of [unknown, wrong]) {
    t.is(status, 401);
    t.is(json.code, 'AuthenticationFailed');
    t.regex(json.message, /^There is no user with this name and password\n/);
    t.is(headers['set-cookie'], undefined);
  }
  const forged = `taskcluster-session=${'A'.repeat(43)}`;
  for (const cookie of ['', 'taskcluster-session=', forged, `${forged}; ${forged}`]) {
    for (const answer of [await user(deployment, cookie), await credentials(deployment, cookie)]) {
      t.is(answer.status, 401);
      t.regex(answer.json.message, /^You are not signed in: POST a name and a password to/);
    }
  }
});

test('a malformed payload is refused without repeating the password', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const post = (body: string, headers: Record<string, string> = JSON_BODY) =>
    send(deployment, { method: 'POST', target: '/login/local', headers, body });
  const right = JSON.stringify({ name: ALICE.name, password: ALICE.password });
  const CASES = [
    [await post('{"password": hunter2}'), 400, 'MalformedPayload'],
    [await post(''), 400, 'MalformedPayload'],
    [await post(right, { 'content-type': 'text/plain' }), 400, 'MalformedPayload'],
    [await post('[]'), 400, 'InputValidationError'],
    [await post('{"name": "a\\u0000", "password": "hunter2"}'), 400, 'InputValidationError'],
    [await post('{"name": "a", "password": ["hunter2"]}'), 400, 'InputValidationError'],
    [
      await post(JSON.stringify({ name: 'a', password: 'hunter2'.repeat(9000) })),
      413,
      'InputTooLarge',
    ],
  ] as const;
  for (const [{ status, json, text }, expected, code] of CASES) {
    t.is(status, expected, text);
    t.is(json.code, code);
    t.notRegex(text, /hunter2|node_modules|at .*\.ts/);
  }
  t.is((await send(deployment, { target: '/login/local' })).status, 404);
});

test('pages of another origin neither sign in nor use a session', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const own = { origin: deployment.rootUrl, 'sec-fetch-site': 'same-origin' };
  const signedIn = await signIn(deployment, ALICE, own);
  t.is(signedIn.status, 204, signedIn.text);
  const cookie = cookieOf(signedIn);
  const OTHERS: Record<string, string>[] = [
    { origin: 'http://127.0.0.1:1' },
    { origin: 'null' },
    { 'sec-fetch-site': 'same-site' },
    { 'sec-fetch-site': 'cross-site' },
  ];
  for (const headers of OTHERS) {
    t.is((await signIn(deployment, ALICE, headers)).status, 403);
    const target = '/login/credentials';
    const answer = await send(deployment, {
      method: 'POST',
      target,
      headers: { ...headers, cookie },
    });
    t.is(answer.status, 403);
    t.regex(answer.json.message, /^Pages of another origin may not sign in here: call from/);
    t.is(answer.headers['access-control-allow-origin'], undefined);
  }
  t.is((await user(deployment, cookie)).status, 200);
});

test('a session is new with every sign-in, and secure behind TLS', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const first = cookieOf(await signIn(deployment, ALICE));
  const again = await signIn(deployment, ALICE, { cookie: first, 'x-forwarded-proto': 'https' });
  t.not(cookieOf(again), first);
  t.regex(again.headers['set-cookie']?.[0] ?? '', /; HttpOnly; Secure; SameSite=Lax$/);
  t.is((await user(deployment, first)).status, 401);
  t.is((await user(deployment, `a=b; ${cookieOf(again)}; c=d`)).status, 200);
});

test.serial(
  'a password for an unknown name is refused with about the effort of a wrong one',
  async (t) => {
    const kept = await hashPassword('a password');
    t.regex(kept, /^\$scrypt\$ln=14,r=8,p=5\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    t.true(await isPassword('a password', kept));
    t.false(await isPassword('a Password', kept));
    t.true(await isPassword('password', WEAKER), 'by the cost that is written with it');
    const cost = async (of: string | undefined) => {
      const before = process.cpuUsage();
      t.false(await isPassword('another', of));
      return process.cpuUsage(before).user;
    };
    const known = await cost(kept);
    const unknown = await cost(undefined);
    t.true(unknown > known / 2 && unknown < known * 2, `${unknown} and ${known} us`);
    await t.throwsAsync(isPassword('a', 'plain'), {
      message: /does not have the form that this program writes$/,
    });
  },
);

/** Of `password` and the salt `NaCl` with N = 1024, r = 8 and p = 16 (RFC 7914, section 12). */
const WEAKER = '$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWI';

test('a client that guesses passwords delays only itself', async (t) => {
  const queue = new SignInQueue();
  const order: string[] = [];
  const hold = gate();
  const apply = (address: string, name: string) =>
    queue.run({ address, name }, async () => {
      await hold.opened;
      order.push(`${address} ${name}`);
    });
  const running = [apply('1', 'a')];
  for (let guess = 1; guess <= 4; guess += 1) {
    running.push(apply('1', 'a'));
  }
  await t.throwsAsync(apply('1', 'a'), {
    instanceOf: TooManySignInsError,
    message: /try again in a few seconds$/,
  });
  running.push(apply('1', 'b'), apply('2', 'a'), apply('2', 'a'));
  hold.open();
  await Promise.all(running);
  t.deepEqual(order, ['1 a', '1 a', '2 a', '1 b', '2 a', '1 a', '1 a', '1 a']);
});

test('a host gains no turns by many IPv6 addresses or by a new name for each guess', async (t) => {
  const queue = new SignInQueue();
  const hold = gate();
  const apply = (guess: number) =>
    queue.run({ address: `2001:db8::${guess}:1`, name: `${guess}` }, () => hold.opened);
  // One password is being checked, 64 sign-ins wait.
  const running = Array.from({ length: 65 }, (_, guess) => apply(guess));
  await t.throwsAsync(apply(65), { instanceOf: TooManySignInsError });
  running.push(queue.run({ address: '2001:db8:0:1::1', name: 'other' }, () => hold.opened));
  hold.open();
  t.is((await Promise.all(running)).length, 66);
});

test('waiting wrong passwords do not keep other users out', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const guesses = Array.from({ length: 48 }, (_, guess) =>
    signIn(deployment, { name: guess % 4 ? 'mallory' : `m${guess}`, password: 'a wrong one' }),
  );
  t.is((await signIn(deployment, ALICE)).status, 204);
  const statuses = (await Promise.all(guesses)).map(({ status }) => status);
  t.deepEqual([...new Set(statuses)].sort(), [401, 429]);
});

test('an invalid user is refused at start', async (t) => {
  const CASES = [
    [{ name: 'a/b' }, /^the name of a user is of letters, digits and .*: change "a\/b"$/],
    [
      { password: 'seven77' },
      /^the password of alice@example.com must have 8 to 1024 characters: /,
    ],
    [{ roles: ['\u00e9'] }, /^a role's id is of printable ASCII: change "\u00e9" of alice@/],
  ] as const;
  for (const [wrong, message] of CASES) {
    const started = deploymentFor(t, { users: [{ ...ALICE, ...wrong }] });
    await t.throwsAsync(started, { instanceOf: UserError, message });
  }
});

/** What `taskcluster signin` opens in a browser, waiting at the callback. */
function signInLink(query: Record<string, string> = {}): string {
  return `/auth/clients/create?${new URLSearchParams({
    scope: '*',
    name: 'cli-aBc123',
    expires: '1d',
    callback_url: 'http://localhost:40123',
    description: 'Temporary client for use on the command line',
    ...query,
  })}`;
}

/** The fields of a page's form, as a browser would send them. */
function fieldsOf({ text }: Answer): URLSearchParams {
  const decoded = (html: string) =>
    html.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));
  const fields = new URLSearchParams();
  for (const [, name = '', value = ''] of text.matchAll(
    /<input[^>]* name="(\w+)" value="([^"]*)"/g,
  )) {
    fields.set(name, decoded(value));
  }
  const [, scopes = ''] = /<textarea[^>]*>\n([^<]*)</.exec(text) ?? [];
  fields.set('scope', decoded(scopes));
  return fields;
}

onEveryBackend(
  'the page that taskcluster signin opens makes a client of the user who signs in',
  async (t, place) => {
    const roles = [...ROLES, { roleId: 'login-identity:*', scopes: ['auth:create-client:<..>/*'] }];
    const deployment = await deploymentFor(t, { ...place, users: [ALICE], roles });
    const { rootUrl } = deployment;
    const get = (target: string, cookie = '') => send(deployment, { target, headers: { cookie } });
    const moved = await get(signInLink());
    t.is(moved.status, 302);
    const target = moved.headers.location ?? '';
    const first = await get(target);
    t.regex(first.headers.location ?? '', /^\/login\?continue=%2Flogin%2Fclient%3F/);
    const form = await get(first.headers.location ?? '');
    const [, next] = /name="continue" value="([^"]*)"/.exec(form.text) ?? [];
    const signedIn = await send(deployment, {
      method: 'POST',
      target: '/login',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({
        name: ALICE.name,
        password: ALICE.password,
        continue: (next ?? '').replaceAll('&#38;', '&'),
      }).toString(),
    });
    t.is(signedIn.headers.location, target);
    const cookie = cookieOf(signedIn);
    const asked = await get(target, cookie);
    t.is(asked.status, 200, asked.text);
    t.regex(
      String(asked.headers['content-security-policy']),
      /form-action 'self' http:\/\/localhost:40123;/,
    );
    const fields = fieldsOf(asked);
    const offered = fields.get('scope')?.split('\n') ?? [];
    t.true(offered.includes('secrets:get:team/*'), 'what the user has');
    t.false(offered.includes('*'), 'and no more');

    const post = (changes: Record<string, string>, headers: Record<string, string> = {}) => {
      const body = new URLSearchParams([...fields]);
      for (const [name, value] of Object.entries(changes)) {
        body.set(name, value);
      }
      return send(deployment, {
        method: 'POST',
        target: '/login/client',
        headers: { cookie, 'content-type': 'application/x-www-form-urlencoded', ...headers },
        body: body.toString(),
      });
    };
    for (const [changes, problem] of [
      [{ scope: '*' }, /scopes that you do not have/],
      [{ scope: 'secrets:get:team/**' }, /scopes that you do not have/],
      [{ name: '' }, /A name is of/],
      [{ name: 'a b' }, /A name is of/],
      [{ expires: '-1 day' }, /for how long/],
      [{ description: 'a\0' }, /what it is for/],
      [{ callback_url: 'https://example.com/' }, /not of this machine/],
      [{ callback_url: 'http://localhost@example.com/' }, /not of this machine/],
    ] as const) {
      const refused = await post(changes);
      t.is(refused.status, 400, JSON.stringify(changes));
      t.regex(refused.text, problem);
    }
    t.is((await post({}, { origin: 'http://localhost:40123' })).status, 403, 'another page');
    t.is(
      (await send(deployment, { method: 'POST', target: '/login/client' })).headers.location,
      '/login',
    );

    const made = await post({ scope: 'secrets:get:team/*\nauth:current-scopes' });
    t.is(made.status, 303, made.text);
    const callback = new URL(made.headers.location ?? '');
    t.is(callback.origin, 'http://localhost:40123');
    const { clientId = '', accessToken = '' } = Object.fromEntries(callback.searchParams);
    t.is(clientId, 'local/alice@example.com/cli-aBc123');
    const auth = new taskcluster.Auth({
      rootUrl,
      credentials: { clientId, accessToken },
      retries: 0,
    });
    const { scopes } = await auth.currentScopes();
    t.true(scopes.includes('secrets:get:team/*'));
    t.false(scopes.includes('secrets:set:of/alice@example.com'));
    t.regex((await post({ scope: '' })).text, /There is a client/);

    const shown = await post({ name: 'by-hand', callback_url: '' });
    t.is(shown.status, 400, 'an empty address is none of this machine');
    const other = await get(signInLink({ callback_url: 'http://127.0.0.1.example.com/' }));
    t.regex((await get(other.headers.location ?? '', cookie)).text, /not of this machine/);
  },
);
