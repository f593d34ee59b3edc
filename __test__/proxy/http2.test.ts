// HTTP/2 by prior knowledge for clients, by ALPN for upstreams that offer it, and every mixture with
// HTTP/1.1.

import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import type { Connection } from '../harness/connection.js';
import { gate, PROMPT_MS, pause, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import {
  echoOverHttp2,
  Http2Client,
  type Http2Upstream,
  responseOf,
  startHttp2Upstream,
} from '../harness/http2.js';
import { startNginx } from '../harness/nginx.js';
import { startProxy } from '../harness/proxy.js';
import { testWith } from '../harness/tools.js';
import { answerOk, startUpstream } from '../harness/upstream.js';
import { names, value, values } from '../harness/wire.js';

const authority = await Authority.create();

/** HTTP/2 in, HTTP/1.1 out. */
async function startDown(t: ExecutionContext) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url });
  return { upstream, proxy, client: await Http2Client.connect(t, proxy.url) };
}

/** HTTP/2 out. */
async function startUp(t: ExecutionContext, flags: string[] = []) {
  const upstream = await startHttp2Upstream(t, await authority.issue(['localhost']));
  return { upstream, proxy: await startTo(t, upstream.url, flags) };
}

/** A proxy to an https upstream that is offered HTTP/2. */
function startTo(t: ExecutionContext, rootUrl: string, flags: string[] = []) {
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  return startProxy(t, { rootUrl, env: { SSL_CERT_FILE }, flags: ['--upstream-http2', ...flags] });
}

function assertAllSigned(t: ExecutionContext, { exchanges }: Http2Upstream) {
  const nonces = exchanges.map(({ signature }) => {
    if (signature instanceof Error) {
      throw signature;
    }
    return signature.nonce;
  });
  t.is(new Set(nonces).size, nonces.length, 'a nonce was used twice');
}

test('a prior-knowledge client is served from an HTTP/1.1 upstream', async (t) => {
  const { upstream, client } = await startDown(t);
  const path = '/queue/v1/a//b%2Fc;d/../?x=+&%252F';
  const answer = await client.request({ ':path': path, 'x-a': 'b', te: 'trailers' });
  t.is(answer.status, 200, answer.body.toString());
  t.is(answer.body.toString(), 'ok');
  t.is(upstream.last.target, `/api${path}`);
  t.is(value(upstream.last.fields, 'host'), `127.0.0.1:${upstream.port}`);
  t.is(value(upstream.last.fields, 'x-a'), 'b');
  t.deepEqual(
    names(upstream.last.fields).filter((name) => !['te', 'connection'].includes(name)),
    ['authorization', 'host', 'x-a'],
  );
  t.is(answer.headers['x-taskcluster-endpoint'], `${upstream.url}/api${path}`);
  t.is(answer.headers.connection, undefined);
  upstream.assertAllSigned(t);
});

test('cookie crumbs are put together again (RFC 9113, 8.2.3)', async (t) => {
  const { upstream, client } = await startDown(t);
  await client.request({ ':path': '/queue/v1/x', cookie: ['a=b', 'c=d', 'e=f'] });
  t.deepEqual(values(upstream.last.fields, 'cookie'), ['a=b; c=d; e=f']);
});

test('bodies pass with and without a length, trailers too', async (t) => {
  const { upstream, client } = await startDown(t);
  upstream.handler = async (exchange) => {
    const { bytes, trailers } = await exchange.body();
    await exchange.sendHead(200, {
      fields: [
        ['Transfer-Encoding', 'chunked'],
        ['Trailer', 'X-Sum'],
        ['Connection', 'X-Hop'],
        ['X-Hop', '1'],
        ['Keep-Alive', 'timeout=5'],
      ],
    });
    await exchange.chunk(bytes.toString('latin1'));
    await exchange.send(`0\r\nX-Sum: ${value(trailers, 'x-digest')}\r\n\r\n`);
  };
  const body = 'x'.repeat(300_000);
  const headers = { ':method': 'POST', ':path': '/queue/v1/x' };
  const counted = await client.request({ ...headers, 'content-length': body.length }, body);
  t.is(counted.body.toString(), body);
  t.is(upstream.last.framing, 'length');
  t.is(counted.headers['x-hop'], undefined);
  t.is(counted.headers['keep-alive'], undefined);

  const stream = client.session.request({ ...headers, trailer: 'x-digest', te: 'trailers' }, {
    waitForTrailers: true,
    endStream: false,
  } as http2.ClientSessionRequestOptions);
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-digest': 'abc' }));
  stream.end(body);
  const streamed = await within(responseOf(stream), 'an answer');
  t.is(upstream.last.framing, 'chunked');
  t.is(streamed.body.toString(), body);
  t.is(streamed.trailers['x-sum'], 'abc');
  upstream.assertAllSigned(t);
});

test('HEAD, 204 and 304 answers end without a body', async (t) => {
  const { upstream, client } = await startDown(t);
  const rows = [
    ['HEAD', 200],
    ['DELETE', 204],
    ['GET', 304],
  ] as const;
  for (const [method, status] of rows) {
    upstream.handler = (exchange) =>
      exchange.sendHead(status, { fields: status === 204 ? [] : [['Content-Length', '1234']] });
    const answer = await client.request({ ':method': method, ':path': '/queue/v1/x' });
    t.is(answer.status, status);
    t.is(answer.body.length, 0);
    t.is(answer.headers['content-length'], status === 204 ? undefined : '1234');
  }
});

test('the proxy answers its own endpoints over HTTP/2, too', async (t) => {
  const { upstream, client } = await startDown(t);
  const bewit = await client.request(
    { ':method': 'POST', ':path': '/bewit' },
    'https://example.com/x',
  );
  t.is(bewit.status, 303);
  const body = JSON.stringify({ clientId: 'tests/next', accessToken: 'x'.repeat(44) });
  const update = await client.request({ ':method': 'PUT', ':path': '/credentials' }, body);
  t.is(update.status, 200);
  const rows = [
    ['/nothing', 404],
    ['/queue', 404],
    ['/credentials', 405],
    ['/queue/v1/\xc3\xa9', 400],
  ] as const;
  for (const [path, status] of rows) {
    const answer = await client.request({ ':path': path });
    t.is(answer.status, status, path);
    t.is(answer.headers['x-taskcluster-proxy-perm-clientid'], 'tests/next');
  }
  t.is(upstream.exchanges.length, 0);
});

test('a request whose :authority is a public name gets 421', async (t) => {
  const { upstream, client } = await startDown(t);
  const refused = await client.request({
    ':path': '/queue/v1/x',
    ':authority': 'evil.example.com',
  });
  t.is(refused.status, 421);
  const allowed = await client.request({ ':path': '/queue/v1/x', ':authority': 'taskcluster' });
  t.is(allowed.status, 200);
  t.is(upstream.exchanges.length, 1);
});

test('each of a hundred streams at once gets its own answer', async (t) => {
  const { upstream, client } = await startDown(t);
  upstream.handler = async (exchange) => {
    const { bytes } = await exchange.body();
    await exchange.respond(200, { body: `${exchange.target} ${bytes}` });
  };
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, i) =>
      client.request({ ':method': 'POST', ':path': `/queue/v1/${i}` }, `body ${i}`),
    ),
  );
  for (const [i, { body }] of answers.entries()) {
    t.is(body.toString(), `/api/queue/v1/${i} body ${i}`);
  }
  upstream.assertAllSigned(t);
});

test('a stream that its client resets ends its upstream request, and no other', async (t) => {
  const { upstream, client } = await startDown(t);
  upstream.handler = async (exchange) => {
    if (exchange.target.endsWith('/held')) {
      await exchange.gone();
    } else {
      await answerOk(exchange);
    }
  };
  const arrived = upstream.next();
  const stream = client.open({ ':method': 'POST', ':path': '/queue/v1/held' });
  stream.on('error', () => {});
  const exchange = await arrived;
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await within(exchange.gone(), 'the end of the upstream request', PROMPT_MS);
  t.is((await client.request({ ':path': '/queue/v1/x' })).status, 200);
});

test('an upload that its client resets never becomes a whole one', async (t) => {
  const { upstream, client } = await startDown(t);
  const errors = [new DOMException('broken by the test', 'AbortError'), undefined];
  for (const error of Array.from({ length: 20 }, (_, i) => errors[i % 2])) {
    const ended = gate();
    upstream.handler = async (exchange) => {
      await t.throwsAsync(exchange.body());
      ended.open();
    };
    const arrived = upstream.next();
    const stream = client.open({ ':method': 'POST', ':path': '/queue/v1/x' });
    stream.on('error', () => {});
    stream.write('hello');
    await arrived;
    stream.destroy(error);
    await within(ended.opened, 'the end of the upstream request', PROMPT_MS);
  }
});

/** Requests that RFC 9113, 8.1.1 and 8.2, call malformed: fields, and the body if there is one. */
const MALFORMED: Record<string, [fields: [string, string][], body?: string]> = {
  'a Connection field': [[['connection', 'close']]],
  'a Transfer-Encoding field': [[['transfer-encoding', 'chunked']], '0\r\n\r\n'],
  'an Upgrade field': [[['upgrade', 'websocket']]],
  'TE other than trailers': [[['te', 'gzip']]],
  'a name in upper case': [[['X-Upper', '1']]],
  'a name with a space': [[['x y', '1']]],
  'a name with a colon': [[['x:y', '1']]],
  'a name with a line end': [[['x\r\ny', '1']]],
  'an empty name': [[['', '1']]],
  'a value with a line end': [[['x', 'a\r\nHost: evil']]],
  'a value with a bare LF': [[['x', 'a\nb']]],
  'a value with a NUL': [[['x', 'a\0b']]],
  'two paths': [[[':path', '/queue/v1/smuggled']]],
  'a body shorter than its length': [[['content-length', '10']], 'hello'],
  'a body longer than its length': [[['content-length', '2']], 'hello'],
  'a length of 2^63': [[['content-length', '9223372036854775808']], 'hello'],
  'two lengths': [
    [
      ['content-length', '5'],
      ['content-length', '6'],
    ],
    'hello',
  ],
};

test('a malformed request is refused and never becomes a whole one', async (t) => {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags: ['--retry-for', '0'] });
  const complete: string[] = [];
  upstream.handler = async (exchange) => {
    const { bytes } = await exchange.body();
    complete.push(`${exchange.target} ${bytes}`);
    await answerOk(exchange);
  };
  const failures: string[] = [];
  // Also where nothing of the request is needed for the answer but its target.
  const paths = ['/queue/v1/x', '/bewit', '/__heartbeat__', '/nothing'];
  const rows = Object.entries(MALFORMED).flatMap(([what, row]) =>
    paths.map((path) => ({ what: `${what} at ${path}`, path, row })),
  );
  for (const { what, path, row } of rows) {
    const [fields, body] = row;
    const connection = await proxy.connect();
    await connection.send(preface() + headersFrame(fields, body, path));
    // Apart, so that an answer which does not wait for the body is there before it.
    await pause(2);
    await connection.send(dataFrame(body));
    const outcome = await within(firstVerdict(connection), `a verdict on ${what}`);
    if (outcome === 'answered') {
      failures.push(`${what}: answered`);
    }
    failures.push(...complete.splice(0).map((whole) => `${what}: ${whole} reached upstream`));
    connection.destroy();
  }
  t.deepEqual(failures, []);
  t.is((await proxy.get('/queue/v1/after')).status, 200);
});

test('the client gets an answer that needs no body even if the body does not come', async (t) => {
  const { client } = await startDown(t);
  const stream = client.open({ ':method': 'POST', ':path': '/nothing', 'content-length': 5 });
  stream.on('error', () => {});
  const [headers] = await within(once(stream, 'response'), 'the answer');
  t.is(headers[':status'], 404);
  stream.destroy();
});

test('a content length that is repeated or has leading zeros goes upstream as one plain number', async (t) => {
  const { upstream, proxy } = await startDown(t);
  const length: [string, string] = ['content-length', '5'];
  for (const fields of [[length, length], [['content-length', '005'] as [string, string]]]) {
    const connection = await proxy.connect();
    await connection.send(preface() + headersFrame(fields, 'hello') + dataFrame('hello'));
    t.is(await within(firstVerdict(connection), 'a verdict'), 'answered');
    t.deepEqual(values(upstream.last.fields, 'content-length'), ['5']);
  }
});

test('a header block that never ends is given up after --header-timeout', async (t) => {
  const upstream = await startUpstream(t);
  const flags = ['--header-timeout', '1s'];
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  const socket = net.connect(proxy.port, '127.0.0.1');
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  const settings = '\x00\x00\x00\x04\x00\x00\x00\x00\x00';
  // HEADERS on stream 1 without END_HEADERS: `:method: GET` from the static table, and no more.
  const headers = '\x00\x00\x01\x01\x00\x00\x00\x00\x01\x82';
  socket.write(Buffer.from(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${settings}${headers}`, 'latin1'));
  socket.resume();
  await within(once(socket, 'close'), 'the end of the connection');
  t.is(upstream.exchanges.length, 0);
});

test('an HTTP/2 upstream gets what an HTTP/1.1 client sent', async (t) => {
  const { upstream, proxy } = await startUp(t);
  const target = '/queue/v1/a//b%2Fc;d/../?x=+&%252F';
  const answer = await proxy.request('POST', target, {
    fields: [
      ['Connection', 'X-Hop, keep-alive'],
      ['X-Hop', '1'],
      ['Keep-Alive', 'timeout=5'],
      ['Proxy-Connection', 'keep-alive'],
      ['X-Repeated', '1'],
      ['X-Repeated', '2'],
      ['Accept-Encoding', 'br'],
    ],
    body: 'hello',
  });
  t.is(answer.status, 200, answer.body.toString());
  t.is(answer.body.toString(), 'hello');
  t.is(value(answer.fields, 'x-taskcluster-endpoint'), `${upstream.url}/api${target}`);
  const { headers } = upstream.exchanges[0] ?? t.fail();
  t.is(headers[':path'], `/api${target}`);
  t.is(headers[':authority'], new URL(upstream.url).host);
  t.is(headers[':scheme'], 'https');
  t.deepEqual(Object.keys(headers).sort(), [
    ':authority',
    ':method',
    ':path',
    ':scheme',
    'accept-encoding',
    'authorization',
    'content-length',
    'x-repeated',
  ]);
  t.is(headers['x-repeated'], '1, 2');
  assertAllSigned(t, upstream);
});

test('an HTTP/2 client is served from an HTTP/2 upstream', async (t) => {
  const { upstream, proxy } = await startUp(t);
  const client = await Http2Client.connect(t, proxy.url);
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, i) =>
      client.request({ ':method': 'PUT', ':path': `/queue/v1/${i}` }, `${i} `.repeat(10_000)),
    ),
  );
  for (const [i, { status, body }] of answers.entries()) {
    t.is(status, 200);
    t.is(body.toString(), `${i} `.repeat(10_000));
  }
  assertAllSigned(t, upstream);
});

test('trailers pass from an HTTP/2 upstream to an HTTP/1.1 client', async (t) => {
  const { upstream, proxy } = await startUp(t);
  upstream.handler = ({ stream }) => {
    stream.respond({ ':status': 200, trailer: 'x-sum' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
    stream.end('hello');
  };
  const answer = await proxy.get('/queue/v1/x', [
    ['TE', 'trailers'],
    ['Connection', 'TE'],
  ]);
  t.is(answer.body.toString(), 'hello');
  t.is(value(answer.trailers, 'x-sum'), '42');
});

test('a stream that upstream refuses is sent again with a signature of its own', async (t) => {
  const { upstream, proxy } = await startUp(t, ['--retry-first', '20ms']);
  upstream.handler = async (exchange) => {
    if (upstream.exchanges.length === 1) {
      exchange.stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    } else {
      await echoOverHttp2(exchange);
    }
  };
  const answer = await proxy.request('POST', '/queue/v1/x', { body: 'hello' });
  t.is(answer.status, 200, answer.body.toString());
  t.is(answer.body.toString(), 'hello');
  t.is(upstream.exchanges.length, 2);
  assertAllSigned(t, upstream);
});

test('a connection that upstream ends with GOAWAY is replaced', async (t) => {
  const { upstream, proxy } = await startUp(t, ['--retry-for', '0']);
  t.is((await proxy.get('/queue/v1/1')).status, 200);
  for (const session of upstream.sessions) {
    session.close();
  }
  t.is((await proxy.get('/queue/v1/2')).status, 200);
  for (const session of upstream.sessions) {
    session.destroy();
  }
  t.is((await proxy.get('/queue/v1/3')).status, 200);
  assertAllSigned(t, upstream);
});

test('an HTTP/2 answer that breaks off is broken for both kinds of client', async (t) => {
  const { upstream, proxy } = await startUp(t);
  const client = await Http2Client.connect(t, proxy.url);
  const ways = {
    stream: new Error('broken by the test'),
    session: new Error('broken by the test'),
    // Resets that look like an end in good order.
    'stream, CANCEL': new DOMException('broken by the test', 'AbortError'),
    'stream, NO_ERROR': undefined,
  };
  const rows = Object.entries(ways).flatMap(([way, error]) =>
    [undefined, 10].map((length) => ({ way, error, length })),
  );
  for (const { way, error, length } of rows) {
    upstream.handler = ({ stream }) => {
      stream.respond({ ':status': 200, ...(length ? { 'content-length': length } : {}) });
      // `close` would end the stream in good order first.
      const broken = way === 'session' ? stream.session : stream;
      stream.write('hello', () => broken?.destroy(error));
    };
    const before = upstream.exchanges.length;
    const one = await t.throwsAsync(proxy.get('/queue/v1/x'), undefined, `${way} ${length}`);
    t.notRegex(one?.message ?? '', /did not come within/);
    const two = await t.throwsAsync(client.request({ ':path': '/queue/v1/x' }));
    t.is(two?.name, 'StreamBroken', `${way} ${length}`);
    t.is(upstream.exchanges.length, before + 2);
  }
});

test('a client that leaves resets its stream upstream within a second', async (t) => {
  const { upstream, proxy } = await startUp(t);
  upstream.handler = ({ stream }) => {
    stream.respond({ ':status': 200 });
    stream.write('hello');
  };
  const connection = await proxy.connect();
  await connection.send('GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n\r\n');
  await connection.reader.until('hello');
  const [exchange] = upstream.exchanges;
  const closed = once(exchange?.stream ?? t.fail(), 'close');
  connection.destroy();
  await within(closed, 'the end of the stream', PROMPT_MS);
  t.false(upstream.sessions[0]?.closed ?? true, 'the connection is kept for others');
});

test('the client gets 502 from an upstream of HTTP/2 alone, with the flag to give', async (t) => {
  const upstream = await startHttp2Upstream(t, await authority.issue(['localhost']));
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  const proxy = await startProxy(t, { rootUrl: upstream.url, env: { SSL_CERT_FILE } });
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 502);
  t.is(
    answer.body.toString(),
    `localhost:${new URL(upstream.url).port} speaks no protocol that it was offered (ALPN): ` +
      '--upstream-http2 offers HTTP/2 beside HTTP/1.1\n',
  );
});

testWith('nginx')('nginx is reached by HTTP/2 over TLS', async (t) => {
  const upstream = await startUpstream(t);
  const nginx = await startNginx(t, {
    leaf: await authority.issue(['localhost']),
    passTo: upstream.url,
    http2: true,
  });
  const proxy = await startTo(t, nginx.url);
  const client = await Http2Client.connect(t, proxy.url);
  const target = '/queue/v1/a//b%2Fc;d?x=+&%252F';
  const body = 'x'.repeat(500_000);
  upstream.handler = async (exchange) => {
    const { bytes } = await exchange.body();
    await exchange.respond(exchange.signature instanceof Error ? 401 : 200, { body: bytes });
  };
  const one = await proxy.request('POST', target, { body });
  t.is(one.status, 200);
  t.is(one.body.toString(), body);
  const two = await client.request({ ':method': 'POST', ':path': target }, body);
  t.is(two.status, 200);
  t.is(two.body.toString(), body);
  t.true(upstream.exchanges.every((exchange) => exchange.target === `/api${target}`));
  upstream.assertAllSigned(t);
});

function frame(type: number, flags: number, stream: number, payload: string): string {
  const length = payload.length;
  return String.fromCharCode(0, length >> 8, length & 255, type, flags, 0, 0, 0, stream) + payload;
}

function preface(): string {
  return `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${frame(4, 0, 0, '')}`;
}

/** HEADERS of stream 1 with fields that are literals without indexing (RFC 7541, 6.2.2). */
function headersFrame(
  fields: [string, string][],
  body: string | undefined,
  path = '/queue/v1/x',
): string {
  const request: [string, string][] = [
    [':method', 'POST'],
    [':scheme', 'http'],
    [':authority', 'taskcluster'],
    [':path', path],
  ];
  const pseudo = fields.filter(([name]) => name.startsWith(':'));
  const regular = fields.filter(([name]) => !name.startsWith(':'));
  const string = (text: string) => String.fromCharCode(text.length) + text;
  const block = [...request, ...pseudo, ...regular]
    .map(([name, each]) => `\0${string(name)}${string(each)}`)
    .join('');
  return frame(1, body === undefined ? 5 : 4, 1, block);
}

function dataFrame(body: string | undefined): string {
  return body === undefined ? '' : frame(0, 1, 1, body);
}

/** The verdict of the first frame about stream 1; a status of 400 counts as refused. */
async function firstVerdict({ reader }: Connection): Promise<'refused' | 'answered'> {
  try {
    for (;;) {
      const head = await reader.exactly(9);
      const payload = await reader.exactly(head.readUIntBE(0, 3));
      const type = head[3];
      if (type === 3 || type === 7) {
        return 'refused';
      }
      if (type === 1) {
        // The status comes first, behind changes of the table's size; index 12 of the static table is
        // `:status: 400` (RFC 7541 6.1, 6.3).
        const status = payload.find((byte) => byte >> 5 !== 1);
        return status === 0x8c ? 'refused' : 'answered';
      }
    }
  } catch {
    return 'refused';
  }
}

test('uploads that have stopped never stop another stream of their connection', async (t) => {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url });
  upstream.handler = async (exchange) => {
    if (exchange.target.endsWith('/stalled')) {
      // Not a byte of the body is read: the socket's buffers fill.
      exchange.connection.socket.pause();
      return exchange.gone();
    }
    const { bytes } = await exchange.body();
    await exchange.respond(200, { body: `${bytes.length}` });
  };
  // As much as Node keeps of what cannot be sent yet, in megabytes.
  const session = http2.connect(`http://127.0.0.1:${proxy.port}`, { maxSessionMemory: 200 });
  t.teardown(() => session.destroy());
  const post = (target: string) => session.request({ ':method': 'POST', ':path': target });
  const stalled = Array.from({ length: 5 }, () => post('/queue/v1/stalled'));
  for (const stream of stalled) {
    stream.on('error', () => {});
    stream.write(Buffer.alloc(16 * 1024 * 1024));
  }
  await upstream.nth(5);
  await pause(500);
  const other = post('/queue/v1/other');
  other.end(Buffer.alloc(200_000));
  const answer = await within(responseOf(other), 'the other answer');
  t.is(answer.body.toString(), '200000');
  for (const stream of stalled) {
    stream.destroy();
  }
});
