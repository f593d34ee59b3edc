// A page that a task's browser opens must not spend the task's credentials.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import test, { type ExecutionContext } from 'ava';
import { launch } from '../harness/browser.js';
import { type RunningProxy, startProxy } from '../harness/proxy.js';
import { testWith } from '../harness/tools.js';
import { answerOk, startUpstream, type Upstream } from '../harness/upstream.js';

async function start(t: ExecutionContext, flags: string[] = []) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  return { upstream, proxy };
}

/** The status of a GET with this Host and these other fields; without a Host for undefined. */
async function statusOf(
  proxy: RunningProxy,
  host: string | undefined,
  fields: [string, string][] = [],
  target = '/queue/v1/x',
): Promise<number> {
  const all = host === undefined ? fields : [['Host', host], ...fields];
  const lines = all.map(([name, value]) => `${name}: ${value}\r\n`).join('');
  const version = host === undefined ? '1.0' : '1.1';
  return (await proxy.exchange(`GET ${target} HTTP/${version}\r\n${lines}\r\n`)).status;
}

test("a request with an Origin other than the proxy's own gets 403", async (t) => {
  const { upstream, proxy } = await start(t);
  const host = `127.0.0.1:${proxy.port}`;
  t.is(await statusOf(proxy, host), 200);
  t.is(await statusOf(proxy, host, [['Origin', `http://${host}`]]), 200);
  t.is(await statusOf(proxy, 'taskcluster', [['Origin', 'http://taskcluster']]), 200);
  const foreign = [
    'http://evil.example.com',
    'https://evil.example.com',
    `https://${host}`,
    `http://127.0.0.1:${proxy.port + 1}`,
    'http://127.0.0.1',
    `http://localhost:${proxy.port}`,
    `http://${host}.evil.example.com`,
    'null',
    'file://',
    'chrome-extension://abc',
    '',
    `http://${host} http://${host}`,
  ];
  const before = upstream.exchanges.length;
  for (const origin of foreign) {
    t.is(await statusOf(proxy, host, [['Origin', origin]]), 403, `Origin: ${origin}`);
  }
  const twice: [string, string][] = [
    ['Origin', `http://${host}`],
    ['Origin', 'http://evil.example.com'],
  ];
  t.is(await statusOf(proxy, host, twice), 403, 'two origins');
  t.is(upstream.exchanges.length, before);
});

test('a request whose Sec-Fetch-Site is same-site or cross-site gets 403', async (t) => {
  const { proxy } = await start(t);
  const rows = [
    ['none', 200],
    ['same-origin', 200],
    ['same-site', 403],
    ['cross-site', 403],
  ] as const;
  for (const [site, status] of rows) {
    t.is(await statusOf(proxy, 'taskcluster', [['Sec-Fetch-Site', site]]), status, site);
  }
});

test('a page of another origin gets 403 from PUT /credentials and POST /bewit', async (t) => {
  const { proxy } = await start(t);
  const fields: [string, string][] = [['Origin', 'http://evil.example.com']];
  const body = JSON.stringify({ clientId: 'evil', accessToken: 'x'.repeat(44) });
  t.is((await proxy.request('PUT', '/credentials', { fields, body })).status, 403);
  const url = 'https://example.com/x';
  t.is((await proxy.request('POST', '/bewit', { fields, body: url })).status, 403);
  t.is((await proxy.get('/queue/v1/x')).status, 200);
});

test('with --allow-cross-site the proxy serves any page', async (t) => {
  const { proxy } = await start(t, ['--allow-cross-site']);
  for (const field of [
    ['Origin', 'http://evil.example.com'],
    ['Origin', 'null'],
    ['Sec-Fetch-Site', 'cross-site'],
  ] as [string, string][]) {
    t.is(await statusOf(proxy, 'taskcluster', [field]), 200, field.join(': '));
  }
});

test('a request whose Host could be a name in public DNS gets 421', async (t) => {
  const { upstream, proxy } = await start(t);
  const allowed = [
    '127.0.0.1',
    '127.0.0.1:80',
    '10.1.2.3:8080',
    '[::1]',
    '[fe80::1]:8080',
    'localhost',
    'LOCALHOST:80',
    'taskcluster',
    'taskcluster:80',
    'a.localhost',
    'host.docker.internal',
    'printer.local',
    'x.test',
    'router.lan',
    'nas.home.arpa',
    'localhost.localdomain:80',
    'taskcluster.ci.svc',
    'taskcluster.ci.svc.cluster.local:80',
    hostname(),
    undefined,
  ];
  for (const host of allowed) {
    t.is(await statusOf(proxy, host), 200, `Host: ${host}`);
  }
  const refused = [
    'evil.example.com',
    'evil.example.com:80',
    'example.com.',
    'rebind.it',
    'local.evil.com',
    'localhost.evil.com',
    'notlocal.xlocal',
    '127.0.0.1.nip.io',
    '127.0.0.1.evil.com',
    'home.arpa.evil.com',
    'arpa.evil',
    'taskcluster.ci.svc.example.com',
    'localhost.localdomain.evil.com',
  ];
  const before = upstream.exchanges.length;
  for (const host of refused) {
    t.is(await statusOf(proxy, host), 421, `Host: ${host}`);
    const absolute = `http://${host}/queue/v1/x`;
    t.is(await statusOf(proxy, 'taskcluster', [], absolute), 421, absolute);
    t.is(await statusOf(proxy, host, [], '/__version__'), 421, `${host}/__version__`);
  }
  t.is(upstream.exchanges.length, before);
});

test('with --host the proxy serves a name, with --host * every name', async (t) => {
  const named = await start(t, ['--host', 'proxy.example.com', '--host', 'other.example.org']);
  t.is(await statusOf(named.proxy, 'proxy.example.com'), 200);
  t.is(await statusOf(named.proxy, 'PROXY.example.com:8080'), 200);
  t.is(await statusOf(named.proxy, 'other.example.org'), 200);
  t.is(await statusOf(named.proxy, 'sub.proxy.example.com'), 421);
  t.is(await statusOf(named.proxy, 'example.com'), 421);
  const all = await start(t, ['--host', '*']);
  t.is(await statusOf(all.proxy, 'evil.example.com'), 200);
});

/** A web server of another program on this machine: another origin, by its port. */
async function startForeignPage(t: ExecutionContext): Promise<string> {
  const server = http.createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<!doctype html><title>foreign</title><body></body>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://localhost:${(server.address() as AddressInfo).port}/`;
}

/** Answers every origin, as Taskcluster's services do. */
function answerAnyOrigin(upstream: Upstream): void {
  upstream.handler = async (exchange) => {
    await exchange.body();
    await exchange.respond(200, {
      fields: [
        ['Access-Control-Allow-Origin', '*'],
        ['Access-Control-Allow-Headers', '*'],
        ['Access-Control-Allow-Methods', '*'],
        ['Content-Type', 'text/html'],
      ],
      body: 'a secret',
    });
  };
}

/** Everything a page can try against another origin; each gives what it learnt. */
const ATTEMPTS = {
  fetch: (url: string) => fetch(`${url}/secrets/v1/secret/x`).then((answer) => answer.text()),
  'fetch without CORS': (url: string) =>
    fetch(`${url}/secrets/v1/secret/x`, { mode: 'no-cors' }).then((answer) => answer.text()),
  'simple POST': (url: string) =>
    fetch(`${url}/queue/v1/task/x/cancel`, { method: 'POST', body: '{}', mode: 'no-cors' }).then(
      (answer) => answer.text(),
    ),
  'PUT of credentials': (url: string) =>
    fetch(`${url}/credentials`, { method: 'PUT', body: '{}' }).then((answer) => answer.text()),
  'POST to /bewit': (url: string) =>
    fetch(`${url}/bewit`, { method: 'POST', body: 'https://example.com/', mode: 'no-cors' }).then(
      (answer) => answer.text(),
    ),
};

/** Source for the page: an image and a socket that the proxy would have to serve. */
const LOAD_AND_CONNECT = `async (target) => {
  const image = new Image();
  const socket = new WebSocket(target.replace('http', 'ws') + '/queue/v1/socket');
  await Promise.all([
    new Promise((resolve) => { socket.onopen = socket.onerror = resolve; }),
    new Promise((resolve) => {
      image.onload = image.onerror = resolve;
      image.src = target + '/queue/v1/image';
    }),
  ]);
}`;

/** Source for the page: a form that posts to the proxy. */
const SUBMIT_FORM = `(target) => {
  document.body.innerHTML = '<form method=post action="' + target + '/queue/v1/form"></form>';
  document.forms[0].submit();
}`;

testWith('chromium')("a page of another origin cannot spend the task's credentials", async (t) => {
  const { upstream, proxy } = await start(t);
  answerAnyOrigin(upstream);
  const browser = await launch(t);
  const page = await browser.newPage();
  await page.goto(await startForeignPage(t));
  for (const url of [proxy.url, `http://localhost:${proxy.port}`]) {
    for (const [what, attempt] of Object.entries(ATTEMPTS)) {
      const learnt = await page.evaluate(attempt, url).catch(() => 'refused by the browser');
      t.false(learnt.includes('secret'), `${what} learnt ${learnt}`);
    }
    await page.evaluate(`(${LOAD_AND_CONNECT})('${url}')`);
    // A form leaves the page, and its request comes from it all the same.
    const [answer] = await Promise.all([
      page.waitForNavigation(),
      page.evaluate(`(${SUBMIT_FORM})('${url}')`),
    ]);
    t.is(answer?.status(), 403);
    await page.goto(await startForeignPage(t));
  }
  t.deepEqual(
    upstream.exchanges.map(({ head }) => head.startLine),
    [],
  );
});

testWith('chromium')('a page whose name DNS rebinds to the proxy gets 421', async (t) => {
  const { upstream, proxy } = await start(t);
  answerAnyOrigin(upstream);
  const browser = await launch(t);
  const page = await browser.newPage();
  const answer = await page.goto(`http://rebound.example.com:${proxy.port}/secrets/v1/secret/x`);
  t.is(answer?.status(), 421);
  const learnt = await page
    .evaluate(() => fetch('/secrets/v1/secret/x').then((each) => each.text()))
    .catch(() => 'refused by the browser');
  t.false(learnt.includes('a secret'));
  t.is(upstream.exchanges.length, 0);
});

testWith('chromium')(
  "the proxy's own pages and a user who types its address are served",
  async (t) => {
    const { upstream, proxy } = await start(t);
    answerAnyOrigin(upstream);
    const browser = await launch(t);
    const page = await browser.newPage();
    const typed = await page.goto(`${proxy.url}/queue/v1/page`);
    t.is(typed?.status(), 200);
    const learnt = await page.evaluate(() =>
      fetch('/queue/v1/x', { method: 'POST', body: '{}' }).then((answer) => answer.text()),
    );
    t.is(learnt, 'a secret');
    upstream.handler = answerOk;
    upstream.assertAllSigned(t);
  },
);
