// The upstream of each request. Upstream receives, and the signature covers, exactly the client's bytes.
import test from 'ava';
import type { RawResponse } from '../harness/connection.js';
import { startProxy } from '../harness/proxy.js';
import { startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

/** One proxy in front of one upstream for a table of requests. */
async function start(t: Parameters<typeof startUpstream>[0], flags: string[] = []) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  return { upstream, proxy };
}

const LONG_QUERY = `q=${'x%20+/;~'.repeat(1024)}`;

/** Path and query after `/api/`, which upstream must receive as they stand. */
const KEPT = [
  'queue/v1/task/abc',
  'queue/v1/',
  'queue/v1/task/abc/',
  'queue/v1//task',
  'queue/v1/task//abc//',
  'queue/v1/a%2Fb',
  'queue/v1/a%2fb',
  'queue/v1/a%252Fb',
  'queue/v1/a;b;c=d',
  'queue/v1/a+b',
  'queue/v1/a%20b',
  'queue/v1/./a/../b/.',
  'queue/v1/../../secrets/v1/secret/x',
  'queue/v1/%2e%2e/%2E%2E/x',
  'queue/v1/a?',
  'queue/v1/?',
  'queue/v1/a?b?c?',
  'queue/v1/a?x=1&x=2&&=&y',
  'queue/v1/a?u=http://example.com/%3Fq%3D1',
  'queue/v1/a?bewit=bm90IGEgYmV3aXQ',
  "queue/v1/!$&'()*+,;=:@-._~",
  'queue/v1/%00%0D%0A%FF',
  'queue/v1/a:b@c',
  `queue/v1/a?${LONG_QUERY}`,
  'some-service/v1beta1/x',
  'api/v1/x',
  'bewitness/v1/x',
  'credentials-store/v1/x',
];

test('a path goes out byte for byte and is signed as it stands', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const rest of KEPT) {
    // `/api/...` is itself a prefix, so a service of that name is reached by the long form only.
    const forms = rest.startsWith('api/') ? [`/api/${rest}`] : [`/${rest}`, `/api/${rest}`];
    for (const target of forms) {
      const answer = await proxy.get(target);
      t.is(answer.status, 200, `${target}: ${answer.body}`);
      t.is(upstream.last.target, `/api/${rest}`);
      t.is(value(answer.fields, 'x-taskcluster-endpoint'), `${upstream.url}/api/${rest}`);
    }
  }
  upstream.assertAllSigned(t);
});

test('a target with bytes that it must not hold gets 400, or goes upstream as it came', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const odd of ['"', '<', '>', '\\', '^', '`', '{', '|', '}', '%', '%zz', '%4', '[', ']']) {
    for (const rest of [`a${odd}b`, `a?b=${odd}`]) {
      const before = upstream.exchanges.length;
      const { status } = await proxy.get(`/queue/v1/${rest}`);
      if (status === 400) {
        t.is(upstream.exchanges.length, before);
      } else {
        t.is(status, 200, rest);
        t.is(upstream.last.target, `/api/queue/v1/${rest}`);
      }
    }
  }
  upstream.assertAllSigned(t);
});

test('a raw #, a control byte and a byte above 0x7F are refused', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const odd of ['#', '#b', '\x80', '\xff', '\xc3\xa9', '\x01', '\x7f', '\x0b']) {
    for (const target of [`/queue/v1/a${odd}`, `/queue/v1/a?b=${odd}`, `/${odd}queue/v1/a`]) {
      const answer = await proxy.get(target);
      t.is(answer.status, 400, JSON.stringify(target));
      assertSentence(t, answer);
    }
  }
  t.is(upstream.exchanges.length, 0);
});

test('a target that matches no row of the table gets 404 with one sentence', async (t) => {
  const { upstream, proxy } = await start(t);
  const longLabel = 'a'.repeat(64);
  const targets = [
    '/',
    '//',
    '//x',
    '///',
    '//queue/v1/x',
    '/queue',
    '/queue?x=1',
    '/queue/',
    '/queue/v1',
    '/queue/v1?x=1',
    '/queue//x',
    '/queue//',
    '/api',
    '/api/',
    '/api/queue',
    '/api/queue/v1',
    '/api//v1/x',
    '/api/queue//x',
    '/x@/',
    '/x@/v1/y',
    '/bewit/x',
    '/bewit/',
    '/credentials/',
    '/credentials/x',
    '/__version__/',
    '/__heartbeat__/x',
    '/foo..bar/v1/x',
    '/-foo.bar/v1/x',
    '/foo-.bar/v1/x',
    '/foo.bar-/v1/x',
    '/foo.bar./v1/x',
    '/.foo.bar/v1/x',
    '/./v1/x',
    '/../v1/x',
    '/foo_bar.com/v1/x',
    '/foo.com:8443/v1/x',
    '/user@foo.com/v1/x',
    '/foo%2Ecom/v1/x',
    `/${longLabel}.com/v1/x`,
  ];
  for (const target of targets) {
    const answer = await proxy.get(target);
    t.is(answer.status, 404, target);
    assertSentence(t, answer);
    t.is(value(answer.fields, 'x-taskcluster-endpoint'), undefined);
    t.is(value(answer.fields, 'x-taskcluster-proxy-perm-clientid'), 'tests/permanent');
  }
  t.is(upstream.exchanges.length, 0);
});

test("the proxy's own endpoints answer a wrong method with 405 and Allow", async (t) => {
  const { upstream, proxy } = await start(t);
  const rows = [
    ['GET', '/bewit', 'POST'],
    ['PUT', '/bewit', 'POST'],
    ['GET', '/credentials', 'PUT'],
    ['POST', '/credentials', 'PUT'],
    ['DELETE', '/credentials', 'PUT'],
    ['POST', '/__version__', 'GET'],
    ['PUT', '/__metrics__', 'GET'],
  ] as const;
  for (const [method, target, allowed] of rows) {
    const answer = await proxy.request(method, target);
    t.is(answer.status, 405, `${method} ${target}`);
    const allow = value(answer.fields, 'allow')?.split(/, */) ?? [];
    t.true(allow.includes(allowed), `${method} ${target}: Allow is ${allow}`);
    assertSentence(t, answer);
  }
  t.is(upstream.exchanges.length, 0);
});

test('a method goes out as it came', async (t) => {
  const { upstream, proxy } = await start(t);
  const methods = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'get', 'X-!#$'];
  for (const method of methods) {
    const answer = await proxy.request(method, '/queue/v1/x');
    t.is(answer.status, 200, method);
    t.is(upstream.last.method, method);
  }
  upstream.assertAllSigned(t);
});

test('an absolute target routes by its path', async (t) => {
  const { upstream, proxy } = await start(t);
  const rows = [
    ['http://taskcluster/queue/v1/a//b?', '/api/queue/v1/a//b?'],
    ['http://127.0.0.1:8080/api/queue/v1/%2F', '/api/queue/v1/%2F'],
    ['HTTP://taskcluster:80/queue/v1/a?b', '/api/queue/v1/a?b'],
  ] as const;
  for (const [target, expected] of rows) {
    const answer = await proxy.get(target);
    t.is(answer.status, 200, target);
    t.is(upstream.last.target, expected);
  }
  for (const target of ['http://taskcluster', 'http://taskcluster/', 'http://taskcluster?x']) {
    t.is((await proxy.get(target)).status, 404, target);
  }
  upstream.assertAllSigned(t);
});

test('OPTIONS * gets 400 and CONNECT 405', async (t) => {
  const { upstream, proxy } = await start(t);
  const asterisk = await proxy.request('OPTIONS', '*');
  t.is(asterisk.status, 400);
  assertSentence(t, asterisk);
  for (const authority of ['queue.example.com:443', '127.0.0.1:80']) {
    const connect = await proxy.exchange(
      `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n\r\n`,
    );
    t.is(connect.status, 405);
    t.not(value(connect.fields, 'allow'), undefined);
    assertSentence(t, connect);
  }
  t.is(upstream.exchanges.length, 0);
});

test('a client of HTTP/1.0 without Host gets its answer and the end of its connection', async (t) => {
  const { upstream, proxy } = await start(t);
  const connection = await proxy.connect();
  const answer = await connection.exchange('GET /queue/v1/old HTTP/1.0\r\n\r\n');
  t.is(answer.status, 200);
  t.is(answer.body.toString(), 'ok');
  t.is((await connection.closed()).length, 0);
  t.is(upstream.last.target, '/api/queue/v1/old');
  upstream.assertAllSigned(t);
});

test('a root URL may carry a trailing slash, an upper-case name and an IPv6 address', async (t) => {
  const v6 = await startUpstream(t, { host: '::1' });
  const v4 = await startUpstream(t);
  const rows = [
    [v4, `${v4.url}/`],
    [v4, `HTTP://LOCALHOST:${v4.port}`],
    [v6, v6.url],
  ] as const;
  for (const [upstream, rootUrl] of rows) {
    const proxy = await startProxy(t, { rootUrl });
    const answer = await proxy.get('/queue/v1/x');
    t.is(answer.status, 200, `${rootUrl}: ${answer.body}`);
    t.is(upstream.last.target, '/api/queue/v1/x');
    upstream.assertAllSigned(t);
  }
});

/** A body of one line that a person can read. */
function assertSentence(
  t: { regex: (text: string, pattern: RegExp) => void },
  { body }: RawResponse,
) {
  t.regex(body.toString(), /^\S[^\n]{8,}\n?$/);
}
