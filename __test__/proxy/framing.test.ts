// The limits of a message: truncated bodies, several requests in one packet, slow and large heads.
// `ambiguous.test.ts` has the messages that can be read in two ways.
import test, { type ExecutionContext } from 'ava';
import { PROMPT_MS, pause, within } from '../harness/deadline.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { answerOk, startUpstream, type Upstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

const SMUGGLED = 'GET /queue/v1/smuggled HTTP/1.1\r\nHost: taskcluster\r\n\r\n';

/** A POST with exactly these field lines and this body. */
function post(fields: string, body = ''): string {
  return `POST /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\n${fields}\r\n${body}`;
}

const CHUNKED = 'Transfer-Encoding: chunked\r\n';

async function start(t: ExecutionContext, flags: string[] = []) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  return { upstream, proxy };
}

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
    const since = Date.now();
    const connection = await proxy.connect();
    await connection.send(begun);
    const answer = await within(connection.closed(), 'its end', PROMPT_MS);
    return { begun, answer, elapsed: Date.now() - since };
  });
  for (const { begun, answer, elapsed } of await Promise.all(ends)) {
    if (!begun.startsWith('PRI')) {
      t.regex(answer.toString('latin1'), /^(HTTP\/1\.[01] 408 |$)/, JSON.stringify(begun));
    }
    t.true(elapsed >= 900, `${JSON.stringify(begun)} took ${elapsed} ms`);
  }
  t.is(upstream.exchanges.length, 0);
});

test('a head that keeps trickling is given up after --header-timeout', async (t) => {
  const { upstream, proxy } = await start(t, ['--header-timeout', '1s']);
  const connection = await proxy.connect();
  const trickle = setInterval(() => connection.socket.write('a'), 50);
  t.teardown(() => clearInterval(trickle));
  await connection.send('GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\nX-A: ');
  const answer = await within(connection.closed(), 'its end', PROMPT_MS);
  t.regex(answer.toString('latin1'), /^(HTTP\/1\.[01] 408 |$)/);
  t.is(upstream.exchanges.length, 0);
});

test('--header-timeout bounds neither an idle connection nor a slow body', async (t) => {
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

test('the proxy answers 502 for an upstream answer with uncertain framing', async (t) => {
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
    return (await connection.closed()).toString('latin1');
  } catch {
    return 'still open';
  } finally {
    connection.destroy();
  }
}

async function assertStillServes(t: ExecutionContext, proxy: RunningProxy, upstream: Upstream) {
  t.is((await proxy.get('/queue/v1/after')).status, 200);
  t.is(upstream.last.target, '/api/queue/v1/after');
}
