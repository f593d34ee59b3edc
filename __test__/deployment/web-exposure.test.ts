// The exposure page in a real browser: by the page alone an operator verifies that a deployment is
// locked down, opens one endpoint, and sees the change.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import type { Page } from 'playwright-core';
import type { Exposure } from '../../ts/deployment/exposure.js';
import type { Deployment } from '../../ts/deployment/index.js';
import { authOf } from '../harness/auth.js';
import { launch } from '../harness/browser.js';
import { until } from '../harness/deadline.js';
import { deploymentFor, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { startProxy } from '../harness/proxy.js';
import type { CredentialSet } from '../harness/signature.js';
import { testWith } from '../harness/tools.js';

const ALICE = { name: 'alice', password: 'correct horse', roles: ['operator'] };
const OPERATOR = {
  roleId: 'operator',
  scopes: ['auth:list-roles', 'auth:create-role:*', 'auth:update-role:*', 'queue:*'],
};

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Asserts by axe-core that people who do not see the page, or use no mouse, can use it. */
async function isAccessible(t: ExecutionContext, page: Page, what: string): Promise<void> {
  // Run through the debugger, since the policy of the page lets no script run.
  await page.evaluate(AXE);
  const found = await page.evaluate(
    `axe.run({ resultTypes: ['violations'] }).then(({ violations }) =>
      violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))`,
  );
  t.deepEqual(found, [], what);
}

testWith('chromium')(
  'an operator verifies the lockdown, opens one endpoint and compares states by the page alone',
  async (t) => {
    const logs = freshDirectory(t);
    const auditLogs = [logs];
    const deployment = await deploymentFor(t, { users: [ALICE], roles: [OPERATOR], auditLogs });
    const { rootUrl } = deployment;
    const browser = await launch(t);
    const context = await browser.newContext({ javaScriptEnabled: true, colorScheme: 'light' });
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    const press = (label: string) =>
      Promise.all([page.waitForNavigation(), page.getByRole('button', { name: label }).click()]);
    const follow = (label: string) =>
      Promise.all([
        page.waitForNavigation(),
        page.getByRole('link', { name: label }).first().click(),
      ]);

    await page.goto(rootUrl);
    t.is(await page.title(), 'A Taskcluster deployment');
    await isAccessible(t, page, 'the front page');
    await follow('What is open, to whom, and why');
    t.is(await page.title(), 'Sign in to Taskcluster');
    await page.getByLabel('Name').fill(ALICE.name);
    await page.getByLabel('Password').fill(ALICE.password);
    await press('Sign in');

    t.is(await page.title(), 'What an anonymous caller may do');
    const summary = () => page.locator('.summary').innerText();
    t.regex(
      await summary(),
      /^0 of \d\d endpoints .* Nothing that needs a scope is let through\.$/,
    );
    await isAccessible(t, page, 'locked');
    const [kept] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'Keep the whole state' }).click(),
    ]);
    const state = await kept.path();

    // The operator uses the keyboard alone.
    await page.getByLabel('One role on a line').focus();
    await page.keyboard.type('anonymous=queue:pending-count:demo/*');
    await page.keyboard.press('Tab');
    await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
    t.regex(await summary(), /^1 of \d\d endpoints that need scopes would be open/);
    const row = () =>
      page.locator('#would ~ .scroll tbody tr, #since ~ .scroll tbody tr').innerText();
    t.regex(
      await row(),
      /opens\s+queue\.pendingTasks\s+no\s+for some\s+queue:pending-count:demo\/\*/,
    );
    await isAccessible(t, page, 'what it would change');
    await press('Write the role anonymous');
    t.regex(await page.getByRole('status').innerText(), /^The role anonymous has been written/);
    t.regex(await row(), /opens\s+queue\.pendingTasks/);
    const { scopes } = await authOf(deployment).role('anonymous');
    t.deepEqual(scopes, ['queue:pending-count:demo/*']);
    const { auditHistory } = await authOf(deployment).getEntityHistory('role', 'anonymous');
    t.like(auditHistory, [{ actionType: 'created', clientId: 'local/alice' }]);

    await follow('queue.pendingTasks');
    t.regex(
      await page.locator('.tree').innerText(),
      /pending-count:demo\/\*\s+the role anonymous\s+assume:anonymous\s+which every caller has/,
    );
    await isAccessible(t, page, 'why');
    await page.getByLabel('The file of a state that was kept').setInputFiles(state);
    await press('Compare');
    t.regex(await row(), /opens\s+queue\.pendingTasks/, 'the diff against the kept file');
    await page.getByLabel('Or its text').fill(readFileSync(state, 'utf8'));
    await press('Compare');
    t.regex(await row(), /opens\s+queue\.pendingTasks/, 'the diff against the pasted text');

    const { proxy, lines } = await loggingProxy(t, deployment, logs, deployment.credentials);
    await proxy.get('/queue/v1/pending/demo/local');
    await lines(1);
    await page.getByLabel('A holder of scopes').check();
    await page.getByLabel('Which one').fill('queue:pending-count:* secrets:*');
    await page.getByLabel('Look through the calls').fill('7');
    await press('Show');
    const unused = page.getByRole('region', { name: 'Table of scopes that no call has needed' });
    t.regex(await unused.locator('tbody').innerText(), /^no call\s+secrets:\*\s*$/);
    await isAccessible(t, page, 'unused scopes');
    await page.emulateMedia({ colorScheme: 'dark' });
    await isAccessible(t, page, 'in the dark');
    await page.emulateMedia({ media: 'print' });
    t.false(await page.getByRole('button').first().isVisible(), 'no buttons on paper');
    t.deepEqual(complaints, [], 'nothing that its own policy forbids');
  },
);

/** A proxy with an audit log in the folder, and a wait for so many of its lines. */
async function loggingProxy(
  t: ExecutionContext,
  { rootUrl }: Deployment,
  folder: string,
  credentials: CredentialSet,
) {
  const file = path.join(folder, 'audit.jsonl');
  const flags = ['--audit-log', file, '--retry-for', '0'];
  const proxy = await startProxy(t, { rootUrl, flags, credentials });
  const count = () => readFileSync(file, 'utf8').split('\n').length - 1;
  return { proxy, lines: (number: number) => until(() => count() >= number, 'the audit log') };
}

test('the page tells which scopes no call in the audit logs of proxies has needed', async (t) => {
  const logs = freshDirectory(t);
  const client = { clientId: 'project/a', accessToken: 'x'.repeat(44) };
  const scopes = ['secrets:get:a', 'secrets:set:a', 'queue:*', 'assume:reader'];
  const deployment = await deploymentFor(t, {
    auditLogs: [logs],
    users: [ALICE],
    clients: [{ ...client, scopes }],
    roles: [
      { ...OPERATOR, scopes: ['auth:*'] },
      { roleId: 'reader', scopes: ['secrets:list-secrets', 'secrets:get:b|c'] },
    ],
  });
  const { proxy, lines } = await loggingProxy(t, deployment, logs, client);
  const body = JSON.stringify({ taskIds: [] });
  await proxy.get('/secrets/v1/secret/a');
  await proxy.get('/secrets/v1/secrets');
  await proxy.get('/queue/v1/ping');
  await proxy.request('POST', '/queue/v1/tasks', {
    fields: [['Content-Type', 'application/json']],
    body,
  });
  await proxy.request('POST', '/bewit', { body: `${deployment.rootUrl}/api/secrets/v1/secret/a` });
  await lines(5);

  const Cookie = await signIn(deployment.rootUrl, 'alice');
  const get = (query: string) =>
    send(deployment, { target: `/login/exposure?${query}`, headers: { Cookie } });
  const asked = 'who=client&name=project/a&days=1';
  const { text } = await get(asked);
  t.regex(text, /No call of the last day has needed 2 of 5 scopes\./);
  t.regex(
    text,
    /The logs have 5 calls to this deployment in these days, and 5 of them by the client /,
  );
  t.regex(text, /1 call of queue\.tasks: their need depends on the body/);
  const { endpoints, unused } = (await get(`${asked}&format=json&show=some`)).json;
  t.true((endpoints as Exposure[]).every(({ passes }) => passes === 'sometimes'));
  t.like(unused, {
    unused: [
      { scope: 'secrets:get:b|c', from: ['the role reader'] },
      { scope: 'secrets:set:a', from: ['the client project/a'] },
    ],
    perhaps: [{ scope: 'queue:*', from: ['the client project/a'] }],
    calls: 5,
  });
  const document = (await get(`${asked}&format=md`)).text;
  t.regex(document, /\n## Scopes that no call has needed\n\nNo call of the last day has needed 2 /);
  t.regex(document, /\n\| `secrets:get:b\\\|c` \| the role reader \| no call \|\n/);
  t.regex((await get('who=role&name=reader&days=30')).text, /has needed 1 of 2 scopes/);
  t.regex(
    (await get('who=role&name=reader&days=30&what-if=reader%3Da:b')).text,
    /needed 1 of 1 scope\./,
  );
  for (const days of ['0', '-1', '1.5', 'x', '12345']) {
    const answer = await get(`days=${days}`);
    t.is(answer.status, 400, days);
    t.regex(answer.text, /is not a number of days: write one from 1 to 9999\./);
  }
});

test('without audit logs the page does not ask for days; an invalid path ends the start', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE], roles: [OPERATOR] });
  const headers = { Cookie: await signIn(deployment.rootUrl, 'alice') };
  t.false(
    (await send(deployment, { target: '/login/exposure', headers })).text.includes('id="days"'),
  );
  const asked = await send(deployment, { target: '/login/exposure?days=1', headers });
  t.is(asked.status, 400);
  t.regex(asked.text, /there are no audit logs: start the deployment with --audit-log\./);

  const folder = freshDirectory(t);
  const wrong = path.join(folder, 'proxy.log');
  writeFileSync(wrong, 'Listening\n');
  for (const [place, message] of [
    [
      path.join(folder, 'none'),
      /^there is no audit log .*none: name the file that taskcluster-proxy /,
    ],
    [path.join(wrong, 'audit.jsonl'), /^cannot read .*proxy\.log\/audit\.jsonl: ENOTDIR/],
    [wrong, /^.*proxy\.log has no line of an audit log at its start/],
    ['/dev/null', /^\/dev\/null is neither a file nor a folder: name an audit log/],
  ] as const) {
    await t.throwsAsync(deploymentFor(t, { auditLogs: [folder, place] }), { message });
  }
});

/** The cookie of a user who has signed in. */
async function signIn(rootUrl: string, name: string): Promise<string> {
  const { headers } = await send(
    { rootUrl },
    {
      method: 'POST',
      target: '/login/local',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ name, password: ALICE.password }),
    },
  );
  return String(headers['set-cookie']?.[0]?.split(';')[0]);
}

test('the page is for signed-in users who may list roles, and runs no script', async (t) => {
  const bob = { ...ALICE, name: 'bob', roles: [] };
  const deployment = await deploymentFor(t, {
    users: [ALICE, bob],
    roles: [OPERATOR, { roleId: 'anonymous', scopes: ['secrets:get:a'] }],
  });
  const { rootUrl } = deployment;
  const moved = await send(deployment, { target: '/exposure?who=role&name=x' });
  t.is(moved.headers.location, '/login/exposure?who=role&name=x');
  const strange = await send(deployment, { target: '/login/exposure?who=anonymous' });
  t.is(strange.status, 303);
  t.is(strange.headers.location, '/login?continue=%2Flogin%2Fexposure%3Fwho%3Danonymous');

  const Cookie = await signIn(rootUrl, 'alice');
  const get = (query: string, cookie = Cookie) =>
    send(deployment, { target: `/login/exposure?${query}`, headers: { Cookie: cookie } });
  const refused = await get('', await signIn(rootUrl, 'bob'));
  t.is(refused.status, 403);
  t.regex(refused.text, /You are local\/bob, and lack the scope auth:list-roles/);
  const page = await get('show=yes&show=some');
  t.false(page.text.includes('<script'));
  t.regex(String(page.headers['content-security-policy']), /^default-src 'none'; style-src 'self'/);
  t.regex(page.text, /<strong>1<\/strong> of/);
  t.false(page.text.includes('queue.status</code>'));

  const rows = (await get('format=json&show=some')).json as Exposure[];
  t.deepEqual(
    rows.map(({ endpoint, by }) => [endpoint, by]),
    [['get', ['secrets:get:a']]],
  );
  const document = await get('format=md&search=secrets.get');
  t.is(document.headers['content-type'], 'text/markdown; charset=utf-8');
  t.regex(
    document.text,
    /^# What an anonymous caller may do\n\n\| passes .*\n.*\n\| for some \| `secrets\.get` /,
  );
  t.regex((await get('who=role&name=operator')).text, /What the role operator may do/);
  t.regex(
    (await get('who=scopes&name=secrets:*+queue:x')).text,
    /What the scopes queue:x secrets:/,
  );

  for (const [query, status, sentence] of [
    ['who=client&name=static/x', 403, /lack the scope auth:get-client:static\/x/],
    ['who=client', 400, /write the id or the scopes in “Which one”/],
    ['who=other&name=x', 400, /choose one of the list/],
    ['what-if=anonymous%3D', 400, /gives no scope/],
    ['what-if=a%3Dassume:b%0Ab%3Dassume:a', 400, /Roles may not contain dependency cycles/],
    ['why=queue.tsk', 400, /there is no endpoint queue\.tsk/],
    ['search=%3Cscript%3E', 200, /value="&#60;script&#62;"/],
  ] as const) {
    const answer = await get(query);
    t.is(answer.status, status, query);
    t.regex(answer.text, sentence, query);
  }
});

test('a user writes a role only from the own pages of the deployment, and with the scopes for it', async (t) => {
  const operator = { ...OPERATOR, scopes: ['auth:list-roles', 'auth:create-role:demo', 'queue:*'] };
  const deployment = await deploymentFor(t, { users: [ALICE], roles: [operator] });
  const Cookie = await signIn(deployment.rootUrl, 'alice');
  const write = (role: string, headers: Record<string, string> = {}) =>
    send(deployment, {
      method: 'POST',
      target: '/login/exposure/role',
      headers: { Cookie, 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
      body: new URLSearchParams({ 'what-if': role }).toString(),
    });
  for (const [role, headers, status] of [
    ['demo=queue:x', { Origin: 'https://elsewhere.example.com' }, 403],
    ['demo=queue:x', { 'Sec-Fetch-Site': 'same-site' }, 403],
    ['demo=secrets:get:x', {}, 403],
    ['other=queue:x', {}, 403],
    ['operator=*', {}, 403],
    ['demo=queue:x\ndemo2=queue:x', {}, 400],
    ['', {}, 400],
  ] as const) {
    t.is((await write(role, headers)).status, status, role);
  }
  t.regex((await write('demo=secrets:get:x')).text, /secrets:get:x/);
  t.regex((await write('')).text, /there is no role to write/);
  const auth = authOf(deployment);
  t.deepEqual((await auth.listRoleIds()).roleIds, ['operator']);
  t.is((await write('demo=queue:x')).status, 200);
  t.deepEqual((await auth.role('demo')).scopes, ['queue:x']);
});

test('a kept state comes as a file or as text, and not as both', async (t) => {
  const roles = [OPERATOR, { roleId: 'anonymous', scopes: ['secrets:get:a'] }];
  const deployment = await deploymentFor(t, { users: [ALICE], roles });
  const Cookie = await signIn(deployment.rootUrl, 'alice');
  const state = await send(deployment, {
    target: '/login/exposure?format=state',
    headers: { Cookie },
  });
  const closed = state.text.replaceAll('"sometimes"', '"never"');
  const compare = (body: string, type: string) =>
    send(deployment, {
      method: 'POST',
      target: '/login/exposure/compare',
      headers: { Cookie, 'Content-Type': type },
      body,
    });
  /** As a browser sends it: a file that was not chosen has neither a name nor a byte. */
  const form = (text: string, file?: string) => {
    const boundary = '----WebKitFormBoundary0123456789abcdef';
    const name = file === undefined ? '' : 'kept é.json';
    const parts = [
      'name="who"\r\n\r\nanonymous',
      'name="show"\r\n\r\nyes',
      'name="show"\r\n\r\nsome',
      `name="file"; filename="${name}"\r\nContent-Type: application/json\r\n\r\n${file ?? ''}`,
      `name="state"\r\n\r\n${text}`,
    ].map((part) => `--${boundary}\r\nContent-Disposition: form-data; ${part}\r\n`);
    const type = `multipart/form-data; boundary=${boundary}`;
    return compare(`${parts.join('')}--${boundary}--\r\n`, type);
  };
  const opens = /class="opens">opens<\/td>\s*<th scope="row"><code>secrets\.get</;
  const byFile = await form('', closed);
  t.is(byFile.status, 200);
  t.regex(byFile.text, opens);
  t.false(byFile.text.includes('<code>queue.status</code>'), 'the other fields hold, too');
  t.regex((await form(closed)).text, opens);
  const urlEncoded = 'application/x-www-form-urlencoded';
  t.regex((await compare(`${new URLSearchParams({ state: closed })}`, urlEncoded)).text, opens);
  for (const [answer, status, sentence] of [
    [await form('', '{'), 400, /the file is not JSON\./],
    [await form('', '[]'), 400, /the file is no saved state: save one with exposure --json\./],
    [await form('{'), 400, /the pasted text is not JSON\./],
    [await form(' ', undefined), 400, /there is no state to compare with: choose the file that/],
    [await form('[]', '[]'), 400, /there are a file and a pasted text: leave one out\./],
    [await form('', 'x'.repeat(2 ** 20)), 413, /The payload is larger than 1 MiB/],
    [await compare('x', 'multipart/form-data; boundary=y'), 400, /The form cannot be read: send/],
    [await compare('x', 'multipart/form-data'), 400, /The form cannot be read: send it from the/],
  ] as const) {
    t.is(answer.status, status, String(sentence));
    t.regex(answer.text, sentence);
  }
  for (const target of ['/login/exposure/compare', '/login/exposure/role']) {
    const again = await send(deployment, { target, headers: { Cookie } });
    t.is(again.status, 303);
    t.is(again.headers.location, '/login/exposure');
  }
});

test('a form that cannot be read gets a page in a browser, and JSON elsewhere', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE], roles: [OPERATOR] });
  const Cookie = await signIn(deployment.rootUrl, 'alice');
  const compare = (Accept: string) =>
    send(deployment, {
      method: 'POST',
      target: '/login/exposure/compare',
      headers: { Cookie, Accept, 'Content-Type': 'multipart/form-data' },
      body: 'x',
    });
  const page = await compare('text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8');
  t.is(page.status, 400);
  t.is(page.headers['content-type'], 'text/html; charset=utf-8');
  t.regex(page.text, /role="alert">The form cannot be read: send it from the page/);
  for (const other of ['*/*', 'application/json']) {
    const { status, json } = await compare(other);
    t.is(status, 400);
    t.is(json.code, 'InvalidRequestArguments');
  }
});
