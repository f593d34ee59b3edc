// Which requests the proxy tries again, when, with which body and signature, and which answers are final.

import { once } from 'node:events';
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { gate, PROMPT_MS, pause, STILL_MS, until, within } from '../harness/deadline.js';
import { unusedPort } from '../harness/port.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { answerOk, type Handler, refuse, startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

const QUICK = ['--retry-first', '20ms', '--retry-cap', '100ms', '--retry-for', '60s'];
const NEVER = ['--retry-for', '0'];
const HOUR_MS = 3_600_000;

async function start(t: ExecutionContext, flags: string[], handler?: Handler) {
  const upstream = await startUpstream(t, handler ? { handler } : {});
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  return { upstream, proxy };
}

/** Answers with these statuses in turn and judges the signature after the last. */
function inTurn(...statuses: number[]): Handler {
  let count = 0;
  return async (exchange) => {
    await exchange.body();
    const status = statuses[count];
    count += 1;
    await (status === undefined
      ? answerOk(exchange)
      : exchange.respond(status, { body: `answer ${count}` }));
  };
}

test('5xx answers are tried again, each signed afresh, with the whole body', async (t) => {
  for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
    const { upstream, proxy } = await start(t, QUICK, inTurn(500, 502, 503, 504, 599));
    const body = method === 'GET' ? undefined : 'x'.repeat(100_000);
    const answer = await proxy.request(method, '/queue/v1/x?y', body ? { body } : {});
    t.is(answer.status, 200, method);
    t.is(answer.body.toString(), 'ok');
    t.is(upstream.exchanges.length, 6);
    for (const exchange of upstream.exchanges) {
      t.is((await exchange.body()).bytes.toString(), body ?? '');
      t.is(exchange.target, '/api/queue/v1/x?y');
    }
    upstream.assertAllSigned(t);
  }
});

test('a chunked body is sent again with its trailers', async (t) => {
  const { upstream, proxy } = await start(t, QUICK, inTurn(503));
  const answer = await proxy.exchange(
    'POST /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\nTrailer: X-Digest\r\n' +
      'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Digest: abc\r\n\r\n',
  );
  t.is(answer.status, 200);
  for (const exchange of upstream.exchanges) {
    const body = await exchange.body();
    t.is(body.bytes.toString(), 'hello world');
    t.is(value(body.trailers, 'x-digest'), 'abc');
  }
  t.is(upstream.exchanges.length, 2);
});

test('4xx, 3xx and 2xx answers are final', async (t) => {
  const { upstream, proxy } = await start(t, QUICK);
  for (const status of [204, 302, 400, 401, 403, 404, 408, 409, 423, 429, 499]) {
    upstream.handler = (exchange) => exchange.respond(status);
    const before = upstream.exchanges.length;
    t.is((await proxy.get('/queue/v1/x')).status, status);
    t.is(upstream.exchanges.length, before + 1, String(status));
  }
});

test('--retry-for 0 makes the first answer the last', async (t) => {
  const { upstream, proxy } = await start(t, NEVER, inTurn(503));
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 503);
  t.is(answer.body.toString(), 'answer 1');
  t.is(upstream.exchanges.length, 1);
});

test('the client gets the last answer as it is once --retry-for is over', async (t) => {
  const { upstream, proxy } = await start(t, ['--retry-first', '20ms', '--retry-for', '2s']);
  upstream.handler = (exchange) =>
    exchange.respond(503, {
      reason: 'Still Down',
      fields: [['X-Try', String(upstream.exchanges.length)]],
      body: 'down',
    });
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 503);
  t.is(answer.reason, 'Still Down');
  t.is(value(answer.fields, 'x-try'), String(upstream.exchanges.length));
  t.is(answer.body.toString(), 'down');
  t.true(upstream.exchanges.length > 1);
});

/** The pauses that the log names, which a busy machine can only make longer. */
async function saidPauses(proxy: RunningProxy, count: number): Promise<number[]> {
  const said = () =>
    [...proxy.log.matchAll(/Retrying \S+ in (\d+) ms/g)].map(([, each]) => Number(each));
  await until(() => said().length === count, `${count} tries in the log`);
  return said();
}

test('pauses grow by half each time and stay under their cap', async (t) => {
  const flags = ['--retry-first', '100ms', '--retry-cap', '200ms', '--retry-for', '30s'];
  const { upstream, proxy } = await start(t, flags, inTurn(503, 503, 503, 503, 503));
  t.is((await proxy.get('/queue/v1/x')).status, 200);
  const at = upstream.exchanges.map((exchange) => exchange.at);
  const pauses = at.slice(1).map((each, i) => each - (at[i] ?? 0));
  const said = await saidPauses(proxy, 5);
  // 100, 150, 200, 200, 200 ms, each with a jitter of a half both ways.
  for (const [i, base] of [100, 150, 200, 200, 200].entries()) {
    const [pause = 0, took = 0] = [said[i], pauses[i]];
    t.true(pause >= base / 2 - 1 && pause <= base * 1.5 + 1, `pause ${i} is ${pause} ms`);
    t.true(took >= pause - 5, `pause ${i} of ${pause} ms took ${took} ms`);
  }
});

/** A request with a Retry-After in its first answer: the logged pause, and each try. */
async function retriedAfter(t: ExecutionContext, retryAfter: () => string) {
  const { upstream, proxy } = await start(t, QUICK);
  upstream.handler = (exchange) =>
    upstream.exchanges.length === 1
      ? exchange.respond(503, { fields: [['Retry-After', retryAfter()]] })
      : answerOk(exchange);
  t.is((await proxy.get('/queue/v1/x')).status, 200);
  const [said = 0] = await saidPauses(proxy, 1);
  const [first = 0, second = 0] = upstream.exchanges.map((exchange) => exchange.at);
  return { said, first, second };
}

test('Retry-After sets the pause, in seconds', async (t) => {
  const { said, first, second } = await retriedAfter(t, () => '1');
  t.is(said, 1000);
  t.true(second - first >= 995, `paused ${second - first} ms`);
});

test('Retry-After sets the pause, as a date', async (t) => {
  let date = '';
  const { said, first, second } = await retriedAfter(t, () => {
    date = new Date(Date.now() + 2000).toUTCString();
    return date;
  });
  t.true(said <= 2000, `said ${said} ms`);
  t.true(second - first >= said - 5, `paused ${second - first} ms`);
  t.true(Date.now() >= Date.parse(date) - 5, 'it came too early');
});

test('a Retry-After beyond the time left makes the answer final', async (t) => {
  const { upstream, proxy } = await start(t, QUICK);
  upstream.handler = (exchange) =>
    exchange.respond(503, { fields: [['Retry-After', '61']], body: 'later' });
  const answer = await within(proxy.get('/queue/v1/x'), 'the answer');
  t.is(answer.status, 503);
  t.is(value(answer.fields, 'retry-after'), '61');
  t.is(answer.body.toString(), 'later');
  t.is(upstream.exchanges.length, 1);
});

test('connections that break before an answer are tried again', async (t) => {
  const breaks: Record<string, Handler> = {
    'closed at once': (exchange) => exchange.connection.destroy(),
    'reset at once': (exchange) => exchange.connection.reset(),
    'closed after the body': async (exchange) => {
      await exchange.body();
      exchange.connection.destroy();
    },
    'closed in the head': async (exchange) => {
      await exchange.send('HTTP/1.1 200 OK\r\nX-A');
      exchange.connection.destroy();
    },
  };
  for (const [what, breaking] of Object.entries(breaks)) {
    const { upstream, proxy } = await start(t, QUICK);
    upstream.handler = (exchange) =>
      upstream.exchanges.length <= 2 ? breaking(exchange) : answerOk(exchange);
    const answer = await proxy.request('POST', '/queue/v1/x', { body: 'hello' });
    t.is(answer.status, 200, `${what}: ${answer.body}`);
    t.is((await upstream.last.body()).bytes.toString(), 'hello');
    upstream.assertAllSigned(t);
  }
});

test('an upstream that starts late is reached', async (t) => {
  const port = await unusedPort();
  const proxy = await startProxy(t, { rootUrl: `http://127.0.0.1:${port}`, flags: QUICK });
  const answer = proxy.get('/queue/v1/x');
  t.is(await Promise.race([answer, pause(STILL_MS)]), undefined);
  const late = net.createServer((socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate'));
  });
  t.teardown(() => late.close());
  await once(late.listen(port, '127.0.0.1'), 'listening');
  t.is((await answer).body.toString(), 'late');
});

test('the proxy answers 502 with a sentence for an unreachable upstream', async (t) => {
  const rootUrls = [`http://127.0.0.1:${await unusedPort()}`, 'http://deployment.invalid'];
  for (const rootUrl of rootUrls) {
    const proxy = await startProxy(t, { rootUrl, flags: NEVER });
    const answer = await proxy.request('POST', '/queue/v1/x', { body: 'hello' });
    t.is(answer.status, 502, rootUrl);
    t.regex(answer.body.toString(), /^\S[^\n]{8,}\n?$/);
    t.is(value(answer.fields, 'x-taskcluster-endpoint'), `${rootUrl}/api/queue/v1/x`);
  }
});

test('the client gets 504 if upstream does not answer within --response-timeout', async (t) => {
  const { upstream, proxy } = await start(t, [...NEVER, '--response-timeout', '500ms']);
  const held = gate();
  upstream.handler = () => held.opened;
  const since = Date.now();
  const arrived = upstream.next();
  const answer = await proxy.request('POST', '/queue/v1/x', { body: 'hello' });
  t.is(answer.status, 504);
  t.regex(answer.body.toString(), /^\S[^\n]{8,}\n?$/);
  const took = Date.now() - since;
  t.true(took >= 450, `took ${took} ms`);
  await within((await arrived).gone(), 'the end of the upstream request');
});

test('--response-timeout does not bound a body that moves, in or out', async (t) => {
  const { upstream, proxy } = await start(t, [...NEVER, '--response-timeout', '3s']);
  upstream.handler = async (exchange) => {
    await exchange.body();
    await exchange.sendHead(200, { fields: [['Content-Length', '4']] });
    await exchange.send('sl');
    await pause(3_500);
    await exchange.send('ow');
  };
  const connection = await proxy.connect();
  await connection.send(requestBytes('POST', '/queue/v1/x', { fields: [['Content-Length', '4']] }));
  // Longer than the timeout in all: that time passes is what is tested.
  for (const byte of 'slow') {
    await pause(1_000);
    await connection.send(byte);
  }
  t.is((await connection.response('POST')).body.toString(), 'slow');
});

test('the client gets 502 at once if upstream does not answer in HTTP', async (t) => {
  const answers = [
    'SSH-2.0-OpenSSH_9.2\r\n',
    '\x15\x03\x01\x00\x02\x02\x16',
    'HTTP/3.7 200\r\n\r\n',
  ];
  for (const bytes of answers) {
    const { upstream, proxy } = await start(t, [], async (exchange) => {
      await exchange.send(bytes);
      exchange.connection.end();
    });
    const answer = await within(proxy.get('/queue/v1/x'), 'the answer');
    t.is(answer.status, 502, JSON.stringify(bytes));
    t.regex(answer.body.toString(), /^\S[^\n]{8,}\n?$/);
    t.is(upstream.exchanges.length, 1);
  }
});

test('a body over --replay-limit makes the first answer final', async (t) => {
  const flags = [...QUICK, '--replay-limit', '64KiB'];
  const { upstream, proxy } = await start(t, flags, inTurn(503));
  const answer = await proxy.request('POST', '/queue/v1/x', { body: 'x'.repeat(70_000) });
  t.is(answer.status, 503);
  t.is(answer.body.toString(), 'answer 1');
  t.is(upstream.exchanges.length, 1);
  t.is((await upstream.last.body()).bytes.length, 70_000);

  const small = await start(t, flags, inTurn(503));
  const fits = await small.proxy.request('POST', '/queue/v1/x', { body: 'x'.repeat(60_000) });
  t.is(fits.status, 200);
  t.is(small.upstream.exchanges.length, 2);
});

test('the client gets 502 if a connection breaks with a body over --replay-limit', async (t) => {
  const flags = [...QUICK, '--replay-limit', '64KiB'];
  const { upstream, proxy } = await start(t, flags, async (exchange) => {
    await exchange.body();
    exchange.connection.destroy();
  });
  const answer = await proxy.request('POST', '/queue/v1/x', { body: 'x'.repeat(70_000) });
  t.is(answer.status, 502);
  t.is(upstream.exchanges.length, 1);
});

test('--replay-total bounds the bodies of all requests together', async (t) => {
  const flags = [...QUICK, '--replay-limit', '64KiB', '--replay-total', '100KiB'];
  const { upstream, proxy } = await start(t, flags);
  const release = gate();
  upstream.handler = async (exchange) => {
    await exchange.body();
    await release.opened;
    const again = upstream.exchanges.filter(({ target }) => target === exchange.target).length > 1;
    await (again ? answerOk(exchange) : exchange.respond(503));
  };
  const body = 'x'.repeat(60_000);
  const first = proxy.request('POST', '/queue/v1/1', { body });
  await (await upstream.nth(1)).body();
  const second = proxy.request('POST', '/queue/v1/2', { body });
  await (await upstream.nth(2)).body();
  release.open();
  t.is((await first).status, 200);
  t.is((await second).status, 503, 'there was no room to keep its body');
  t.is((await proxy.request('POST', '/queue/v1/3', { body })).status, 200, 'room is given back');
});

test('nothing is tried again once an answer has begun to flow', async (t) => {
  const { upstream, proxy } = await start(t, QUICK, async (exchange) => {
    await exchange.sendHead(200, { fields: [['Content-Length', '10']] });
    await exchange.send('hello');
    exchange.connection.destroy();
  });
  await t.throwsAsync(proxy.get('/queue/v1/x'));
  t.is(upstream.exchanges.length, 1);
});

/** How many requests have ended, as the log tells. */
const ended = (proxy: RunningProxy) => proxy.log.match(/ Proxying /g)?.length ?? 0;

test('a client that leaves ends the retries', async (t) => {
  const flags = ['--retry-first', '500ms', '--retry-cap', '500ms'];
  const { upstream, proxy } = await start(t, flags, (exchange) => exchange.respond(503));
  for (const [index, leave] of (['destroy', 'reset'] as const).entries()) {
    const count = index + 1;
    const connection = await proxy.connect();
    const before = upstream.exchanges.length;
    await connection.send(requestBytes('POST', '/queue/v1/x', { body: 'hello' }));
    await (await upstream.nth(before + 2)).answered;
    connection[leave]();
    await until(() => ended(proxy) === count, 'the end of the request in the log', PROMPT_MS);
    const then = upstream.exchanges.length;
    await pause(1500);
    // One more may have been on its way; a proxy that goes on trying makes three.
    t.true(upstream.exchanges.length <= then + 1, `${leave}: still trying`);
  }
});

test('a client that leaves ends the try that is running', async (t) => {
  const held = gate();
  const { upstream, proxy } = await start(t, QUICK, () => held.opened);
  const connection = await proxy.connect();
  const arrived = upstream.next();
  await connection.send(requestBytes('GET', '/queue/v1/x'));
  const exchange = await arrived;
  connection.destroy();
  await t.notThrowsAsync(within(exchange.gone(), 'the end of the upstream request', PROMPT_MS));
});

test('even with --retry-for 0 the proxy replaces a pooled connection that upstream closed, unless a POST may have run', async (t) => {
  const { upstream, proxy } = await start(t, NEVER);
  for (const [when, method, status] of [
    ['before the request', 'POST', 200],
    ['at the request', 'PUT', 200],
    // It may have run: once is enough (RFC 9110 9.2.2).
    ['at the request', 'POST', 502],
  ] as const) {
    upstream.handler = answerOk;
    // Requests of one connection share a pool.
    const client = await proxy.connect();
    t.is((await client.exchange(requestBytes('GET', '/queue/v1/first'))).status, 200);
    const pooled = upstream.last.connection;
    if (when === 'before the request') {
      pooled.destroy();
      await upstream.last.gone();
    } else {
      upstream.handler = async (exchange) => {
        if (exchange.connection === pooled) {
          pooled.destroy();
        } else {
          await answerOk(exchange);
        }
      };
    }
    const before = upstream.exchanges.length;
    const answer = await client.exchange(
      requestBytes(method, '/queue/v1/second', { body: 'hello' }),
    );
    t.is(answer.status, status, `${method} closed ${when}: ${answer.body}`);
    if (status === 200) {
      t.not(upstream.last.connection, pooled);
      t.is((await upstream.last.body()).bytes.toString(), 'hello');
    } else {
      t.is(upstream.exchanges.length, before + 1);
    }
  }
  upstream.assertAllSigned(t);
});

test('with --retry-for 0 a POST runs once when upstream reads it and closes', async (t) => {
  const { upstream, proxy } = await start(t, NEVER);
  let opened = 0;
  let open = () => {};
  const all = new Promise<void>((resolve) => {
    open = resolve;
  });
  upstream.handler = async (exchange) => {
    await exchange.body();
    opened += 1;
    if (opened === 20) {
      open();
    }
    await all;
    await answerOk(exchange);
  };
  const post = () => proxy.request('POST', '/queue/v1/x', { body: '{}' });
  const burst = await Promise.all(Array.from({ length: 20 }, post));
  t.deepEqual([...new Set(burst.map(({ status }) => status))], [200]);
  upstream.handler = async (exchange) => {
    await exchange.body();
    exchange.connection.destroy();
  };
  t.is((await post()).status, 502);
  t.is(upstream.exchanges.length, 21);
});

test('a clock that is wrong is corrected by the challenge, once for all', async (t) => {
  for (const offset of [HOUR_MS, -HOUR_MS]) {
    const upstream = await startUpstream(t, { clockOffsetMs: offset });
    const proxy = await startProxy(t, { rootUrl: upstream.url, flags: QUICK });
    const began = Date.now();
    const answer = await proxy.request('POST', '/queue/v1/x', { body: 'hello' });
    t.is(answer.status, 200, answer.body.toString());
    t.is(upstream.exchanges.length, 2);
    t.is((await upstream.last.body()).bytes.toString(), 'hello');
    t.true(upstream.last.wasSignedSince(began, offset));

    t.is((await proxy.get('/queue/v1/y')).status, 200);
    t.is(upstream.exchanges.length, 3, 'the correction was forgotten');
  }
});

test('a challenge that does not verify corrects nothing', async (t) => {
  const forged =
    'Hawk ts="1353832234", tsm="2mw1eh/qXzl0wJZ/E6XvBhRMEJN7L3j8AyMA8eItEb0=", error="Stale timestamp"';
  const { upstream, proxy } = await start(t, QUICK, (exchange) =>
    exchange.respond(401, { fields: [['WWW-Authenticate', forged]], body: 'stale' }),
  );
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 401);
  t.is(value(answer.fields, 'www-authenticate'), forged);
  t.is(answer.body.toString(), 'stale');
  t.is(upstream.exchanges.length, 1);
});

test('a clock is corrected once a request, and a second 401 goes back', async (t) => {
  const upstream = await startUpstream(t, { clockOffsetMs: HOUR_MS });
  upstream.handler = async (exchange) => {
    await exchange.body();
    // The server's clock jumps on with every request.
    upstream.options.clockOffsetMs = (upstream.options.clockOffsetMs ?? 0) + HOUR_MS;
    if (exchange.signature instanceof Error) {
      await refuse(exchange, exchange.signature);
    }
  };
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags: QUICK });
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 401);
  t.is(upstream.exchanges.length, 2);
});
