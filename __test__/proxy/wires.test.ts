// A request goes out on one of two wires: on a bare socket if its head is kept as lines, else by hyper. On
// either wire and for any upstream answer the client gets one answer with a certain end, and the next
// request on the connection gets its own (RFC 9112 6.3, 7.1, 11.1); time-outs, signals and updates work
// alike.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import { gate, PROMPT_MS, pause, STILL_MS, until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { closes } from '../harness/port.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { permanentCredentials } from '../harness/signature.js';
import { type Exchange, startUpstream, type Upstream } from '../harness/upstream.js';
import { readHead, value } from '../harness/wire.js';

const authority = await Authority.create();
const NO_RETRY = ['--retry-for', '0'];
const NEXT = 'HTTP/1.1 200 Next\r\nContent-Length: 4\r\n\r\nnext';
const OK = 'HTTP/1.1 200 OK\r\n';
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const ODD_TRAILERS =
  'Content-Length, Transfer-Encoding, Connection, X-A, X-Taskcluster-Endpoint, Trailer, X-C';

interface Row {
  /** What upstream answers. */
  answer: string;
  /** What of it the client gets, without the fields that are the proxy's own. */
  gets: string | RegExp;
  method?: 'HEAD';
  /** The same by hyper, which passes no interim answers. */
  interim?: string;
  /** Upstream closes behind it. */
  closes?: true;
  /** The next request goes out on another connection. */
  renews?: true;
  /** The client's connection ends with it. */
  ends?: true;
}

const chunked = (body: string) => `${OK}${CHUNKED}\r\n${body}`;
/** Why an answer is refused: the same words on both wires. */
const LENGTH = 'its Content-Length tells no length';
const CODING = 'its transfer coding is not chunked';
const FIELD = 'a field of its head is malformed, or folded';
const LONG = 'its head is longer than 64 KiB, or has more than 512 fields';
const INTERIM = 'its interim answers .1xx. are longer than 64 KiB';

const notHttp = (reason: string, answer: string): Row => ({
  answer,
  gets: new RegExp(`HTTP/1\\.1 502 .*\r\n\r\n[^\r\n]*is not HTTP: ${reason}`, 's'),
  renews: true,
});

const WHOLE: Record<string, Row> = {
  'a length': {
    answer: `${OK}Content-Length: 2\r\n\r\nok`,
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
  },
  'a length of 0': {
    answer: `${OK}Content-Length: 0\r\n\r\n`,
    gets: `${OK}Content-Length: 0\r\n\r\n`,
  },
  'no reason': {
    answer: 'HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok',
    gets: 'HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok',
  },
  'a reason of its own': {
    answer: 'HTTP/1.1 404 No\tsuch (thing)\r\nContent-Length: 2\r\n\r\nno',
    gets: 'HTTP/1.1 404 No\tsuch (thing)\r\nContent-Length: 2\r\n\r\nno',
  },
  'a status of no class': {
    answer: 'HTTP/1.1 799 Odd\r\nContent-Length: 2\r\n\r\nok',
    gets: 'HTTP/1.1 799 Odd\r\nContent-Length: 2\r\n\r\nok',
  },
  'bare line feeds in the head': {
    answer: 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok',
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
  },
  'empty lines before it': {
    answer: `\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
  },
  'odd values': {
    answer: `${OK}X-A:\r\nx-b:  \t c \xe9\xff \r\nX_c: \t\r\nContent-Length: 2\r\n\r\nok`,
    gets: `${OK}X-A: \r\nX-B: c \xe9\xff\r\nX_c: \r\nContent-Length: 2\r\n\r\nok`,
  },
  'repeated fields': {
    answer: `${OK}Set-Cookie: a=1\r\nset-cookie: b=2\r\nSET-COOKIE: a=3\r\nContent-Length: 0\r\n\r\n`,
    gets: `${OK}Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nSet-Cookie: a=3\r\nContent-Length: 0\r\n\r\n`,
  },
  'fields of the connection': {
    answer: `${OK}Connection: keep-alive, X-A\r\nX-A: 1\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok`,
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
  },
  'a connection that ends, with a length': {
    answer: `${OK}Connection: Close\r\nContent-Length: 2\r\n\r\nok`,
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
    renews: true,
  },
  'two equal lengths': {
    answer: `${OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nok`,
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
  },
  'a list of equal lengths': {
    answer: `${OK}Content-Length: 2, 02\t,2\r\n\r\nok`,
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
  },
  'more than its length': {
    answer: `${OK}Content-Length: 2\r\n\r\nokHTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n`,
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
    renews: true,
  },
  'more than its chunks': {
    answer: `${chunked('2\r\nok\r\n0\r\n\r\n')}HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n`,
    gets: chunked('2\r\nok\r\n0\r\n\r\n'),
    renews: true,
  },
  'the end of the connection': {
    answer: `${OK}X-A: b\r\n\r\nok`,
    gets: `${OK}X-A: b\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n`,
    closes: true,
    renews: true,
  },
  'the end of the connection, empty': {
    answer: `${OK}\r\n`,
    gets: chunked('0\r\n\r\n'),
    closes: true,
    renews: true,
  },
  'HTTP/1.0 with a length': {
    answer: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok',
    gets: `${OK}Content-Length: 2\r\n\r\nok`,
    renews: true,
  },
  'HTTP/1.0 without one': {
    answer: 'HTTP/1.0 200 OK\r\n\r\nok',
    gets: chunked('2\r\nok\r\n0\r\n\r\n'),
    closes: true,
    renews: true,
  },
  chunks: {
    answer: chunked('2\r\nok\r\n00A\r\n0123456789\r\n000\r\n\r\n'),
    gets: chunked('2\r\nok\r\n00A\r\n0123456789\r\n000\r\n\r\n'),
  },
  'chunks, spelled otherwise': {
    answer: `${OK}transfer-encoding: , CHUNKED \r\n\r\n2\r\nok\r\n0\r\n\r\n`,
    gets: chunked('2\r\nok\r\n0\r\n\r\n'),
  },
  'chunks and a length': {
    answer: `${OK}Content-Length: 1\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n`,
    gets: chunked('2\r\nok\r\n0\r\n\r\n'),
    renews: true,
  },
  'chunk extensions': {
    answer: chunked('2;a\r\nok\r\n2 ; b="6;\t"\r\nok\r\n0;c\r\n\r\n'),
    gets: chunked('2\r\nok\r\n2\r\nok\r\n0\r\n\r\n'),
  },
  'padded chunks': {
    answer: chunked('2   \r\nok\r\n2\t\r\nok\r\n0 \r\n\r\n'),
    gets: chunked('2\r\nok\r\n2\r\nok\r\n0\r\n\r\n'),
  },
  trailers: {
    answer: `${OK}Trailer: X-Sum\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\nx-sum:42 \r\nX-Sum: 43\r\n\r\n`,
    gets: `${OK}Trailer: X-Sum\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\nX-Sum: 42\r\nX-Sum: 43\r\n\r\n`,
  },
  'trailers that were not announced': {
    answer: chunked('2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n'),
    gets: chunked('2\r\nok\r\n0\r\n\r\n'),
  },
  'trailers that must not be': {
    answer: `${OK}Trailer: ${ODD_TRAILERS}\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\nContent-Length: 5\r\n${CHUNKED}Connection: X-A\r\nX-A: b\r\nX-Taskcluster-Endpoint: evil\r\nTrailer: X-B\r\nX-C: d\r\n\r\n`,
    gets: `${OK}Trailer: ${ODD_TRAILERS}\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\nX-C: d\r\n\r\n`,
  },
  'HEAD with a length': {
    method: 'HEAD',
    answer: `${OK}Content-Length: 7\r\n\r\n`,
    gets: `${OK}Content-Length: 7\r\n\r\n`,
  },
  'HEAD with chunks': {
    method: 'HEAD',
    answer: `${OK}Content-Length: 7\r\n${CHUNKED}X-A: b\r\n\r\n`,
    gets: `${OK}X-A: b\r\n\r\n`,
    renews: true,
  },
  'HEAD without either': {
    method: 'HEAD',
    answer: `${OK}X-A: b\r\n\r\n`,
    gets: `${OK}X-A: b\r\n\r\n`,
  },
  'HEAD with a body': {
    method: 'HEAD',
    answer: `${OK}Content-Length: 2\r\n\r\nok`,
    gets: `${OK}Content-Length: 2\r\n\r\n`,
    renews: true,
  },
  'HEAD with lengths': {
    method: 'HEAD',
    answer: `${OK}Content-Length: 2, 2\r\n\r\n`,
    gets: `${OK}Content-Length: 2\r\n\r\n`,
  },
  '204 with a length': {
    answer: 'HTTP/1.1 204 None\r\nContent-Length: 5\r\nX-A: b\r\n\r\n',
    gets: 'HTTP/1.1 204 None\r\nX-A: b\r\n\r\n',
  },
  '204 with chunks': {
    answer: `HTTP/1.1 204 None\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n`,
    gets: 'HTTP/1.1 204 None\r\n\r\n',
    renews: true,
  },
  '304 with a length': {
    answer: 'HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n',
    gets: 'HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n',
  },
  '304 with a body': {
    answer: 'HTTP/1.1 304 Same\r\nContent-Length: 2\r\n\r\nok',
    gets: 'HTTP/1.1 304 Same\r\nContent-Length: 2\r\n\r\n',
    renews: true,
  },
  'interim answers': {
    answer: `HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\nContent-Length: 5\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
    gets: `HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n${OK}Content-Length: 2\r\n\r\nok`,
    interim: `${OK}Content-Length: 2\r\n\r\nok`,
  },
  'over 64 KiB of interim answers': notHttp(
    INTERIM,
    `HTTP/1.1 103 Hints\r\nLink: ${'a'.repeat(6_000)}\r\n\r\n`.repeat(12),
  ),
  'over 64 KiB of interim answers without fields, and an answer': notHttp(
    INTERIM,
    `${'HTTP/1.1 102 Processing\r\n\r\n'.repeat(5_000)}${OK}Connection: close\r\nContent-Length: 2\r\n\r\nok`,
  ),
  'a change of protocol': notHttp(
    'it changes to a protocol that was not requested',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n',
  ),
  '512 fields': {
    answer: `${OK}Content-Length: 0\r\n${'X-A: b\r\n'.repeat(511)}\r\n`,
    gets: `${OK}Content-Length: 0\r\n${'X-A: b\r\n'.repeat(511)}\r\n`,
  },

  'two lengths that differ': notHttp(
    LENGTH,
    `${OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok`,
  ),
  'a list of lengths that differ': notHttp(LENGTH, `${OK}Content-Length: 2, 3\r\n\r\nok`),
  'a list with an empty length': notHttp(LENGTH, `${OK}Content-Length: 2,\r\n\r\nok`),
  'a length with a sign': notHttp(LENGTH, `${OK}Content-Length: +2\r\n\r\nok`),
  'a negative length': notHttp(LENGTH, `${OK}Content-Length: -2\r\n\r\nok`),
  'a hexadecimal length': notHttp(LENGTH, `${OK}Content-Length: 0x2\r\n\r\nok`),
  'an empty length': notHttp(LENGTH, `${OK}Content-Length:\r\n\r\nok`),
  'a length with obs-text': notHttp(LENGTH, `${OK}Content-Length: 2\xa0\r\n\r\nok`),
  'a length over 64 bits': notHttp(LENGTH, `${OK}Content-Length: 18446744073709551618\r\n\r\nok`),
  'chunks in HTTP/1.0': notHttp(
    'it has a transfer coding, though its version is HTTP/1.0',
    `HTTP/1.0 200 OK\r\n${CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n`,
  ),
  identity: notHttp(CODING, `${OK}Transfer-Encoding: identity\r\n\r\nok`),
  'identity and a length': notHttp(
    CODING,
    `${OK}Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\nok`,
  ),
  'identity before chunked': notHttp(
    CODING,
    `${OK}Transfer-Encoding: identity, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  ),
  'another coding': notHttp(
    CODING,
    `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  ),
  'chunked twice': notHttp(CODING, `${OK}${CHUNKED}${CHUNKED}\r\n2\r\nok\r\n0\r\n\r\n`),
  'nothing behind chunked': notHttp(
    CODING,
    `${OK}Transfer-Encoding: chunked,\r\n\r\n2\r\nok\r\n0\r\n\r\n`,
  ),
  'chunked not last': notHttp(CODING, `${OK}Transfer-Encoding: chunked, gzip\r\n\r\nok`),
  'a folded field': notHttp(FIELD, `${OK}X-A: b\r\n c\r\nContent-Length: 2\r\n\r\nok`),
  'a space before the colon': notHttp(FIELD, `${OK}Content-Length : 2\r\n\r\nok`),
  'a NUL in a value': notHttp(FIELD, `${OK}X-A: \0\r\nContent-Length: 2\r\n\r\nok`),
  'a bare CR in a value': notHttp(FIELD, `${OK}X-A: b\rX-C: d\r\nContent-Length: 2\r\n\r\nok`),
  '513 fields': notHttp(LONG, `${OK}${'X-A: b\r\n'.repeat(513)}\r\n`),
  'a head over 64 KiB': notHttp(LONG, `${OK}X-A: ${'b'.repeat(200_000)}\r\n\r\n`),
  'another protocol': notHttp(
    'it does not begin with HTTP/1.1 or HTTP/1.0',
    '220 mail.example.com ESMTP\r\n\r\n',
  ),
  'another version': notHttp(
    'it does not begin with HTTP/1.1 or HTTP/1.0',
    'HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok',
  ),
  'a status below 100': notHttp(
    'its status code is malformed',
    'HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok',
  ),
};

/** Answers that end too early: the client must be able to tell. */
const BROKEN: Record<string, Row> = {
  'less than its length': {
    answer: `${OK}Content-Length: 5\r\n\r\nok`,
    gets: `${OK}Content-Length: 5\r\n\r\nok`,
    closes: true,
  },
  'less than its chunks': { answer: chunked('5\r\nok'), gets: chunked('5\r\nok'), closes: true },
  'no last chunk': { answer: chunked('2\r\nok\r\n'), gets: chunked('2\r\nok\r\n'), closes: true },
  'no end of the trailers': {
    answer: chunked('2\r\nok\r\n0\r\nX-A: b\r\n'),
    gets: chunked('2\r\nok\r\n0\r\n'),
    closes: true,
  },
};

/** Chunks that two readers could take differently: nothing of them is passed on. */
const BAD_CHUNKS = {
  'no size': '\r\n\r\n',
  'a size with 0x': '0x2\r\nok\r\n0\r\n\r\n',
  'a second number': '2 6\r\nok\r\n0\r\n\r\n',
  'a space before the size': ' 2\r\nok\r\n0\r\n\r\n',
  'a bare LF': '2\nok\n0\n\n',
  'a bare LF in an extension': '2;a\nok\r\n0\r\n\r\n',
  'a bare CR in an extension': '2;a\rb\r\nok\r\n0\r\n\r\n',
  'a size over 64 bits': '10000000000000002\r\nok\r\n0\r\n\r\n',
  'longer data': '2\r\nokk\r\n0\r\n\r\n',
  'a trailer without a colon': '0\r\nX-A\r\n\r\n',
  'a trailer with a space before its colon': '0\r\nX-A : b\r\n\r\n',
  'a folded trailer': '0\r\nX-A: b\r\n c\r\n\r\n',
};

async function start(t: ExecutionContext, flags: string[] = NO_RETRY) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  return { upstream, proxy };
}

/** Answers `/api/x/v1/next` with NEXT and everything else as `row` says. */
function answers(row: Row) {
  return async (exchange: Exchange) => {
    if (exchange.target.endsWith('/next')) {
      return exchange.send(NEXT);
    }
    await exchange.send(row.answer);
    if (row.closes) {
      exchange.connection.end();
    }
  };
}

/** What came over one connection, without the fields that are the proxy's own. */
async function conversation(proxy: RunningProxy, ...requests: (string | Buffer)[]) {
  const connection = await proxy.connect();
  for (const request of requests) {
    await connection.send(request);
  }
  connection.end();
  const all = (await connection.closed()).toString('latin1');
  connection.destroy();
  return all.replaceAll(/^X-Taskcluster-[^\r\n]*\r\n/gm, '');
}

/** How a request comes that goes out on each wire: hyper reads targets in absolute form. */
const WIRES = {
  'a bare socket': { request: requestBytes, isHyper: false },
  hyper: {
    request: (method: string, target: string, options?: Parameters<typeof requestBytes>[2]) =>
      requestBytes(method, `http://taskcluster${target}`, options),
    isHyper: true,
  },
};

for (const [wire, { request, isHyper }] of Object.entries(WIRES)) {
  test(`by ${wire}: a rare answer comes whole, and the next request gets its own`, async (t) => {
    const { upstream, proxy } = await start(t);
    for (const [what, row] of Object.entries(WHOLE)) {
      upstream.handler = answers(row);
      const first = request(row.method ?? 'GET', '/x/v1/first', {
        fields: [
          ['Connection', 'TE'],
          ['TE', 'trailers'],
        ],
      });
      const got = await conversation(proxy, first, request('GET', '/x/v1/next'));
      t.true(got.endsWith(NEXT), `${what}: ${JSON.stringify(got.slice(-300))}`);
      const gets = got.slice(0, -NEXT.length);
      const expected = (isHyper && row.interim) || row.gets;
      if (typeof expected !== 'string') {
        t.regex(gets, expected, what);
        t.is(gets.split('HTTP/1.1 502 ').length, 2, what);
      } else if (isHyper) {
        // hyper has its own spelling of what frames a body.
        t.deepEqual(unframed(gets), unframed(expected), what);
      } else {
        t.is(gets, expected, what);
      }
      const [one, two] = upstream.exchanges.slice(-2).map((each) => each.connectionNumber);
      t.is(one !== two, row.renews ?? false, `${what}: ${one}, ${two}`);
    }
    t.is(upstream.exchanges.length, 2 * Object.keys(WHOLE).length);
    upstream.assertAllSigned(t);
  });
}

/** An answer's lines, sorted, without those that frame the body, and its data. */
function unframed(answer: string) {
  const [head = '', ...rest] = answer.split('\r\n\r\n');
  const fields = head.split('\r\n').filter((line) => !/^(Content-Length|Transfer-Enc)/.test(line));
  const body = rest.join('\r\n\r\n').replaceAll(/(^|\r\n)0*[\da-fA-F]+\r\n/g, '$1');
  return { fields: fields.sort(), body: body.replaceAll('\r\n', '') };
}

test('an answer that ends too early ends the connection', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const [what, row] of Object.entries(BROKEN)) {
    upstream.handler = answers(row);
    const first = requestBytes('GET', '/x/v1/first');
    t.is(
      await conversation(proxy, first, requestBytes('GET', '/x/v1/next')),
      row.gets as string,
      what,
    );
  }
});

test('chunks that are not certain end the connection', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const [what, body] of Object.entries(BAD_CHUNKS)) {
    for (const [before, end] of [
      [chunked(''), '\r\n\r\n'],
      [chunked('1\r\na\r\n'), '\r\n1\r\na\r\n'],
    ] as const) {
      const seen = gate();
      upstream.handler = async (exchange) => {
        await exchange.send(before);
        await seen.opened;
        await exchange.send(body);
      };
      const connection = await proxy.connect();
      await connection.send(requestBytes('GET', '/x/v1/first'));
      await connection.reader.until(end);
      seen.open();
      await connection.send(requestBytes('GET', '/x/v1/next'));
      connection.end();
      const rest = (await connection.closed()).toString('latin1');
      t.true(['', '0\r\n', '2\r\nok'].includes(rest), `${what}: ${JSON.stringify(rest)}`);
      connection.destroy();
    }
  }
});

test('a client of HTTP/1.0 gets a reset if an answer breaks off', async (t) => {
  const { upstream, proxy } = await start(t);
  const rows = { chunks: chunked('2\r\nok\r\n'), close: `${OK}Content-Length: 9\r\n\r\nok` };
  for (const [what, answer] of Object.entries(rows)) {
    // Node takes a reset for a clean end where it finds it together with the last bytes.
    const seen = gate();
    upstream.handler = async (exchange) => {
      await exchange.send(answer);
      await seen.opened;
      exchange.connection.destroy();
    };
    const socket = connect(proxy.port, '127.0.0.1');
    socket.on('data', (bytes) => bytes.includes('ok') && seen.open());
    const ended = new Promise((resolve) => {
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code));
      socket.on('end', () => resolve('a clean end'));
    });
    socket.write('GET /x/v1/y HTTP/1.0\r\nHost: taskcluster\r\n\r\n');
    t.is(await within(ended, 'the end'), 'ECONNRESET', what);
    socket.destroy();
  }
});

test('a client of HTTP/1.0 with keep-alive keeps its connection only behind an answer with a length', async (t) => {
  const bytes = 'GET /x/v1/y HTTP/1.0\r\nConnection: keep-alive\r\n\r\n';
  for (const flags of [[], ['--upstream-http2']]) {
    const { upstream, proxy } = await start(t, [...NO_RETRY, ...flags]);
    upstream.handler = answers({ answer: chunked('2\r\nok\r\n0\r\n\r\n'), gets: '' });
    const ending = await proxy.connect();
    await ending.send(bytes);
    const ended = (await ending.closed()).toString();
    t.regex(ended, /^HTTP\/1\.0 200 .*\r\nok$/s);
    t.deepEqual(ended.match(/^connection: .*$/gim), ['Connection: close']);
    upstream.handler = answers({ answer: NEXT, gets: '' });
    const staying = await proxy.connect();
    t.is((await staying.exchange(bytes)).body.toString(), 'next');
    t.is((await staying.exchange(bytes)).body.toString(), 'next');
  }
});

for (const scheme of ['http', 'https']) {
  test(`a long body by ${scheme} passes whole, and what upstream sends behind it does not pass`, async (t) => {
    const tls = scheme === 'https' ? { tls: await authority.issue(['localhost']) } : {};
    const upstream = await startUpstream(t, tls);
    const env = { SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)) };
    const proxy = await startProxy(t, { rootUrl: upstream.url, flags: NO_RETRY, env });
    const body = randomBytes(1_000_000).toString('hex');
    const head = `${OK}Content-Length: ${body.length}\r\n\r\n`;
    const requests = [requestBytes('GET', '/x/v1/first'), requestBytes('GET', '/x/v1/next')];
    for (const [row, gets] of [
      [{ answer: head + body, gets: '' }, head + body + NEXT],
      [{ answer: head + body + OK.repeat(3), gets: '' }, head + body + NEXT],
      [{ answer: head + body.slice(2), gets: '', closes: true }, head + body.slice(2)],
    ] satisfies [Row, string][]) {
      upstream.handler = answers(row);
      const got = await conversation(proxy, Buffer.concat(requests));
      t.true(got === gets, `${got.length} bytes, not ${gets.length}: ${got.slice(-200)}`);
    }
  });
}

test('a body of many padded chunks comes to its end', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await exchange.send(chunked(''));
    for (let part = 0; part < 20; part += 1) {
      await exchange.send('1       \r\na\r\n'.repeat(1_000));
    }
    await exchange.send('0       \r\n\r\n');
  };
  t.is((await proxy.get('/x/v1/y')).body.length, 20_000);
});

test('an answer breaks off if its TLS connection ends without close_notify', async (t) => {
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  for (const says of [true, false]) {
    const upstream = await startUpstream(t, {
      tls: await authority.issue(['localhost']),
      handler: async (exchange) => {
        await exchange.send(`${OK}\r\nok`);
        await pause(100);
        if (says) {
          exchange.connection.end();
        } else {
          const { socket } = exchange.connection as unknown as { socket: { _handle?: unknown } };
          const tcp = (socket as { _parent?: { destroySoon(): void } })._parent;
          (tcp ?? exchange.connection.socket).destroySoon();
        }
      },
    });
    const env = { SSL_CERT_FILE };
    const proxy = await startProxy(t, { rootUrl: upstream.url, flags: NO_RETRY, env });
    const got = await conversation(proxy, requestBytes('GET', '/x/v1/y'));
    t.is(got, chunked(says ? '2\r\nok\r\n0\r\n\r\n' : '2\r\nok\r\n'));
  }
});

test('the proxy discards what upstream sends before the next request', async (t) => {
  const { upstream, proxy } = await start(t);
  const [answered, smuggled] = [gate(), gate()];
  upstream.handler = async (exchange) => {
    await exchange.respond(200, { body: exchange.target });
    if (exchange.target.endsWith('/first')) {
      await answered.opened;
      await exchange.send(`${OK}Content-Length: 8\r\n\r\nsmuggled`);
      smuggled.open();
    }
  };
  const connection = await proxy.connect();
  const first = await connection.exchange(requestBytes('GET', '/x/v1/first'));
  t.is(first.body.toString(), '/api/x/v1/first');
  answered.open();
  await smuggled.opened;
  await pause(STILL_MS);
  const second = await connection.exchange(requestBytes('GET', '/x/v1/second'));
  t.is(second.body.toString(), '/api/x/v1/second');
  t.is(upstream.connections, 2);
});

test('requests of any kind in one packet are answered in their order', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    const { bytes } = await exchange.body();
    await exchange.respond(200, { body: `${exchange.method} ${exchange.target} ${bytes}` });
  };
  const got = await conversation(
    proxy,
    Buffer.concat([
      requestBytes('GET', '/x/v1/1'),
      requestBytes('HEAD', '/x/v1/2'),
      requestBytes('GET', '/nowhere'),
      requestBytes('PUT', '/x/v1/3', { body: requestBytes('GET', '/x/v1/smuggled') }),
      requestBytes('GET', '/x/v1/4'),
    ]),
  );
  t.deepEqual(
    upstream.exchanges.map(({ method, target }) => `${method} ${target}`),
    ['GET /api/x/v1/1', 'HEAD /api/x/v1/2', 'PUT /api/x/v1/3', 'GET /api/x/v1/4'],
  );
  t.deepEqual(got.match(/HTTP\/1\.1 \d+/g), [
    'HTTP/1.1 200',
    'HTTP/1.1 200',
    'HTTP/1.1 404',
    'HTTP/1.1 200',
    'HTTP/1.1 200',
  ]);
});

test('fields of a request go out as they came, more than a hundred of them, too', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const count of [0, 60, 98, 99, 100, 101, 500]) {
    const fields = Array.from({ length: count }, (_, at): [string, string] => [
      `X-${at % 40}`,
      `${at}\xe9`,
    ]);
    t.is((await proxy.get('/x/v1/y', fields)).status, 200);
    const sent = upstream.last.fields.filter(([name]) => name.startsWith('x-'));
    t.deepEqual(
      sent.sort(),
      fields.map(([name, each]) => [name.toLowerCase(), each]).sort() as typeof sent,
    );
  }
  upstream.assertAllSigned(t);
});

test('--header-timeout does not bound the wait for an answer', async (t) => {
  const { upstream, proxy } = await start(t, [...NO_RETRY, '--header-timeout', '4s']);
  upstream.handler = async (exchange) => {
    await pause(5_000);
    await exchange.respond(200, { body: 'late' });
  };
  const bytes = requestBytes('GET', '/x/v1/y');
  const conversations = [0, 10].map(async (cut) => {
    const connection = await proxy.connect();
    await connection.send(bytes.subarray(0, cut));
    await pause(100);
    await connection.send(bytes.subarray(cut));
    t.is((await connection.response()).body.toString(), 'late');
    // The connection lives on.
    t.is((await connection.exchange(bytes)).body.toString(), 'late');
  });
  await Promise.all(conversations);
});

test('a head behind an answer gets 408 if it stops in its middle', async (t) => {
  const { proxy } = await start(t, [...NO_RETRY, '--header-timeout', '1s']);
  const connection = await proxy.connect();
  t.is((await connection.exchange(requestBytes('GET', '/x/v1/y'))).status, 200);
  await connection.send('GET /x/v1/y HTTP/1.1\r\n');
  t.is((await connection.response()).status, 408);
  await connection.closed();
});

test('a signal lets a request finish after a failed first try', async (t) => {
  const { upstream, proxy } = await start(t, ['--retry-first', '100ms']);
  upstream.handler = async (exchange) => {
    await exchange.body();
    if (upstream.exchanges.length > 1) {
      return exchange.respond(200, { body: 'at last' });
    }
    proxy.child.kill('SIGTERM');
    await closes(proxy.port);
    await exchange.respond(503);
  };
  const answer = await proxy.get('/x/v1/y');
  t.is(answer.status, 200);
  t.is(value(answer.fields, 'connection'), 'close');
  t.deepEqual(await within(proxy.exited, 'its end'), { code: 0, signal: null });
});

test('a signal before the head or in the body of an answer lets the answer finish', async (t) => {
  for (const when of ['before the head', 'in the body']) {
    const { upstream, proxy } = await start(t);
    const connection = await proxy.connect();
    const begun = gate();
    upstream.handler = async (exchange) => {
      if (when === 'before the head') {
        proxy.child.kill('SIGTERM');
        await closes(proxy.port);
      }
      await exchange.send(`${OK}Content-Length: 4\r\n\r\nha`);
      if (when === 'in the body') {
        await begun.opened;
        proxy.child.kill('SIGTERM');
        await closes(proxy.port);
      }
      await exchange.send('lf');
    };
    await connection.send(requestBytes('GET', '/x/v1/y'));
    const head = await within(readHead(connection.reader), 'a head');
    begun.open();
    const close = when === 'before the head' ? 'close' : undefined;
    t.is(value(head?.fields ?? [], 'connection'), close, when);
    t.is((await connection.closed()).toString(), 'half', when);
    connection.destroy();
    t.deepEqual(await within(proxy.exited, 'its end'), { code: 0, signal: null });
  }
});

test('each request counts once in the log and once in the metrics, however it was served', async (t) => {
  const { upstream, proxy } = await start(t, ['--retry-first', '50ms']);
  upstream.handler = async (exchange) => {
    await pause(exchange.target.endsWith('/again') ? 300 : 0);
    const again = exchange.target.endsWith('/again') && upstream.exchanges.length % 2 === 1;
    await exchange.respond(again ? 503 : 200, { body: 'abc' });
  };
  const connection = await proxy.connect();
  t.is((await connection.exchange(requestBytes('GET', '/x/v1/again'))).status, 200);
  t.is((await connection.exchange(requestBytes('GET', '/x/v1/y'))).status, 200);
  t.is((await proxy.get('/x/v1/y')).status, 200);
  t.is((await proxy.get('/nowhere')).status, 404);
  await proxy.logged(/nowhere.* 404 /);
  const lines = proxy.log.split('\n').filter((line) => / (Proxying|Answering) /.test(line));
  t.is(lines.length, 4, proxy.log);
  const took = Number(/(\d+)(?:\.\d+)? ?ms/.exec(lines[0] ?? '')?.[1]);
  t.true(took >= 600, `both tries took more than 600 ms: ${lines[0]}`);
  const metrics = (await proxy.get('/__metrics__')).body.toString();
  t.regex(metrics, /requests_total\{[^}]*2xx[^}]*\} 3\n/, metrics);
  t.regex(metrics, /retries_total 1\n/);
  t.regex(metrics, /response_body_bytes_total 112\n/);
});

test('--retry-for 0 and a distant Retry-After make the first answer final', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = (exchange) => {
    exchange.connection.destroy();
  };
  t.is((await proxy.get('/x/v1/y')).status, 502);
  t.is(upstream.exchanges.length, 1);
  upstream.handler = (exchange) => exchange.respond(503, { body: 'no' });
  t.is((await proxy.get('/x/v1/y')).body.toString(), 'no');
  t.is(upstream.exchanges.length, 2);
  const patient = await startProxy(t, { rootUrl: upstream.url, flags: ['--retry-for', '5s'] });
  upstream.handler = (exchange) =>
    exchange.respond(503, { fields: [['Retry-After', '60']], body: 'later' });
  t.is((await patient.get('/x/v1/y')).body.toString(), 'later');
  t.is(upstream.exchanges.length, 3);
});

test('an update waits for a running GET, and the answer names the set that signed it', async (t) => {
  const { upstream, proxy } = await start(t);
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  upstream.handler = async (exchange) => {
    if (exchange.target.endsWith('/slow')) {
      await opened;
    }
    await exchange.respond(200, { body: exchange.signed().clientId });
  };
  const connection = await proxy.connect();
  const running = connection.exchange(requestBytes('GET', '/x/v1/slow'));
  await upstream.nth(1);
  const update = proxy.updateCredentials(permanentCredentials('tests/second'));
  t.is(await Promise.race([update, pause(STILL_MS)]), undefined, 'the update did not wait');
  open();
  const named = 'x-taskcluster-proxy-perm-clientid';
  for (const [answer, id] of [
    [await running, 'tests/permanent'],
    [await update.then(() => proxy.get('/x/v1/behind')), 'tests/second'],
    [await connection.exchange(requestBytes('GET', '/x/v1/y')), 'tests/second'],
  ] as const) {
    t.is(answer.body.toString(), id);
    t.is(value(answer.fields, named), id);
  }
  t.is((await update).status, 200);
});

test('a client that leaves ends its request, before the answer and in its body', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const begins of [false, true]) {
    upstream.handler = async (exchange) => {
      if (begins) {
        await exchange.send(`${OK}Content-Length: 1000\r\n\r\nsome`);
      }
      await exchange.gone();
    };
    const next = upstream.next();
    const connection = await proxy.connect();
    await connection.send(requestBytes('GET', '/x/v1/y'));
    const exchange = await next;
    if (begins) {
      await connection.reader.until('some');
    }
    connection.destroy();
    await within(exchange.gone(), 'the end at upstream', PROMPT_MS);
  }
  await proxy.logged(/Proxying [\s\S]*Proxying /);
  const metrics = (await proxy.get('/__metrics__')).body.toString();
  t.regex(metrics, /running_requests 1\n/, metrics);
});

test('a client that has shut down writing gets its answer, after a retry, too', async (t) => {
  const { upstream, proxy } = await start(t, ['--retry-first', '50ms']);
  upstream.handler = async (exchange) => {
    await pause(600);
    await exchange.respond(upstream.exchanges.length === 1 ? 503 : 200, { body: 'ok' });
  };
  const connection = await proxy.connect();
  await connection.send(requestBytes('GET', '/x/v1/y'));
  connection.end();
  t.is((await connection.response()).body.toString(), 'ok');
  await connection.closed();
});

test('the proxy closes connections that failed, and replaces those that upstream closes', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = answers({ answer: `${OK}Content-Length: 2\r\n\r\nokk`, gets: '' });
  for (let each = 0; each < 20; each += 1) {
    await proxy.get('/x/v1/y');
  }
  await openConnections(t, upstream, 0);
  upstream.handler = async (exchange) => {
    await exchange.respond(200, { body: 'ok' });
    exchange.connection.end();
  };
  for (let each = 0; each < 20; each += 1) {
    t.is((await proxy.get('/x/v1/y')).status, 200);
    await pause(5);
  }
});

async function openConnections(t: ExecutionContext, upstream: Upstream, count: number) {
  const areLeft = () => upstream.open.size <= count;
  await t.notThrowsAsync(until(areLeft, `no more than ${count} connections`));
}
