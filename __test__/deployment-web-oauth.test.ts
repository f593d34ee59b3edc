// Third parties of the deployment: users let them have credentials, by OAuth 2 as Taskcluster has it.
import test from 'ava';
import taskcluster from 'taskcluster-client';
import { ScopeResolver } from '../ts/deployment/auth/clients.js';
import { syncStaticClients } from '../ts/deployment/auth/static-clients.js';
import type { Deployment, DeploymentOptions } from '../ts/deployment/index.js';
import { openStorage } from '../ts/deployment/storage/index.js';
import { RolesVersion } from '../ts/deployment/storage/roles-version.js';
import { scanClients } from '../ts/deployment/web/client-scan.js';
import { addNewUser } from '../ts/deployment/web/local-users.js';
import {
  type RegisteredClient,
  RegisteredClientError,
  RegisteredClients,
} from '../ts/deployment/web/registered-clients.js';
import { readTimeExpression } from '../ts/deployment/web/time-expression.js';
import { onEveryBackend } from './harness/backends.js';
import { schemaFor } from './harness/database.js';
import { type Answer, deploymentFor, send } from './harness/deployment.js';
import { freshDirectory } from './harness/directory.js';

const ALICE = { name: 'alice', password: 'correct horse', roles: ['team:a'] };
const BOB = { name: 'bob', password: 'battery staple' };

const CALLBACK = 'https://third.example.com/cb?a=b%20c';

const CODE: RegisteredClient = {
  clientId: 'by-code',
  responseType: 'code',
  scope: ['secrets:get:*', 'auth:current-scopes'],
  redirectUri: ['https://third.example.com/other', CALLBACK],
  maxExpires: '1 month',
};
const TOKEN: RegisteredClient = { ...CODE, clientId: 'by-token', responseType: 'token' };
const TRUSTED: RegisteredClient = { ...CODE, clientId: 'trusted', whitelisted: true };
const TRUSTED_TOKEN: RegisteredClient = { ...TOKEN, clientId: 'trusted-token', whitelisted: true };

const OPTIONS: Partial<DeploymentOptions> = {
  users: [ALICE, BOB],
  roles: [
    { roleId: 'anonymous', scopes: ['auth:current-scopes'] },
    { roleId: 'team:a', scopes: ['secrets:get:team/*', 'queue:*'] },
    { roleId: 'login-identity:local/alice', scopes: ['auth:create-client:local/alice/*'] },
  ],
  registeredClients: [CODE, TOKEN, TRUSTED, TRUSTED_TOKEN],
};

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };
const DAY = 24 * 60 * 60 * 1000;

/** What a browser would send back. */
async function signIn(deployment: Deployment, user: typeof BOB = ALICE): Promise<string> {
  const body = new URLSearchParams({ name: user.name, password: user.password }).toString();
  const sent = { method: 'POST', target: '/login', headers: FORM, body };
  const answer = await send(deployment, sent);
  if (answer.status !== 303) {
    throw new Error(`${answer.status} ${answer.text}`);
  }
  return (answer.headers['set-cookie']?.[0] ?? '').split(';')[0] ?? '';
}

function question(client: RegisteredClient, changes: Record<string, string> = {}): string {
  const query = new URLSearchParams({
    response_type: client.responseType,
    client_id: client.clientId,
    redirect_uri: CALLBACK,
    scope: client.scope.join(' '),
    state: 'abc&123',
    ...changes,
  });
  for (const [name, value] of Object.entries(changes)) {
    if (value === '') {
      query.delete(name);
    }
  }
  return `/login/oauth/authorize?${query}`;
}

const ask = (deployment: Deployment, cookie: string, target: string) =>
  send(deployment, { target, headers: { cookie } });

/** The hidden and the visible fields of the page that asks. */
function fieldsOf({ text }: Answer) {
  const [, id = ''] = /name="transaction_id" value="([\w-]+)"/.exec(text) ?? [];
  const [, scopes = ''] = /<textarea[^>]*>\n([^<]*)</.exec(text) ?? [];
  const [, expires = ''] = /name="expires" value="([^"]*)"/.exec(text) ?? [];
  return { id, scopes: scopes.split('\n'), expires };
}

const decide = (deployment: Deployment, cookie: string, form: Record<string, string>) =>
  send(deployment, {
    method: 'POST',
    target: '/login/oauth/authorize/decision',
    headers: { ...FORM, cookie },
    body: new URLSearchParams(form).toString(),
  });

const exchange = (deployment: Deployment, form: Record<string, string>) =>
  send(deployment, {
    method: 'POST',
    target: '/login/oauth/token',
    headers: FORM,
    body: new URLSearchParams({ grant_type: 'authorization_code', ...form }).toString(),
  });

const credentials = (deployment: Deployment, token: string, scheme = 'Bearer') =>
  send(deployment, {
    target: '/login/oauth/credentials',
    headers: { authorization: `${scheme} ${token}` },
  });

interface Told {
  readonly code?: string;
  readonly access_token?: string;
  readonly token_type?: string;
  readonly state?: string;
  readonly error?: string;
  readonly error_description?: string;
}

/** What the third party is told, in the query or in the fragment. */
function told({ headers }: Answer): Told {
  const { search, hash } = new URL(headers.location ?? 'about:blank');
  return Object.fromEntries([
    ...new URLSearchParams(search),
    ...new URLSearchParams(hash.replace('#', '')),
  ]);
}

/** The token of a trusted third party, whose users are not asked. */
async function tokenFor(deployment: Deployment, cookie: string, changes = {}): Promise<string> {
  const { code = '' } = told(await ask(deployment, cookie, question(TRUSTED, changes)));
  const { json } = await exchange(deployment, { code, redirect_uri: CALLBACK });
  return json.access_token;
}

onEveryBackend('a code, a token and credentials, each for the one before', async (t, place) => {
  const deployment = await deploymentFor(t, { ...OPTIONS, ...place });
  const target = question(CODE, { expires: '3 days' });
  const unknown = await send(deployment, { target });
  t.is(unknown.status, 302);
  t.is(
    unknown.headers.location,
    `/login?continue=${encodeURIComponent(target).replaceAll('%20', '+')}`,
  );

  const cookie = await signIn(deployment);
  const page = await ask(deployment, cookie, target);
  t.is(page.status, 200, page.text);
  const { id, scopes, expires } = fieldsOf(page);
  t.deepEqual(scopes, ['auth:current-scopes', 'secrets:get:team/*'], 'what the user has of them');
  t.is(expires, '3 days');
  const scope = 'secrets:get:team/* auth:current-scopes';
  const answer = await decide(deployment, cookie, { transaction_id: id, scope, expires });
  t.is(answer.status, 302, answer.text);
  t.regex(answer.headers.location ?? '', /^https:\/\/third\.example\.com\/cb\?a=b%20c&code=/);
  const { code = '', state } = told(answer);
  t.is(state, 'abc&123');

  const right = { code, redirect_uri: CALLBACK, client_id: CODE.clientId };
  const exchanged = await exchange(deployment, right);
  t.is(exchanged.status, 200, exchanged.text);
  t.is(exchanged.headers['cache-control'], 'no-store');
  t.deepEqual(Object.keys(exchanged.json), ['access_token', 'token_type']);
  const { access_token: token } = exchanged.json;
  const given = await credentials(deployment, token, 'bearer');
  t.is(given.status, 200, given.text);
  t.deepEqual(Object.keys(given.json), ['expires', 'credentials']);
  const until = Date.parse(given.json.expires) - Date.now();
  t.true(until > 3 * DAY - 90_000 && until <= 3 * DAY - 30_000, `${until} ms`);
  t.regex(given.json.credentials.clientId, /^local\/alice\/by-code-[\w-]{6}$/);
  t.deepEqual((await credentials(deployment, token)).json, given.json, 'asked once more');

  const { rootUrl } = deployment;
  const auth = new taskcluster.Auth({ rootUrl, credentials: given.json.credentials, retries: 0 });
  const { scopes: held } = await auth.currentScopes();
  t.deepEqual(held, ['assume:anonymous', 'auth:current-scopes', 'secrets:get:team/*']);
  const root = new taskcluster.Auth({ rootUrl, credentials: deployment.credentials, retries: 0 });
  const client = await root.client(given.json.credentials.clientId);
  t.like(client, {
    description: 'Client generated by local/alice for OAuth2 Client by-code',
    deleteOnExpiration: true,
    scopes: ['auth:current-scopes', 'secrets:get:team/*'],
  });
  t.is(Date.parse(client.expires) - Date.parse(given.json.expires), 30_000);
});

onEveryBackend('a code is taken once, at one address, by whom it was for', async (t, place) => {
  const deployment = await deploymentFor(t, { ...OPTIONS, ...place });
  const cookie = await signIn(deployment);
  const code = async () => told(await ask(deployment, cookie, question(TRUSTED))).code ?? '';
  const refused = (answer: Answer, what: string) => {
    t.is(answer.status, 403, what);
    t.deepEqual(answer.json, {
      error: 'invalid_grant',
      error_description: 'Invalid authorization code',
    });
  };
  const once = { code: await code(), redirect_uri: CALLBACK };
  const all = await Promise.all(Array.from({ length: 8 }, () => exchange(deployment, once)));
  t.is(all.filter(({ status }) => status === 200).length, 1);
  refused(await exchange(deployment, once), 'again');
  const stolen = { code: await code(), redirect_uri: 'https://third.example.com/other' };
  refused(await exchange(deployment, stolen), 'at another address');
  refused(await exchange(deployment, { ...stolen, redirect_uri: CALLBACK }), 'used up by then');
  const other = { code: await code(), redirect_uri: CALLBACK, client_id: CODE.clientId };
  refused(await exchange(deployment, other), 'by another third party');
  refused(await exchange(deployment, { code: await code() }), 'without an address');
  refused(await exchange(deployment, { ...once, code: 'x' }), 'of nobody');
  const token = await tokenFor(deployment, cookie);
  refused(await exchange(deployment, { ...once, code: token }), 'a token is no code');

  const missing = await exchange(deployment, { redirect_uri: CALLBACK });
  t.deepEqual([missing.status, missing.json.error], [400, 'invalid_request']);
  const password = await exchange(deployment, { grant_type: 'password' });
  t.deepEqual([password.status, password.json.error], [501, 'unsupported_grant_type']);
});

onEveryBackend('what is kept cannot be used by whoever reads it, and ends', async (t, place) => {
  const deployment = await deploymentFor(t, { ...OPTIONS, ...place });
  const cookie = await signIn(deployment);
  const token = await tokenFor(deployment, cookie);
  t.is((await credentials(deployment, token)).status, 200);
  t.is((await credentials(deployment, (await tokenFor(deployment, cookie)).slice(1))).status, 401);
  // An administrator has disabled what it stands for.
  const { rootUrl } = deployment;
  const root = new taskcluster.Auth({ rootUrl, credentials: deployment.credentials, retries: 0 });
  const { json } = await credentials(deployment, token);
  await root.disableClient(json.credentials.clientId);
  t.is((await credentials(deployment, token)).status, 401);
  // The user may not create clients any more.
  const other = await tokenFor(deployment, cookie);
  await root.deleteRole('login-identity:local/alice');
  const refused = await credentials(deployment, other);
  t.is(refused.status, 401);
  t.deepEqual(refused.json, {
    code: 'InputError',
    name: 'InputError',
    message: 'Could not generate credentials for this access token',
  });
  t.is(refused.headers['www-authenticate'], 'Bearer error="invalid_token"');
  for (const authorization of ['', 'Bearer', 'Basic YTpi', `Bearer ${'A'.repeat(43)}`]) {
    const target = '/login/oauth/credentials';
    t.is((await send(deployment, { target, headers: { authorization } })).status, 401);
  }
  const denied = told(await ask(deployment, cookie, question(TRUSTED)));
  t.is(denied.error, 'access_denied');
  t.regex(denied.error_description ?? '', /has to have the scope auth:create-client:<\.\.>\/\*$/);
});

onEveryBackend('what a user may not do any more, his clients may not either', async (t, place) => {
  const { database = await schemaFor(), databaseUrl } = place;
  const where = databaseUrl === undefined ? { database } : { databaseUrl };
  const { store, close } = await openStorage({ folder: freshDirectory(t), ...where });
  t.teardown(close);
  await syncStaticClients(store, []);
  await addNewUser(store, ALICE);
  await store.roles.put({ roleId: 'team:a', scopes: ['queue:*'] });
  await store.roles.put({ roleId: 'anonymous', scopes: ['secrets:list'] });
  const add = (name: string, scopes: string[]) => {
    const expires = new Date('3000-01-01');
    const dates = { created: expires, lastModified: expires, lastDateUsed: expires };
    const secret = { accessToken: 'x', lastRotated: expires, disabled: false };
    const rest = { description: '', deleteOnExpiration: true };
    return store.clients.add({ clientId: name, scopes, expires, ...dates, ...secret, ...rest });
  };
  const many = Array.from({ length: 110 }, (_, index) => `local/alice/many-${index}`);
  for (const name of many) {
    await add(name, []);
  }
  await add('local/alice/fits', ['queue:create-task:x', 'secrets:list', 'assume:team:a']);
  await add('local/alice/more', ['queue:create-task:x', 'secrets:get:x']);
  await add('local/bob/nobody', []);
  await add('local/bob', []);
  await add('local/alice', ['assume:anonymous']);
  await add('other/bob/x', ['*']);
  const disabled = async () => {
    const version = new RolesVersion(() => store.roles.version());
    await scanClients({ store, resolver: new ScopeResolver(store, version) });
    const all = await store.clients.list('', { after: '', limit: 1000 });
    return all.filter((client) => client.disabled).map(({ clientId }) => clientId);
  };
  t.deepEqual(await disabled(), ['local/alice/more', 'local/bob', 'local/bob/nobody']);
  await store.roles.put({ roleId: 'team:a', scopes: ['queue:create-task:y'] });
  t.deepEqual(await disabled(), [
    ...['local/alice/fits', 'local/alice/more', 'local/bob', 'local/bob/nobody'],
  ]);
});

test('a code with a challenge is for whoever has the verifier', async (t) => {
  const deployment = await deploymentFor(t, OPTIONS);
  const cookie = await signIn(deployment);
  // Those of RFC 7636, appendix B.
  const verifier = 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk';
  const challenge = 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM';
  const s256 = { code_challenge: challenge, code_challenge_method: 'S256' };
  const status = async (changes: Record<string, string>, form: Record<string, string>) => {
    const { code = '' } = told(await ask(deployment, cookie, question(TRUSTED, changes)));
    return (await exchange(deployment, { code, redirect_uri: CALLBACK, ...form })).status;
  };
  t.is(await status(s256, { code_verifier: verifier }), 200);
  t.is(await status(s256, { code_verifier: challenge }), 403);
  t.is(await status(s256, {}), 403);
  t.is(await status({}, { code_verifier: verifier }), 403, 'the challenge was taken away');
  for (const wrong of [
    { code_challenge: verifier, code_challenge_method: 'plain' },
    { code_challenge: challenge },
    { code_challenge: 'x', code_challenge_method: 'S256' },
    { code_challenge_method: 'S256' },
  ]) {
    const answer = await ask(deployment, cookie, question(TRUSTED, wrong));
    t.is(told(answer).error, 'invalid_request', JSON.stringify(wrong));
  }
  const { id } = fieldsOf(await ask(deployment, cookie, question(CODE, s256)));
  const { code = '' } = told(await decide(deployment, cookie, { transaction_id: id }));
  const form = { code, redirect_uri: CALLBACK, code_verifier: verifier };
  t.is((await exchange(deployment, form)).status, 200, 'also where the user was asked');
});

test('the implicit grant tells the token in the fragment, and always asks', async (t) => {
  const deployment = await deploymentFor(t, OPTIONS);
  const cookie = await signIn(deployment);
  for (const client of [TOKEN, TRUSTED_TOKEN]) {
    const { id } = fieldsOf(await ask(deployment, cookie, question(client)));
    const form = { transaction_id: id, scope: 'secrets:get:team/x', expires: '3019/04/01' };
    const answer = await decide(deployment, cookie, { ...form, description: '<b>' });
    t.regex(answer.headers.location ?? '', /^https:\/\/third\.example\.com\/cb\?a=b%20c#access_/);
    const { access_token: token = '', token_type: type, state } = told(answer);
    t.deepEqual([type, state], ['Bearer', 'abc&123']);
    const { json } = await credentials(deployment, token);
    const until = Date.parse(json.expires) - Date.now();
    t.true(until > 30 * DAY - 90_000 && until < 30 * DAY, `${until} ms, at most maxExpires`);
    const auth = new taskcluster.Auth({
      rootUrl: deployment.rootUrl,
      credentials: deployment.credentials,
      retries: 0,
    });
    const { scopes, description } = await auth.client(json.credentials.clientId);
    t.deepEqual([scopes, description], [['secrets:get:team/x'], '<b>']);
  }
});

test('nobody is sent where nothing is registered, and nothing is asked there', async (t) => {
  const deployment = await deploymentFor(t, OPTIONS);
  const CASES: [changes: Record<string, string>, status: number, code: string][] = [
    [{ redirect_uri: 'https://evil.example.com/' }, 403, 'unauthorized_client'],
    [{ redirect_uri: 'https://third.example.com/cb' }, 403, 'unauthorized_client'],
    [{ redirect_uri: `${CALLBACK}/` }, 403, 'unauthorized_client'],
    [{ redirect_uri: 'https://THIRD.example.com/cb?a=b%20c' }, 403, 'unauthorized_client'],
    [{ redirect_uri: '' }, 403, 'unauthorized_client'],
    [{ client_id: 'by-nobody' }, 403, 'unauthorized_client'],
    [{ client_id: '__proto__' }, 403, 'unauthorized_client'],
    [{ client_id: '' }, 400, 'invalid_request'],
  ];
  for (const cookie of ['', await signIn(deployment)]) {
    for (const [changes, status, code] of CASES) {
      const answer = await ask(deployment, cookie, question(CODE, changes));
      t.is(answer.status, status, JSON.stringify(changes));
      t.is(answer.headers.location, undefined);
      t.is(answer.json.code, code);
    }
    const twice = await ask(deployment, cookie, `${question(CODE)}&redirect_uri=https://evil/`);
    t.is(twice.status, 403);
  }
  const html = { accept: 'text/html,*/*;q=0.8' };
  const target = question(CODE, { client_id: 'by-nobody' });
  const page = await send(deployment, { target, headers: html });
  t.is(page.status, 403);
  t.regex(page.headers['content-type'] ?? '', /^text\/html/);
});

test('the third party is told what it asked wrong, and that the user denied it', async (t) => {
  const deployment = await deploymentFor(t, OPTIONS);
  const cookie = await signIn(deployment);
  const CASES: [changes: Record<string, string>, error: string][] = [
    [{ scope: 'secrets:get:*' }, 'invalid_scope'],
    [{ scope: 'secrets:get:* auth:current-scopes *' }, 'invalid_scope'],
    [{ scope: '' }, 'invalid_scope'],
    [{ response_type: 'token' }, 'unsupported_response_type'],
    [{ response_type: 'id_token' }, 'unsupported_response_type'],
    [{ response_type: '' }, 'invalid_request'],
    [{ expires: '-1 day' }, 'invalid_request'],
  ];
  for (const [changes, error] of CASES) {
    const answer = await ask(deployment, cookie, question(CODE, changes));
    t.is(answer.status, 302, JSON.stringify(changes));
    t.like(told(answer), { error, state: 'abc&123' }, JSON.stringify(changes));
  }
  const { id } = fieldsOf(await ask(deployment, cookie, question(CODE)));
  const denied = await decide(deployment, cookie, { transaction_id: id, cancel: 'Deny' });
  t.like(told(denied), { error: 'access_denied', state: 'abc&123' });
  t.is(told(denied).code, undefined);
  const again = fieldsOf(await ask(deployment, cookie, question(CODE)));
  const more = { transaction_id: again.id, scope: 'queue:create-task:x' };
  t.is(told(await decide(deployment, cookie, more)).error, 'invalid_scope', 'the user has it');
});

test('a question is answered once, by the session that it was put to', async (t) => {
  const deployment = await deploymentFor(t, OPTIONS);
  const cookie = await signIn(deployment);
  const { id } = fieldsOf(await ask(deployment, cookie, question(CODE)));
  const form = { transaction_id: id, scope: 'auth:current-scopes' };
  const others = [await signIn(deployment, BOB), await signIn(deployment)];
  for (const other of others) {
    const answer = await decide(deployment, other, form);
    t.deepEqual([answer.status, answer.json.name], [403, 'ForbiddenError']);
  }
  const signedOut = await decide(deployment, '', form);
  t.deepEqual([signedOut.status, signedOut.headers.location], [302, '/login']);
  const foreign = await send(deployment, {
    method: 'POST',
    target: '/login/oauth/authorize/decision',
    headers: { ...FORM, cookie, origin: 'https://evil.example.com' },
    body: new URLSearchParams(form).toString(),
  });
  t.is(foreign.status, 403);
  const unclear = await decide(deployment, cookie, { ...form, expires: 'soon' });
  t.is(unclear.status, 400);
  t.regex(unclear.text, /Write for how long in words, such as 30 minutes/);
  t.not(fieldsOf(unclear).id, id);
  const right = await decide(deployment, cookie, form);
  t.is(right.status, 302);
  t.truthy(told(right).code);
  t.is((await decide(deployment, cookie, form)).status, 403);
  t.is((await decide(deployment, cookie, { scope: '*' })).status, 403);
});

test('pages of registered third parties may read what they call, others may not', async (t) => {
  const deployment = await deploymentFor(t, OPTIONS);
  for (const target of ['/login/oauth/token', '/login/oauth/credentials']) {
    const headers = {
      'access-control-request-method': 'GET',
      'access-control-request-headers': 'authorization,content-type',
      'sec-fetch-site': 'cross-site',
    };
    const origin = 'https://third.example.com';
    const sent = { method: 'OPTIONS', target, headers: { ...headers, origin } };
    const preflight = await send(deployment, sent);
    t.is(preflight.status, 204);
    t.like(preflight.headers, {
      'access-control-allow-origin': origin,
      'access-control-allow-credentials': 'true',
      'access-control-allow-methods': 'GET,HEAD,PUT,PATCH,POST,DELETE',
      'access-control-allow-headers': 'authorization,content-type',
      vary: 'Origin, Access-Control-Request-Headers',
    });
    for (const other of ['https://evil.example.com', 'http://third.example.com', 'null']) {
      const answer = await send(deployment, { ...sent, headers: { ...headers, origin: other } });
      t.is(answer.headers['access-control-allow-origin'], undefined);
    }
  }
  const origin = 'https://third.example.com';
  const cookie = await signIn(deployment);
  const { code = '' } = told(await ask(deployment, cookie, question(TRUSTED)));
  const answer = await send(deployment, {
    method: 'POST',
    target: '/login/oauth/token',
    headers: { 'content-type': 'application/json', origin, 'sec-fetch-site': 'cross-site' },
    body: JSON.stringify({ grant_type: 'authorization_code', code, redirect_uri: CALLBACK }),
  });
  t.is(answer.status, 200, answer.text);
  t.is(answer.headers['access-control-allow-origin'], origin);
  for (const target of ['/login/user', question(CODE)]) {
    const read = await send(deployment, { target, headers: { cookie, origin } });
    t.is(read.headers['access-control-allow-origin'], undefined);
  }
});

test('pages run nothing, are in no frame, and repeat nothing as HTML', async (t) => {
  const evil = '"><script>alert(1)</script>';
  const deployment = await deploymentFor(t, OPTIONS);
  const cookie = await signIn(deployment);
  const wrong = await send(deployment, {
    method: 'POST',
    target: '/login',
    headers: FORM,
    body: new URLSearchParams({ name: evil, password: evil, continue: evil }).toString(),
  });
  t.is(wrong.status, 401);
  t.is(wrong.headers['set-cookie'], undefined);
  const pages = [
    wrong,
    await send(deployment, { target: '/login' }),
    await send(deployment, { target: `/login?continue=${encodeURIComponent(evil)}` }),
    await send(deployment, { target: '/login', headers: { cookie } }),
  ];
  const asked = await ask(deployment, cookie, question(CODE, { expires: '1 day', state: evil }));
  for (const { headers, text } of [...pages, asked]) {
    t.notRegex(text, /<script|<style|style=|\bon\w+=/i);
    t.is(headers['x-frame-options'], 'DENY');
    t.is(headers['cache-control'], 'no-store');
  }
  const policy = (targets: string) =>
    `default-src 'none'; style-src 'self'; form-action ${targets}; base-uri 'none'; ` +
    "frame-ancestors 'none'";
  for (const { headers } of pages) {
    t.is(headers['content-security-policy'], policy("'self'"));
  }
  const withTarget = policy("'self' https://third.example.com");
  t.is(asked.headers['content-security-policy'], withTarget);
  for (const [target, expected] of [
    [question(CODE), withTarget],
    [question(CODE, { redirect_uri: 'https://evil.example.com/' }), policy("'self'")],
  ] as const) {
    const page = await send(deployment, {
      target: `/login?continue=${encodeURIComponent(target)}`,
    });
    t.is(page.headers['content-security-policy'], expected);
  }
  for (const headers of [
    { 'sec-fetch-dest': 'iframe', 'sec-fetch-mode': 'navigate' },
    { 'sec-fetch-dest': 'empty', 'sec-fetch-mode': 'cors' },
  ]) {
    t.is((await send(deployment, { target: question(TRUSTED), headers })).status, 403);
  }
});

test('a sign-in goes on to where a third party asked, and nowhere else', async (t) => {
  const deployment = await deploymentFor(t, OPTIONS);
  const post = (target: string) =>
    send(deployment, {
      method: 'POST',
      target: '/login',
      headers: FORM,
      body: new URLSearchParams({ ...ALICE, roles: '', continue: target }).toString(),
    });
  t.is((await post(question(CODE))).headers.location, question(CODE));
  for (const target of ['https://evil.example.com/', '//evil.example.com/', '/login/logout', '']) {
    t.is((await post(target)).headers.location, '/login');
  }
  const cookie = await signIn(deployment);
  const out = { method: 'POST', target: '/login/logout', headers: { ...FORM, cookie } };
  t.is((await send(deployment, { ...out, body: 'a=b' })).status, 303);
  t.regex((await ask(deployment, cookie, '/login')).text, /<h1>Sign in/);
});

test('spans of time in words', (t) => {
  const MINUTE = 60_000;
  const CASES: [text: string, span: number | undefined][] = [
    ['3 days', 3 * DAY],
    ['1 year', 365 * DAY],
    ['2mo', 60 * DAY],
    ['1 week 2 days', 9 * DAY],
    ['2h30min', 150 * MINUTE],
    ['15 minutes', 15 * MINUTE],
    ['  + 1 yr 5 SEC ', 365 * DAY + 5000],
    ['- 10 minutes', -10 * MINUTE],
    ['', undefined],
    ['3', undefined],
    ['days', undefined],
    ['2 days 1 week', undefined],
    [`${' '.repeat(50_000)}x`, undefined],
  ];
  for (const [text, span] of CASES) {
    t.is(readTimeExpression(text), span, text.slice(0, 20));
  }
});

test('a third party that cannot be is refused at start', async (t) => {
  const CASES: [changes: Record<string, unknown>, message: RegExp][] = [
    [{ redirectUri: ['javascript:alert(1)'] }, /^users of by-code cannot be sent to 'javascript/],
    [{ redirectUri: ['/cb'] }, /cannot be sent to '\/cb': a redirectUri is an http or https URL/],
    [{ redirectUri: ['https://a.example.com/#x'] }, /and has no fragment$/],
    [{ redirectUri: ['https://a;b/'] }, /cannot be sent to/],
    [{ redirectUri: ['https://a:b@c.example.com/'] }, /cannot be sent to/],
    [{ redirectUri: [] }, /redirectUri must NOT have fewer than 1 items/],
    [{ maxExpires: 'soon' }, /^the maxExpires of by-code is no span of time: write one such as/],
    [{ maxExpires: '2000 years' }, /^the maxExpires of by-code is no span of time/],
    [{ clientId: 'a b' }, /clientId must match pattern/],
    [{ scope: ['a b'] }, /scope\/0 must match pattern/],
    [{ secret: 'x' }, /must NOT have additional properties: "secret"/],
  ];
  for (const [changes, message] of CASES) {
    const client = { ...CODE, ...changes } as RegisteredClient;
    const error = t.throws(() => new RegisteredClients([client]), { message });
    t.true(error instanceof RegisteredClientError);
  }
  const twice = deploymentFor(t, { registeredClients: [CODE, CODE] });
  await t.throwsAsync(twice, { message: /^by-code is registered twice: take one away$/ });
  t.notThrows(() => new RegisteredClients([{ ...CODE, redirectUri: ['com.example.app:/cb'] }]));
});
