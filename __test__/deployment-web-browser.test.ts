// A person in a real browser signs in, and lets a page of somebody else's have credentials.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ExecutionContext } from 'ava';
import type { Page } from 'playwright-core';
import taskcluster from 'taskcluster-client';
import { launch } from './harness/browser.js';
import { deploymentFor } from './harness/deployment.js';
import { definition, QUEUE, queueOf, WORKER } from './harness/queue.js';
import { testWith } from './harness/tools.js';

const ALICE = { name: 'alice', password: 'correct horse' };

/** A web application on another host, as far as a browser is concerned: its pages are empty. */
async function startApplication(t: ExecutionContext): Promise<string> {
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

/** Goes where a link of the application leads. */
async function follow(page: Page, url: string): Promise<void> {
  const link = `(url) => {
    const link = document.createElement('a');
    link.href = url;
    document.body.append(link);
    link.click();
  }`;
  await Promise.all([page.waitForNavigation(), page.evaluate(`(${link})(${JSON.stringify(url)})`)]);
}

/** Source for the application's page: a token for its code, credentials for the token. */
const FETCH_CREDENTIALS = `async ({ rootUrl, code, redirectUri }) => {
  const token = await fetch(rootUrl + '/login/oauth/token', {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'authorization_code', code, redirect_uri: redirectUri, client_id: 'app',
    }),
  });
  const { access_token } = await token.json();
  const answer = await fetch(rootUrl + '/login/oauth/credentials', {
    headers: { Authorization: 'Bearer ' + access_token, 'Content-Type': 'application/json' },
  });
  return answer.json();
}`;

testWith('chromium')(
  'a person signs in, is asked, and an application gets credentials',
  async (t) => {
    const application = await startApplication(t);
    const redirectUri = `${application}/cb`;
    const registered = {
      clientId: 'app',
      responseType: 'code',
      scope: ['queue:*'],
      redirectUri: [redirectUri],
      maxExpires: '1 day',
    } as const;
    const deployment = await deploymentFor(t, {
      users: [ALICE],
      roles: [
        {
          roleId: 'login-identity:*',
          scopes: ['auth:create-client:<..>/*', 'queue:create-task:*'],
        },
      ],
      registeredClients: [registered, { ...registered, clientId: 'trusted', whitelisted: true }],
    });
    const { rootUrl } = deployment;
    const authorize = (clientId: string) => {
      const query = { response_type: 'code', client_id: clientId, redirect_uri: redirectUri };
      const wanted = { scope: 'queue:*', state: '99' };
      return `${rootUrl}/login/oauth/authorize?${new URLSearchParams({ ...query, ...wanted })}`;
    };
    const browser = await launch(t);
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    const submit = (label: string) =>
      Promise.all([page.waitForNavigation(), page.getByRole('button', { name: label }).click()]);
    const arrived = () => {
      const { origin, pathname, searchParams } = new URL(page.url());
      t.is(`${origin}${pathname}`, redirectUri);
      return Object.fromEntries(searchParams);
    };

    await page.goto(application);
    await follow(page, authorize('app'));
    t.is(await page.title(), 'Sign in to Taskcluster');
    t.is(
      await page.evaluate(`getComputedStyle(document.querySelector('main')).paddingLeft`),
      '16px',
    );
    await page.getByLabel('Name').fill(ALICE.name);
    await page.getByLabel('Password').fill('wrong');
    await submit('Sign in');
    t.is(
      await page.getByRole('alert').innerText(),
      'There is no user with this name and password.',
    );
    complaints.length = 0;
    await page.getByLabel('Password').fill(ALICE.password);
    await submit('Sign in');
    t.is(await page.title(), 'Let app act for you?');
    t.is(await page.getByLabel('Scopes').inputValue(), 'queue:create-task:*');
    await submit('Allow');
    const { code, state } = arrived();
    t.is(state, '99');
    const given = await page.evaluate(
      `(${FETCH_CREDENTIALS})(${JSON.stringify({ rootUrl, code, redirectUri })})`,
    );
    t.regex(
      (given as { credentials: { clientId: string } }).credentials.clientId,
      /^local\/alice\/app-/,
    );

    await follow(page, authorize('app'));
    t.is(await page.title(), 'Let app act for you?', 'signed in by now');
    await submit('Deny');
    t.like(arrived(), { error: 'access_denied', state: '99' });
    await page.goto(`${rootUrl}/login`);
    await submit('Sign out');
    t.is(await page.title(), 'Sign in to Taskcluster');

    await page.goto(application);
    await follow(page, authorize('trusted'));
    await page.getByLabel('Name').fill(ALICE.name);
    await page.getByLabel('Password').fill(ALICE.password);
    await submit('Sign in');
    const { code: trusted } = arrived();
    t.truthy(trusted, 'users of a trusted one are not asked');
    t.deepEqual(complaints, []);

    const framed = `(url) => new Promise((resolve) => {
    const frame = document.createElement('iframe');
    frame.src = url;
    frame.onload = () => resolve(frame.contentDocument === null ? 'hidden' : 'seen');
    document.body.append(frame);
  })`;
    await page.evaluate(`(${framed})(${JSON.stringify(authorize('trusted'))})`);
    const frames = page.mainFrame().childFrames();
    t.false(frames.some((frame) => frame.url().includes('code=')));
    t.regex(complaints.join('\n'), /frame-ancestors|X-Frame-Options|403/);
  },
);

/** An artifact that tries to have the credentials of whoever looks at it, and says what it got. */
const GREEDY_PAGE = `<!doctype html><title>loading</title><script>
  Promise.all(['POST /login/credentials', 'GET /login/user'].map((request) => {
    const [method, target] = request.split(' ');
    return fetch(target, { method, credentials: 'include' }).then(({ status }) => status, () => 'nothing');
  })).then((answers) => { document.title = 'got ' + answers; });
</script>`;

testWith('chromium')('an artifact that is a page cannot act for who looks at it', async (t) => {
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
