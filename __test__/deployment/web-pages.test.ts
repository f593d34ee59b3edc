// The pages on which users sign in, and the scopes of the clients that they create.
import test from 'ava';
import { ScopeResolver } from '../../ts/deployment/auth/clients.js';
import { GrantChanges } from '../../ts/deployment/auth/grant-changes.js';
import { syncStaticClients } from '../../ts/deployment/auth/static-clients.js';
import type { Deployment } from '../../ts/deployment/index.js';
import { RolesVersion } from '../../ts/deployment/roles-version.js';
import { openStorage } from '../../ts/deployment/storage/index.js';
import { scanClients } from '../../ts/deployment/web/client-scan.js';
import { addNewUser } from '../../ts/deployment/web/local-users.js';
import { readTimeExpression } from '../../ts/deployment/web/time-expression.js';
import { onEveryBackend } from '../harness/backends.js';
import { schemaFor } from '../harness/database.js';
import { deploymentFor, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';

const ALICE = { name: 'alice', password: 'correct horse', roles: ['team:a'] };

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

const DAY = 24 * 60 * 60 * 1000;

/** Where the command line sends a person who is to make a client. */
const NEW_CLIENT = `/login/client?${new URLSearchParams({
  name: 'cli',
  scope: '*',
  callback_url: 'http://localhost:40123',
})}`;

function post(deployment: Deployment, fields: Record<string, string>) {
  const body = new URLSearchParams(fields).toString();
  return send(deployment, { method: 'POST', target: '/login', headers: FORM, body });
}

async function signIn(deployment: Deployment): Promise<string> {
  const { name, password } = ALICE;
  const { headers } = await post(deployment, { name, password });
  return String(headers['set-cookie']).split(';', 1)[0] ?? '';
}

test('pages run nothing, are in no frame, and repeat nothing as HTML', async (t) => {
  const evil = '"><script>alert(1)</script>';
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const cookie = await signIn(deployment);
  const wrong = await post(deployment, { name: evil, password: evil, continue: evil });
  t.is(wrong.status, 401);
  t.is(wrong.headers['set-cookie'], undefined);
  const pages = [
    wrong,
    await send(deployment, { target: '/login' }),
    await send(deployment, { target: `/login?continue=${encodeURIComponent(evil)}` }),
    await send(deployment, { target: `/login?continue=${encodeURIComponent(NEW_CLIENT + evil)}` }),
    await send(deployment, { target: '/login', headers: { cookie } }),
  ];
  const target = `${NEW_CLIENT}&description=${encodeURIComponent(evil)}`;
  const asked = await send(deployment, { target, headers: { cookie } });
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
  t.is(asked.headers['content-security-policy'], policy("'self' http://localhost:40123"));
  for (const headers of [
    { 'sec-fetch-dest': 'iframe', 'sec-fetch-mode': 'navigate' },
    { 'sec-fetch-dest': 'empty', 'sec-fetch-mode': 'cors' },
  ]) {
    t.is((await send(deployment, { target: NEW_CLIENT, headers })).status, 403);
  }
});

test('a sign-in redirects only to the page of a new client or to /login', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const { name, password } = ALICE;
  const location = async (target: string) =>
    (await post(deployment, { name, password, continue: target })).headers.location;
  t.is(await location(NEW_CLIENT), NEW_CLIENT);
  for (const target of ['https://evil.example.com/', '//evil.example.com/', '/login/logout', '']) {
    t.is(await location(target), '/login');
  }
  const cookie = await signIn(deployment);
  const out = { method: 'POST', target: '/login/logout', headers: { ...FORM, cookie } };
  t.is((await send(deployment, { ...out, body: 'a=b' })).status, 303);
  const { text } = await send(deployment, { target: '/login', headers: { cookie } });
  t.regex(text, /<h1>Sign in/);
});

onEveryBackend(
  'a client of a user is disabled if it has a scope that the user has not',
  async (t, place) => {
    const { database = await schemaFor(), databaseUrl } = place;
    const where = databaseUrl === undefined ? { database } : { databaseUrl };
    const { store, close } = await openStorage({ folder: freshDirectory(t), ...where });
    t.teardown(close);
    await syncStaticClients(store, []);
    await addNewUser(store, ALICE, new GrantChanges(() => []));
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
      await scanClients({
        store,
        resolver: new ScopeResolver(store, version, new GrantChanges(() => [])),
      });
      const all = await store.clients.list('', { after: '', limit: 1000 });
      return all.filter((client) => client.disabled).map(({ clientId }) => clientId);
    };
    t.deepEqual(await disabled(), ['local/alice/more', 'local/bob', 'local/bob/nobody']);
    await store.roles.put({ roleId: 'team:a', scopes: ['queue:create-task:y'] });
    t.deepEqual(await disabled(), [
      ...['local/alice/fits', 'local/alice/more', 'local/bob', 'local/bob/nobody'],
    ]);
  },
);

test('a span of time is written in words', (t) => {
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
