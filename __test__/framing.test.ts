// A message whose framing is not certain: refused, its connection closed, and nothing of it or of
// what follows it reaches upstream (RFC 9112, sections 2.2, 5.1, 6.3, 7.1 and 11.2).
import test, { type ExecutionContext } from 'ava';
import { pause, within } from './harness/deadline.js';
import { type RunningProxy, requestBytes, startProxy } from './harness/proxy.js';
import { answerOk, startUpstream, type Upstream } from './harness/upstream.js';
import { value, values } from './harness/wire.js';

const SMUGGLED = 'GET /queue/v1/smuggled HTTP/1.1\r\nHost: taskcluster\r\n\r\n';

/** A POST whose field lines and body are spelled out. */
function post(fields: string, body = ''): string {
  return `POST /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n${fields}\r\n${body}`;
}

const CHUNKED = 'Transfer-Encoding: chunked\r\n';

/** Heads that must be refused before anything of them goes upstream. */
const REFUSED_HEADS: Record<string, string> = {
  'Content-Length and Transfer-Encoding': post(`Content-Length: 5\r\n${CHUNKED}`, '0\r\n\r\n'),
  'Transfer-Encoding and Content-Length': post(`${CHUNKED}Content-Length: 5\r\n`, '0\r\n\r\n'),
  'two lengths that differ': post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello'),
  'a list of lengths that differ': post('Content-Length: 5, 6\r\n', 'hello'),
  'a length with a plus': post('Content-Length: +5\r\n', 'hello'),
  'a negative length': post('Content-Length: -5\r\n', 'hello'),
  'a hexadecimal length': post('Content-Length: 0x5\r\n', 'hello'),
  'a length with a letter': post('Content-Length: 5a\r\n', 'hello'),
  'a length with an underscore': post('Content-Length: 0_5\r\n', 'hello'),
  'a length with a fraction': post('Content-Length: 5.0\r\n', 'hello'),
  'an empty length': post('Content-Length:\r\n', 'hello'),
  'a length over 64 bits': post('Content-Length: 18446744073709551621\r\n', 'hello'),
  'a length of 2^63': post('Content-Length: 9223372036854775808\r\n', 'hello'),
  'chunked twice': post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'),
  'chunked twice by two fields': post(`${CHUNKED}${CHUNKED}`, '0\r\n\r\n'),
  'chunked not last': post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n'),
  'a coding before chunked': post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'),
  identity: post('Transfer-Encoding: identity\r\n', 'hello'),
  'an unknown coding': post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
  'chunked with a parameter': post('Transfer-Encoding: chunked;q=1\r\n', '0\r\n\r\n'),
  'chunked in quotes': post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'),
  'chunked after a vertical tab': post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'),
  'an empty coding': post('Transfer-Encoding:\r\n', 'hello'),
  'a bare LF after a field': post('X-A: b\nContent-Length: 5\r\n', 'hello'),
  'bare LFs only': 'GET /queue/v1/x HTTP/1.1\nHost: taskcluster\n\n',
  'a bare LF at the end of the head': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n\n',
  'a bare LF after the request line': 'GET /queue/v1/x HTTP/1.1\nHost: taskcluster\r\n\r\n',
  'a bare CR in a value': post('X-A: b\rContent-Length: 5\r\n', 'hello'),
  'a bare CR in the request line': 'GET /queue/v1/x\r HTTP/1.1\r\nHost: taskcluster\r\n\r\n',
  'a CR before the line end': post('X-A: b\r\r\n'),
  'a NUL in a value': post('X-A: b\0c\r\n'),
  'a folded line': post('X-A: b\r\n c\r\n'),
  'a folded line with a tab': post('X-A: b\r\n\tc\r\n'),
  'a folded Transfer-Encoding': post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'),
  'a space before the first field': 'GET /queue/v1/x HTTP/1.1\r\n Host: taskcluster\r\n\r\n',
  'a space before the colon': post('Content-Length : 5\r\n', 'hello'),
  'a tab before the colon': post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n'),
  'a space in a name': post('Content Length: 5\r\n', 'hello'),
  'a line without a colon': post('Content-Length\r\n', 'hello'),
  'an empty name': post(': 5\r\n', 'hello'),
  'a name above 0x7F': post('Content-Length\xa0: 5\r\n', 'hello'),
  'no Host': 'GET /queue/v1/x HTTP/1.1\r\nX-A: b\r\n\r\n',
  'two Hosts': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\nHost: taskcluster\r\n\r\n',
  'a Host with a path': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster/x\r\n\r\n',
  'a Host with a user': 'GET /queue/v1/x HTTP/1.1\r\nHost: me@taskcluster\r\n\r\n',
  'a Host with a space': 'GET /queue/v1/x HTTP/1.1\r\nHost: task cluster\r\n\r\n',
  'two spaces after the method': 'GET  /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n\r\n',
  'two spaces before the version': 'GET /queue/v1/x  HTTP/1.1\r\nHost: taskcluster\r\n\r\n',
  'a tab in the request line': 'GET\t/queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n\r\n',
  'a space in the target': 'GET /queue/v1/x y HTTP/1.1\r\nHost: taskcluster\r\n\r\n',
  'no version': 'GET /queue/v1/x\r\nHost: taskcluster\r\n\r\n',
  'a space before the method': ' GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n\r\n',
  'a method that is no token': 'G(T /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n\r\n',
  'a version in lower case': 'GET /queue/v1/x http/1.1\r\nHost: taskcluster\r\n\r\n',
  'chunked in HTTP/1.0': `POST /queue/v1/x HTTP/1.0\r\nHost: taskcluster\r\n${CHUNKED}\r\n0\r\n\r\n`,
};

/** Bodies that break off the message they belong to, whose head was right. */
const REFUSED_CHUNKS: Record<string, string> = {
  'no size': '\r\nhello\r\n0\r\n\r\n',
  'a size that is no number': 'g\r\nhello\r\n0\r\n\r\n',
  'a negative size': '-5\r\nhello\r\n0\r\n\r\n',
  'a size with a plus': '+5\r\nhello\r\n0\r\n\r\n',
  'a size with 0x': '0x5\r\nhello\r\n0\r\n\r\n',
  'a space before the size': ' 5\r\nhello\r\n0\r\n\r\n',
  'a size over 64 bits': '10000000000000005\r\nhello\r\n0\r\n\r\n',
  'a bare LF after the size': '5\nhello\r\n0\r\n\r\n',
  'a bare CR after the size': '5\rhello\r\n0\r\n\r\n',
  'a bare LF after the data': '5\r\nhello\n0\r\n\r\n',
  'data longer than its size': '5\r\nhello!\r\n0\r\n\r\n',
  'a bare LF in an extension': '5;a=b\nc\r\nhello\r\n0\r\n\r\n',
  'a bare LF after the last size': '5\r\nhello\r\n0\n\n',
  'a bare LF after a trailer': '5\r\nhello\r\n0\r\nX-A: b\n\n',
  'a trailer without a colon': '5\r\nhello\r\n0\r\nX-A\r\n\r\n',
};

async function start(t: ExecutionContext, flags: string[] = []) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  return { upstream, proxy };
}

test('a head whose framing is not certain gets 400 and a closed connection', async (t) => {
  const { upstream, proxy } = await start(t);
  const failures: string[] = [];
  for (const [what, head] of Object.entries(REFUSED_HEADS)) {
    const before = upstream.exchanges.length;
    const answer = await sendAndWatchItClose(proxy, head + SMUGGLED);
    const statuses = answer.match(/HTTP\/1\.[01] \d+/g) ?? [answer];
    if (statuses.length !== 1 || !statuses[0]?.endsWith(' 400')) {
      failures.push(`${what}: ${statuses.join(', ')}`);
    }
    for (const { head: reached } of upstream.exchanges.slice(before)) {
      failures.push(`${what}: ${reached.startLine} reached upstream`);
    }
  }
  t.deepEqual(failures, []);
  await assertStillServes(t, proxy, upstream);
});

test('a chunked body that breaks its rules never becomes a whole request', async (t) => {
  const { upstream, proxy } = await start(t, ['--retry-for', '0']);
  const complete: string[] = [];
  upstream.handler = async (exchange) => {
    const { bytes } = await exchange.body();
    complete.push(`${exchange.target} ${bytes}`);
    await answerOk(exchange);
  };
  const failures: string[] = [];
  for (const [what, body] of Object.entries(REFUSED_CHUNKS)) {
    const answer = await sendAndWatchItClose(proxy, post(CHUNKED, body) + SMUGGLED);
    if (!/^(HTTP\/1\.[01] 400 |$)/.test(answer)) {
      failures.push(`${what}: ${answer.slice(0, 20)}`);
    }
    failures.push(...complete.splice(0).map((whole) => `${what}: ${whole} reached upstream`));
  }
  t.deepEqual(failures, []);
  await assertStillServes(t, proxy, upstream);
});

test('a body that is cut off never becomes a whole request', async (t) => {
  const { upstream, proxy } = await start(t, ['--retry-for', '0']);
  let complete = 0;
  upstream.handler = async (exchange) => {
    await exchange.body();
    complete += 1;
    await answerOk(exchange);
  };
  const bodies = [post('Content-Length: 10\r\n', 'hello'), post(CHUNKED, '5\r\nhello\r\n')];
  for (const cut of bodies) {
    for (const leave of ['end', 'reset'] as const) {
      const connection = await proxy.connect();
      const arrived = upstream.next();
      await connection.send(cut);
      const exchange = await arrived;
      connection[leave]();
      await within(exchange.gone(), `the end of the upstream request (${leave})`);
      connection.destroy();
    }
  }
  t.is(complete, 0);
});

test('equal lengths repeated are one length, or refused', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const fields of ['Content-Length: 5\r\nContent-Length: 5\r\n', 'Content-Length: 5, 5\r\n']) {
    const before = upstream.exchanges.length;
    const answer = await proxy.exchange(post(fields, 'hello'));
    if (answer.status === 400) {
      t.is(upstream.exchanges.length, before);
    } else {
      t.is(answer.status, 200);
      t.deepEqual(values(upstream.last.fields, 'content-length'), ['5']);
      t.is((await upstream.last.body()).bytes.toString(), 'hello');
    }
  }
});

test('a length goes out in plain decimal', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const length of ['005', ' 5\t']) {
    t.is((await proxy.exchange(post(`Content-Length:${length}\r\n`, 'hello'))).status, 200);
    t.deepEqual(values(upstream.last.fields, 'content-length'), ['5']);
    t.is((await upstream.last.body()).bytes.toString(), 'hello');
  }
});

test('pipelined requests are answered in their order', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    const { bytes } = await exchange.body();
    await exchange.respond(200, { body: `${exchange.method} ${exchange.target} ${bytes}` });
  };
  const connection = await proxy.connect();
  const host = 'Host: taskcluster\r\n';
  await connection.send(
    [
      `GET /queue/v1/1 HTTP/1.1\r\n${host}\r\n`,
      `POST /queue/v1/2 HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello`,
      `POST /queue/v1/3 HTTP/1.1\r\n${host}${CHUNKED}\r\n3;a="b"\r\nchu\r\n004\r\nnked\r\n0\r\nX-T: 1\r\n\r\n`,
      `\r\nGET /queue/v1/4 HTTP/1.1\r\n${host}\r\n`,
      `PUT /queue/v1/5 HTTP/1.1\r\n${host}Content-Length: 0\r\n\r\n`,
      `GET /nothing HTTP/1.1\r\n${host}\r\n`,
      `GET /queue/v1/7 HTTP/1.1\r\n${host}Connection: close\r\n\r\n`,
      SMUGGLED,
    ].join(''),
  );
  const answers: string[] = [];
  for (let count = 0; count < 7; count += 1) {
    const { status, body } = await connection.response();
    answers.push(status === 200 ? body.toString() : String(status));
  }
  t.deepEqual(answers, [
    'GET /api/queue/v1/1 ',
    'POST /api/queue/v1/2 hello',
    'POST /api/queue/v1/3 chunked',
    'GET /api/queue/v1/4 ',
    'PUT /api/queue/v1/5 ',
    '404',
    'GET /api/queue/v1/7 ',
  ]);
  t.is((await connection.closed()).length, 0);
  t.is(upstream.exchanges.length, 6);
  upstream.assertAllSigned(t);
});

test('a head that comes byte by byte is served', async (t) => {
  const { proxy } = await start(t);
  const connection = await proxy.connect();
  for (const byte of requestBytes('POST', '/queue/v1/x', { body: 'hello' }).toString('latin1')) {
    await connection.send(byte);
  }
  t.is((await connection.response()).status, 200);
});

test('a slow head is given up after --header-timeout', async (t) => {
  const { upstream, proxy } = await start(t, ['--header-timeout', '1s']);
  const starts = [
    '',
    'G',
    'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  ];
  const ends = starts.map(async (begun) => {
    const connection = await proxy.connect();
    const since = Date.now();
    await connection.send(begun);
    const answer = await connection.closed(10_000);
    return { begun, answer, elapsed: Date.now() - since };
  });
  for (const { begun, answer, elapsed } of await Promise.all(ends)) {
    if (!begun.startsWith('PRI')) {
      t.regex(answer.toString('latin1'), /^(HTTP\/1\.[01] 408 |$)/, JSON.stringify(begun));
    }
    t.true(elapsed >= 900 && elapsed < 5000, `${JSON.stringify(begun)} took ${elapsed} ms`);
  }
  t.is(upstream.exchanges.length, 0);
});

test('a head that keeps trickling is given up after --header-timeout', async (t) => {
  const { upstream, proxy } = await start(t, ['--header-timeout', '1s']);
  const connection = await proxy.connect();
  const since = Date.now();
  const trickle = setInterval(() => connection.socket.write('a'), 50);
  t.teardown(() => clearInterval(trickle));
  await connection.send('GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\nX-A: ');
  const answer = await connection.closed(10_000);
  t.regex(answer.toString('latin1'), /^(HTTP\/1\.[01] 408 |$)/);
  t.true(Date.now() - since < 5000);
  t.is(upstream.exchanges.length, 0);
});

test('an idle connection and a slow body are no slow head', async (t) => {
  const { upstream, proxy } = await start(t, ['--header-timeout', '1s']);
  const connection = await proxy.connect();
  t.is((await connection.exchange(requestBytes('GET', '/queue/v1/1'))).status, 200);
  // Longer than the timeout: that time passes is what is tested.
  await pause(1500);
  await connection.send(post('Content-Length: 5\r\n', 'he'));
  await pause(1500);
  await connection.send('llo');
  t.is((await connection.response('POST')).status, 200);
  t.is((await upstream.last.body()).bytes.toString(), 'hello');
});

test('heads up to 64 KiB pass, larger ones get 431', async (t) => {
  const { upstream, proxy } = await start(t);
  const large = 'x'.repeat(60 * 1024);
  const passes = await proxy.get('/queue/v1/large', [['X-Large', large]]);
  t.is(passes.status, 200);
  t.is(value(upstream.last.fields, 'x-large'), large);

  const many = Array.from({ length: 500 }, (_, i): [string, string] => [`X-${i}`, 'a value']);
  t.is((await proxy.get('/queue/v1/many', many)).status, 200);
  t.is(upstream.last.fields.filter(([name]) => /^x-\d+$/i.test(name)).length, 500);

  const before = upstream.exchanges.length;
  const refusals = [
    requestBytes('GET', '/queue/v1/x', { fields: [['X-Large', 'x'.repeat(66 * 1024)]] }),
    requestBytes('GET', `/queue/v1/${'x'.repeat(70 * 1024)}`),
    // Without an end: the answer comes before the head does.
    `GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n${'X-A: b\r\n'.repeat(9000)}`,
  ];
  for (const bytes of refusals) {
    const answer = await sendAndWatchItClose(proxy, bytes);
    t.regex(answer, /^HTTP\/1\.1 (431|414) /);
  }
  t.is(upstream.exchanges.length, before);
  await assertStillServes(t, proxy, upstream);
});

test('an answer whose framing is not certain is 502', async (t) => {
  const { upstream, proxy } = await start(t, ['--retry-for', '0']);
  const answers: Record<string, string> = {
    'two lengths that differ': 'Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
    'no number': 'Content-Length: five\r\n\r\nhello',
    'a NUL in a value': 'X-A: b\0c\r\nContent-Length: 5\r\n\r\nhello',
  };
  for (const [what, rest] of Object.entries(answers)) {
    upstream.handler = async (exchange) => {
      await exchange.send(`HTTP/1.1 200 OK\r\n${rest}`);
      exchange.connection.end();
    };
    t.is((await proxy.get('/queue/v1/x')).status, 502, what);
  }
});

/** Everything that came back until the proxy closed the connection. */
async function sendAndWatchItClose(proxy: RunningProxy, bytes: string | Buffer): Promise<string> {
  const connection = await proxy.connect();
  try {
    // The proxy may close while this is still being sent.
    await connection.send(bytes).catch(() => {});
    return (await connection.closed(5000)).toString('latin1');
  } catch {
    return 'still open after 5 s';
  } finally {
    connection.destroy();
  }
}

async function assertStillServes(t: ExecutionContext, proxy: RunningProxy, upstream: Upstream) {
  t.is((await proxy.get('/queue/v1/after')).status, 200);
  t.is(upstream.last.target, '/api/queue/v1/after');
}
