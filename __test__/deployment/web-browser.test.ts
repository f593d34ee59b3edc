// A user signs in with a real browser, and creates a client for the command line.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { launch } from '../harness/browser.js';
import { deploymentFor } from '../harness/deployment.js';
import { definition, QUEUE, queueOf, WORKER } from '../harness/queue.js';
import { testWith } from '../harness/tools.js';

const ALICE = { name: 'alice', password: 'correct horse' };

/**
 * A server that waits on this machine for a client, as the command line does; its pages are empty.
 */
async function startWaiting(t: ExecutionContext): Promise<string> {
  const server = http.createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>application</title><body></body>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://localhost:${(server.address() as AddressInfo).port}`;
}

testWith('chromium')('a person signs in, and makes a client for the command line', async (t) => {
  const callback = await startWaiting(t);
  const deployment = await deploymentFor(t, {
    users: [ALICE],
    roles: [
      { roleId: 'anonymous', scopes: ['auth:current-scopes'] },
      {
        roleId: 'login-identity:*',
        scopes: ['auth:create-client:<..>/*', 'queue:create-task:*'],
      },
    ],
  });
  const { rootUrl } = deployment;
  const wish = { name: 'cli', scope: 'queue:*', expires: '1 day', callback_url: callback };
  const link = `${rootUrl}/auth/clients/create?${new URLSearchParams(wish)}`;
  const browser = await launch(t);
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on('console', (message) => complaints.push(message.text()));
  const submit = (label: string) =>
    Promise.all([page.waitForNavigation(), page.getByRole('button', { name: label }).click()]);

  await page.goto(link);
  t.is(await page.title(), 'Sign in to Taskcluster');
  t.is(await page.evaluate(`getComputedStyle(document.querySelector('main')).paddingLeft`), '16px');
  await page.getByLabel('Name').fill(ALICE.name);
  await page.getByLabel('Password').fill('wrong');
  await submit('Sign in');
  t.is(await page.getByRole('alert').innerText(), 'There is no user with this name and password.');
  complaints.length = 0;
  await page.getByLabel('Password').fill(ALICE.password);
  await submit('Sign in');
  t.is(await page.title(), 'Make a client?');
  t.is(await page.getByLabel('Scopes').inputValue(), 'queue:create-task:*');
  await submit('Make it');
  const { origin, searchParams } = new URL(page.url());
  t.is(origin, callback);
  const credentials = Object.fromEntries(searchParams) as Record<
    'clientId' | 'accessToken',
    string
  >;
  t.is(credentials.clientId, 'local/alice/cli');
  const { scopes } = await new taskcluster.Auth({ rootUrl, credentials }).currentScopes();
  t.true(scopes.includes('queue:create-task:*'));
  t.deepEqual(complaints, []);

  const framed = `(url) => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.src = url;
    frame.onload = () => resolve(frame.contentDocument === null ? 'hidden' : 'seen');
    document.body.append(frame);
  })`;
  await page.evaluate(`(${framed})(${JSON.stringify(link)})`);
  t.regex(complaints.join('\n'), /frame-ancestors|X-Frame-Options|403/);

  await page.goto(`${rootUrl}/login`);
  await submit('Sign out');
  t.is(await page.title(), 'Sign in to Taskcluster');
});

/** An artifact that tries to get the viewer's credentials, and shows the result. */
const GREEDY_PAGE = `<!doctype html><title>loading</title><script>
  Promise.all(['POST /login/credentials', 'GET /login/user'].map((request) => {
    const [method, target] = request.split(' ');
    return fetch(target, { method, credentials: 'include' }).then(({ status }) => status, () => 'nothing');
  })).then((answers) => { document.title = 'got ' + answers; });
</script>`;

testWith('chromium')('an HTML artifact cannot act for the user who opens it', async (t) => {
  const deployment = await deploymentFor(t, { users: [ALICE] });
  const { rootUrl } = deployment;
  const root = queueOf(deployment, deployment.credentials);
  const taskId = taskcluster.slugid();
  await root.createTask(taskId, definition());
  const [claim] = (await root.claimWork(QUEUE, { ...WORKER, tasks: 1 })).tasks;
  const task = queueOf(deployment, claim.credentials);
  const { putUrl, contentType } = await task.createArtifact(taskId, 0, 'public/report.html', {
    storageType: 's3',
    contentType: 'text/html',
    expires: taskcluster.fromNow('30 minutes'),
  });
  await fetch(putUrl, {
    method: 'PUT',
    body: GREEDY_PAGE,
    headers: { 'Content-Type': contentType },
  });
  const { url } = await root.getArtifact(taskId, 0, 'public/report.html');

  const browser = await launch(t);
  const page = await browser.newPage();
  await page.goto(`${rootUrl}/login`);
  await page.getByLabel('Name').fill(ALICE.name);
  await page.getByLabel('Password').fill(ALICE.password);
  await Promise.all([
    page.waitForNavigation(),
    page.getByRole('button', { name: 'Sign in' }).click(),
  ]);
  t.is(await page.title(), 'You are signed in');
  await page.goto(url);
  await page.waitForFunction(`document.title.startsWith('got')`);
  t.is(await page.title(), 'got nothing,nothing');
});
