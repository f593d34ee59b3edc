// Bodies: the proxy streams them in memory that does not grow with their size, and never passes a truncated
// one as complete.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import type { Connection } from '../harness/connection.js';
import { gate, PROMPT_MS, pause, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { Http2Client, responseOf } from '../harness/http2.js';
import { startNginx } from '../harness/nginx.js';
import {
  type ProxyOptions,
  type RunningProxy,
  requestBytes,
  startProxy,
} from '../harness/proxy.js';
import { testWith } from '../harness/tools.js';
import { type Exchange, startUpstream, type Upstream } from '../harness/upstream.js';
import { bodyOf, type Fields, readHead } from '../harness/wire.js';

const MIB = 1024 * 1024;
const LARGE = 2048 * MIB;

/** A megabyte and a bit, so that its repetition never falls on a round offset. */
const PATTERN = Buffer.from(Array.from({ length: MIB + 4099 }, (_, i) => (i * 2654435761) >>> 24));

async function start(t: ExecutionContext, options: Partial<ProxyOptions> = {}) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, ...options });
  return { upstream, proxy };
}

/** The pattern repeated up to `length` bytes. */
function* pattern(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= PATTERN.length) {
    yield left < PATTERN.length ? PATTERN.subarray(0, left) : PATTERN;
  }
}

/** Counts bytes and compares each with the pattern's. */
class PatternCheck {
  length = 0;
  differsAt: number | undefined;

  add(part: Buffer): void {
    for (let at = 0; at < part.length; ) {
      const from = (this.length + at) % PATTERN.length;
      const count = Math.min(part.length - at, PATTERN.length - from);
      if (part.compare(PATTERN, from, from + count, at, at + count) !== 0) {
        this.differsAt ??= this.length + at;
      }
      at += count;
    }
    this.length += part.length;
  }
}

/** Sends `length` bytes of the pattern back for a GET of a path that ends in it; counts bodies. */
function streamPatterns(upstream: Upstream, sent: PatternCheck): void {
  upstream.handler = async (exchange) => {
    for await (const part of exchange.bodyChunks()) {
      sent.add(part);
    }
    const length = exchange.method === 'GET' ? Number(exchange.target.split('/').at(-1)) : 0;
    await exchange.sendHead(200, { fields: [['Content-Length', String(length)]] });
    for (const part of pattern(length)) {
      await exchange.send(part);
    }
  };
}

async function download(proxy: RunningProxy, target: string): Promise<PatternCheck> {
  const received = new PatternCheck();
  const connection = await proxy.connect();
  await connection.send(requestBytes('GET', target));
  const head = await readHead(connection.reader);
  for await (const part of bodyOf(connection.reader, head ?? never(), 'response')) {
    received.add(part);
  }
  connection.destroy();
  return received;
}

/** Gives the status of the answer. */
async function upload(proxy: RunningProxy, length: number, chunked: boolean): Promise<number> {
  const connection = await proxy.connect();
  const fields: Fields = chunked
    ? [['Transfer-Encoding', 'chunked']]
    : [['Content-Length', String(length)]];
  await connection.send(requestBytes('PUT', '/queue/v1/large', { fields }));
  for (const part of pattern(length)) {
    await connection.send(chunked ? `${part.length.toString(16)}\r\n` : '');
    await connection.send(part);
    await connection.send(chunked ? '\r\n' : '');
  }
  await connection.send(chunked ? '0\r\n\r\n' : '');
  const { status } = await connection.response('PUT');
  connection.destroy();
  return status;
}

/** Fails where `transfer` lets the proxy's memory grow by 16 MiB or more (Linux tells). */
async function assertBoundedMemory(
  t: ExecutionContext,
  proxy: RunningProxy,
  transfer: () => Promise<void>,
): Promise<void> {
  await proxy.get('/nothing');
  const before = process.platform === 'linux' ? proxy.peakMemory() : 0;
  await transfer();
  const grown = process.platform === 'linux' ? proxy.peakMemory() - before : 0;
  t.log(`grew by ${(grown / MIB).toFixed(1)} MiB from ${(before / MIB).toFixed(1)} MiB`);
  t.true(grown < 16 * MIB);
}

test.serial('2 GiB down and 2 GiB up leave memory as it was', async (t) => {
  const { upstream, proxy } = await start(t);
  const sent = new PatternCheck();
  streamPatterns(upstream, sent);
  await assertBoundedMemory(t, proxy, async () => {
    const received = await download(proxy, `/queue/v1/${LARGE}`);
    t.is(received.length, LARGE);
    t.is(received.differsAt, undefined);
    for (const chunked of [false, true]) {
      sent.length = 0;
      t.is(await upload(proxy, LARGE, chunked), 200);
      t.is(sent.length, LARGE);
      t.is(sent.differsAt, undefined);
    }
  });
});

testWith('nginx')('files of nginx over TLS and HTTP/2 leave memory as it was', async (t) => {
  const authority = await Authority.create();
  const root = freshDirectory(t);
  const length = 256 * MIB;
  mkdirSync(path.join(root, 'api/queue/v1'), { recursive: true });
  writeFileSync(path.join(root, 'api/queue/v1/file'), Buffer.concat([...pattern(length)]));
  for (const http2 of [true, false]) {
    const flags = http2 ? ['--upstream-http2'] : [];
    const nginx = await startNginx(t, { leaf: await authority.issue(['localhost']), root, http2 });
    const env = { SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)) };
    const proxy = await startProxy(t, { rootUrl: nginx.url, env, flags });
    await assertBoundedMemory(t, proxy, async () => {
      const received = await download(proxy, '/queue/v1/file');
      t.is(received.length, length);
      t.is(received.differsAt, undefined);
    });
  }
});

test('each byte leaves as soon as it has come, both ways', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await exchange.sendHead(200, { fields: [['Transfer-Encoding', 'chunked']] });
    for await (const part of exchange.bodyChunks()) {
      await exchange.chunk(`<${part}>`);
    }
    await exchange.send('0\r\n\r\n');
  };
  const connection = await proxy.connect();
  await connection.send(requestBytes('POST', '/queue/v1/x', { fields: [['Content-Length', '3']] }));
  const head = await within(readHead(connection.reader), 'the head before any body');
  const body = bodyOf(connection.reader, head ?? never(), 'response');
  for (const byte of ['a', 'b', 'c']) {
    await connection.send(byte);
    let echo = '';
    while (!echo.endsWith('>')) {
      echo += (await within(body.next(), `the echo of ${byte}`)).value;
    }
    t.is(echo, `<${byte}>`);
  }
  t.true((await within(body.next(), 'the end')).done);
});

test('the proxy lets upstream wait for a client that reads slowly', async (t) => {
  const { upstream, proxy } = await start(t);
  let sent = 0;
  upstream.handler = async (exchange) => {
    await exchange.sendHead(200, { fields: [['Content-Length', String(256 * MIB)]] });
    for (const part of pattern(256 * MIB)) {
      await exchange.send(part);
      sent += part.length;
    }
  };
  const connection = await proxy.connect();
  await connection.send(requestBytes('GET', '/queue/v1/x'));
  const head = await within(readHead(connection.reader), 'the head');
  const stalledAt = await stalled(() => sent);
  t.true(stalledAt < 48 * MIB, `upstream had sent ${stalledAt / MIB} MiB without a reader`);

  const received = new PatternCheck();
  for await (const part of bodyOf(connection.reader, head ?? never(), 'response')) {
    received.add(part);
  }
  t.is(received.length, 256 * MIB);
  t.is(received.differsAt, undefined);
});

test('the proxy lets a client wait for an upstream that reads slowly', async (t) => {
  const { upstream, proxy } = await start(t);
  let read: () => void = () => {};
  const reading = new Promise<void>((resolve) => {
    read = resolve;
  });
  const received = new PatternCheck();
  upstream.handler = async (exchange) => {
    await reading;
    for await (const part of exchange.bodyChunks()) {
      received.add(part);
    }
    await exchange.respond(200);
  };
  const connection = await proxy.connect();
  const fields: [string, string][] = [['Content-Length', String(256 * MIB)]];
  await connection.send(requestBytes('PUT', '/queue/v1/x', { fields }));
  let sent = 0;
  const sending = (async () => {
    for (const part of pattern(256 * MIB)) {
      await connection.send(part);
      sent += part.length;
    }
  })();
  const stalledAt = await stalled(() => sent);
  t.true(stalledAt < 48 * MIB, `the client had sent ${stalledAt / MIB} MiB without a reader`);
  read();
  await sending;
  t.is((await connection.response('PUT')).status, 200);
  t.is(received.length, 256 * MIB);
  t.is(received.differsAt, undefined);
});

/** Ways to break off; a reset takes back what has not been read yet, so it waits for the client. */
const BREAKS: Record<string, (exchange: Exchange, begun: Promise<void>) => Promise<void>> = {
  'short of its length, closed': async (exchange) => {
    await exchange.sendHead(200, { fields: [['Content-Length', '10']] });
    await exchange.send('hello');
    exchange.connection.end();
  },
  'short of its length, reset': async (exchange, begun) => {
    await exchange.sendHead(200, { fields: [['Content-Length', '10']] });
    await exchange.send('hello');
    await begun;
    exchange.connection.reset();
  },
  'without the last chunk, closed': async (exchange) => {
    await exchange.sendHead(200, { fields: [['Transfer-Encoding', 'chunked']] });
    await exchange.chunk('hello');
    exchange.connection.end();
  },
  'in a chunk, reset': async (exchange, begun) => {
    await exchange.sendHead(200, { fields: [['Transfer-Encoding', 'chunked']] });
    await exchange.send('a\r\nhello');
    await begun;
    exchange.connection.reset();
  },
  'with a chunk size that is none': async (exchange) => {
    await exchange.sendHead(200, { fields: [['Transfer-Encoding', 'chunked']] });
    await exchange.chunk('hello');
    await exchange.send('zz\r\n');
  },
  'until the connection ends, reset': async (exchange, begun) => {
    await exchange.sendHead(200);
    await exchange.send('hello');
    await begun;
    exchange.connection.reset();
  },
};

test('an answer that breaks off is broken for the client too', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const [what, breaking] of Object.entries(BREAKS)) {
    const begun = gate();
    upstream.handler = (exchange) => breaking(exchange, begun.opened);
    const reading = async ({ reader }: Connection) => {
      const head = (await readHead(reader)) ?? never();
      for await (const _ of bodyOf(reader, head, 'response')) {
        begun.open();
      }
    };
    const connection = await proxy.connect();
    await connection.send(requestBytes('GET', '/queue/v1/x'));
    const error = await t.throwsAsync(within(reading(connection), 'its end'), undefined, what);
    t.notRegex(error?.message ?? '', /did not come within/, what);
  }
  t.is(upstream.exchanges.length, Object.keys(BREAKS).length, 'tried again after the head');
});

test('an answer that breaks off is broken for an HTTP/2 client too', async (t) => {
  const { upstream, proxy } = await start(t);
  const client = await Http2Client.connect(t, proxy.url);
  for (const [what, breaking] of Object.entries(BREAKS)) {
    const begun = gate();
    upstream.handler = (exchange) => breaking(exchange, begun.opened);
    const stream = client.open({ ':path': '/queue/v1/x' });
    stream.once('data', () => begun.open());
    stream.end();
    const answer = within(responseOf(stream), 'its end');
    await t.throwsAsync(answer, { name: 'StreamBroken' }, what);
  }
  t.false(client.session.destroyed, 'the other streams of the connection go on');
});

test('an answer that ends before the request does is passed on', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await exchange.respond(413, { fields: [['Connection', 'close']], body: 'too large' });
    exchange.connection.end();
  };
  const connection = await proxy.connect();
  const fields: [string, string][] = [['Content-Length', String(64 * MIB)]];
  await connection.send(requestBytes('PUT', '/queue/v1/x', { fields }));
  await connection.send(PATTERN);
  const answer = await connection.response('PUT');
  t.is(answer.status, 413);
  t.is(answer.body.toString(), 'too large');
});

test('a client that leaves ends its upstream request within a second', async (t) => {
  const { upstream, proxy } = await start(t);
  const endless = async (exchange: Exchange) => {
    await exchange.sendHead(200, { fields: [['Transfer-Encoding', 'chunked']] });
    for (;;) {
      await exchange.chunk('x');
      await pause(20);
    }
  };
  const silent = async (exchange: Exchange) => {
    await exchange.sendHead(200, { fields: [['Content-Length', '10']] });
    await exchange.gone();
  };
  const unanswered = async (exchange: Exchange) => {
    await exchange.gone();
  };
  const uploading = async (exchange: Exchange) => {
    await exchange.body();
  };
  const waysOfLeaving = { endless, silent, unanswered, uploading };
  for (const [what, handler] of Object.entries(waysOfLeaving)) {
    for (const leave of ['destroy', 'reset'] as const) {
      upstream.handler = handler;
      const arrived = upstream.next();
      const connection = await proxy.connect();
      const fields: [string, string][] = what === 'uploading' ? [['Content-Length', '10']] : [];
      await connection.send(requestBytes('PUT', '/queue/v1/x', { fields }));
      const exchange = await arrived;
      if (what === 'uploading') {
        await connection.send('hello');
      } else if (what !== 'unanswered') {
        await within(readHead(connection.reader), 'the head');
      }
      connection[leave]();
      const ended = within(exchange.gone(), 'the end of the upstream request', PROMPT_MS);
      await t.notThrowsAsync(ended, `${what}, ${leave}`);
    }
  }
});

test('a client that shuts down writing gets its whole answer', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await exchange.body();
    // Longer than a look whether the client is still there takes.
    await pause(1500);
    await exchange.sendHead(200, { fields: [['Content-Length', '10']] });
    await exchange.send('hello');
    await pause(1500);
    await exchange.send('world');
  };
  const connection = await proxy.connect();
  await connection.send(requestBytes('POST', '/queue/v1/x', { body: 'hello' }));
  connection.end();
  const answer = await connection.response('POST');
  t.is(answer.status, 200);
  t.is(answer.body.toString(), 'helloworld');
  t.is((await connection.closed()).length, 0);
});

/** The count once it has stopped growing. */
async function stalled(count: () => number): Promise<number> {
  for (let last = -1; ; ) {
    await pause(700);
    if (count() === last) {
      return last;
    }
    last = count();
  }
}

function never(): never {
  throw new Error('the connection ended before an answer');
}
