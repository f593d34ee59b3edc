// An answer that comes before the request's body has been read is the answer: a refused upload is
// neither sent again nor turned into 502, on either wire.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { endsWith } from '../harness/child.js';
import { gate, pause, STILL_MS, until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { Http2Client } from '../harness/http2.js';
import { accepts, closes, unusedPort } from '../harness/port.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { permanentCredentials } from '../harness/signature.js';
import { pathOf, testWith } from '../harness/tools.js';
import { answerOk, startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

const MIB = 1024 * 1024;
/** The time in which the proxy most likely notices that a client has shut down writing. */
const NOTICE_MS = 200;
const TIMES = 20;

const REFUSES = 'deny deny_status 413';

/** How curl sends a file: by the name of the wire that its request takes, and why. */
const UPLOADS = {
  'a bare socket, past what is kept': { bytes: 40 * MIB, flags: ['-T', 'FILE', '-H', 'Expect:'] },
  'a bare socket, kept': { bytes: 200_000, flags: ['-T', 'FILE', '-H', 'Expect:'] },
  'hyper, as curl has it (Expect)': { bytes: 40 * MIB, flags: ['-T', 'FILE'] },
  'hyper, in chunks': {
    bytes: 40 * MIB,
    flags: ['-T', 'FILE', '-H', 'Expect:', '-H', 'Transfer-Encoding: chunked'],
  },
  'hyper, over HTTP/2': { bytes: 40 * MIB, flags: ['-T', 'FILE', '--http2-prior-knowledge'] },
};

/** HAProxy that answers every request at its head, before it has read a body. */
async function startHasty(t: ExecutionContext, rule: string): Promise<string> {
  const directory = freshDirectory(t);
  const port = await unusedPort();
  const file = path.join(directory, 'haproxy.cfg');
  writeFileSync(
    file,
    `defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend all
  bind 127.0.0.1:${port}
  http-request ${rule}
`,
  );
  const child = spawn(pathOf('haproxy'), ['-db', '-f', file], { stdio: 'ignore' });
  endsWith(t, child);
  await until(() => accepts(port), 'the start of HAProxy');
  return `http://127.0.0.1:${port}`;
}

/** The status that curl reports, and its exit code. */
async function upload(url: string, flags: string[]): Promise<string> {
  const args = ['-s', '-o', '/dev/null', '-w', '%{http_code}', ...flags, url];
  try {
    return (await promisify(execFile)(pathOf('curl'), args)).stdout;
  } catch (error) {
    const { stdout, code } = error as { stdout: string; code: number };
    return `${stdout} and curl's ${code}`;
  }
}

for (const [wire, { bytes, flags }] of Object.entries(UPLOADS)) {
  testWith('haproxy', 'curl')(`an upload gets HAProxy's refusal by ${wire}`, async (t) => {
    const rootUrl = await startHasty(t, REFUSES);
    const proxy = await startProxy(t, { rootUrl });
    const file = path.join(freshDirectory(t), 'file');
    writeFileSync(file, Buffer.alloc(bytes, 'x'));
    const url = `http://127.0.0.1:${proxy.port}/queue/v1/upload`;
    const named = flags.map((flag) => (flag === 'FILE' ? file : flag));
    for (let time = 0; time < TIMES; time += 1) {
      t.is(await upload(url, named), '413', `upload ${time}`);
    }
  });
}

testWith('haproxy', 'curl')("an upload over HTTP/2 gets HAProxy's redirect", async (t) => {
  const rootUrl = await startHasty(t, 'redirect location https://tc.example.com/ code 307');
  const proxy = await startProxy(t, { rootUrl });
  const { bytes, flags } = UPLOADS['hyper, over HTTP/2'];
  const file = path.join(freshDirectory(t), 'file');
  writeFileSync(file, Buffer.alloc(bytes, 'x'));
  const url = `http://127.0.0.1:${proxy.port}/queue/v1/upload`;
  const named = flags.map((flag) => (flag === 'FILE' ? file : flag));
  for (let time = 0; time < TIMES; time += 1) {
    t.is(await upload(url, named), '307', `upload ${time}`);
  }
});

testWith('curl')(
  'an HTTP/2 client gets the refusal of an upload that the proxy answers itself',
  async (t) => {
    const upstream = await startUpstream(t);
    const proxy = await startProxy(t, { rootUrl: upstream.url });
    const file = path.join(freshDirectory(t), 'file');
    writeFileSync(file, Buffer.alloc(40 * MIB, 'x'));
    const refused = { '/credentials': '413', '/no-route': '404' };
    for (const [target, status] of Object.entries(refused)) {
      for (let time = 0; time < TIMES; time += 1) {
        const url = `http://127.0.0.1:${proxy.port}${target}`;
        t.is(await upload(url, ['-T', file, '--http2-prior-knowledge']), status);
      }
    }
  },
);

const HEAD = 'POST /x/v1/y HTTP/1.1\r\nHost: taskcluster\r\n';

test('an answer says Connection: close if the body of its request was not read', async (t) => {
  const upstream = await startUpstream(t, {
    handler: (exchange) => exchange.respond(413, { body: 'no' }),
  });
  const proxy = await startProxy(t, { rootUrl: upstream.url });
  const unread = {
    'of a known length': `${HEAD}Content-Length: 20000\r\n\r\nx`,
    'in chunks': `${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`,
    'that waits for 100': `${HEAD}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
    'of a request that is refused here': `${HEAD.replace('/x/v1/y', '/x')}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`,
  };
  for (const [what, bytes] of Object.entries(unread)) {
    const connection = await proxy.connect();
    await connection.send(bytes);
    const answer = await connection.response('POST');
    t.is(value(answer.fields, 'connection'), 'close', what);
    connection.destroy();
  }
  const connection = await proxy.connect();
  const read = `${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n`;
  upstream.handler = answerOk;
  for (const _ of 'twice') {
    const answer = await connection.exchange(read);
    t.is(value(answer.fields, 'connection'), undefined);
  }
});

/** Uploads of which a part has come, by the wire that they take. */
const PARTS = {
  'a bare socket': `${HEAD}Content-Length: 50000\r\n\r\nx`,
  hyper: `${HEAD.replace('/x', 'http://taskcluster/x')}Content-Length: 50000\r\n\r\nx`,
  'hyper, in chunks': `${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`,
};

for (const [wire, bytes] of Object.entries(PARTS)) {
  test(`a refusal ends an upload for both sides, by ${wire}`, async (t) => {
    const upstream = await startUpstream(t);
    const proxy = await startProxy(t, { rootUrl: upstream.url });
    for (const endsEarly of [false, true]) {
      const begun = gate();
      const left = gate();
      upstream.handler = async (exchange) => {
        await exchange.sendHead(413, { fields: [['Content-Length', '4']] });
        await exchange.send('no');
        const gone = exchange.gone().then(left.open);
        await begun.opened;
        await Promise.race([gone, pause(endsEarly ? NOTICE_MS : 0)]);
        await exchange.send('pe');
      };
      const connection = await proxy.connect();
      await connection.send(bytes);
      await connection.reader.until('no');
      if (endsEarly) {
        connection.end();
      }
      begun.open();
      await connection.reader.until('pe');
      await connection.closed();
      await within(left.opened, 'the end of the upload');
      connection.destroy();
    }
    t.pass();
  });
}

test('an upload that is refused is not sent again', async (t) => {
  let requests = 0;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => {
      requests += 1;
      socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno');
      // Further bytes are not read: the system resets the connection.
      socket.pause();
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const proxy = await startProxy(t, { rootUrl: `http://127.0.0.1:${port}` });
  for (const length of [300, 20_000, 200_000, 12 * MIB]) {
    for (const target of ['/x/v1/y', 'http://taskcluster/x/v1/y']) {
      requests = 0;
      const body = Buffer.alloc(length, 'x');
      const answer = await proxy.exchange(requestBytes('POST', target, { body }));
      t.is(answer.status, 401, `${length} bytes to ${target}: ${answer.body}`);
      t.is(answer.body.toString(), 'no');
      t.is(requests, 1);
    }
  }
});

test('a client whose upload upstream breaks off gets 502 and the end of its connection', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.resetAndDestroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { port } = server.address() as { port: number };
  const proxy = await startProxy(t, {
    rootUrl: `http://127.0.0.1:${port}`,
    flags: ['--retry-for', '0'],
  });
  const length = 12 * MIB;
  const body = Buffer.alloc(length, 'x');
  const framings = {
    'Content-Length': [`${length}`, body],
    'Transfer-Encoding': ['chunked', Buffer.concat([Buffer.from('c00000\r\n'), body])],
  } as const;
  for (const [name, [value, bytes]] of Object.entries(framings)) {
    for (let time = 0; time < TIMES; time += 1) {
      const connection = await proxy.connect();
      // The body goes as far as the proxy takes it.
      connection.socket.write(`PUT /x/v1/y HTTP/1.1\r\nHost: a\r\n${name}: ${value}\r\n\r\n`);
      connection.socket.write(bytes);
      t.is((await connection.response('PUT')).status, 502);
      await connection.closed();
      connection.destroy();
    }
  }
});

test('upstream gets the rest of a body if it answers early and goes on reading', async (t) => {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url });
  for (const length of [20_000, 12 * MIB]) {
    let received = 0;
    upstream.handler = async (exchange) => {
      await exchange.send('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhe');
      for await (const part of exchange.bodyChunks()) {
        received += part.length;
      }
      await exchange.send('re');
    };
    const connection = await proxy.connect();
    const bytes = requestBytes('PUT', '/x/v1/y', { body: Buffer.alloc(length, 'x') });
    await connection.send(bytes.subarray(0, -5_000));
    await connection.reader.until('he');
    await connection.send(bytes.subarray(-5_000));
    await connection.reader.until('re');
    t.is(received, length);
    connection.destroy();
  }
});

/** Uploads whose answer comes first: how they begin, how they go on, and how they end. */
const GOING_ON = {
  'a bare socket': known('/x/v1/y'),
  hyper: known('http://taskcluster/x/v1/y'),
  'hyper, in chunks': async (proxy: RunningProxy) => {
    const upload = await begin(proxy, `${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n`);
    return { ...upload, more: '1\r\nx\r\n', last: '1\r\nx\r\n0\r\n\r\n' };
  },
  'hyper, over HTTP/2': async (proxy: RunningProxy, t: ExecutionContext) => {
    const client = await Http2Client.connect(t, proxy.url);
    const stream = client.open({ ':method': 'POST', ':path': '/x/v1/y' });
    stream.write('x');
    const [{ ':status': status }] = await within(once(stream, 'response'), 'an answer');
    await within(text(stream), 'its end');
    const send = (part: string) => (part === 'x' ? stream.write(part) : stream.end(part));
    return { status, send, more: 'x', last: 'xx' };
  },
};

function known(target: string) {
  return async (proxy: RunningProxy) => {
    const head = HEAD.replace('/x/v1/y', target);
    const upload = await begin(proxy, `${head}Content-Length: 20000\r\n\r\nx`);
    return { ...upload, more: 'x', last: 'x'.repeat(19_998) };
  };
}

async function begin(proxy: RunningProxy, bytes: string) {
  const connection = await proxy.connect();
  await connection.send(bytes);
  const { status } = await connection.response('POST');
  return { status, send: (part: string) => connection.send(part) };
}

for (const [wire, start] of Object.entries(GOING_ON)) {
  test(`a request counts as running until upstream has its body, by ${wire}`, async (t) => {
    const upstream = await startUpstream(t);
    const flags = ['--drain-timeout', '1m', '--grace', '1m'];
    const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
    let received = '';
    const more = gate();
    const ended = gate();
    upstream.handler = async (exchange) => {
      await exchange.respond(200, { body: 'early' });
      for await (const part of exchange.bodyChunks()) {
        received += part;
        if (received.length > 1) {
          more.open();
        }
      }
      ended.open();
    };
    const upload = await start(proxy, t);
    t.is(upload.status, 200);
    t.is(await proxy.running(), 1);
    const update = proxy.updateCredentials(permanentCredentials());
    await until(async () => (await proxy.running()) === 2, 'the update');
    t.is(await Promise.race([update, pause(STILL_MS)]), undefined, 'the update did not wait');
    proxy.child.kill('SIGTERM');
    await closes(proxy.port);
    await upload.send(upload.more);
    await within(more.opened, 'more of the body');
    await upload.send(upload.last);
    await within(ended.opened, 'the end of the body');
    t.regex(received, /^x+$/);
    t.is((await update).status, 200);
    t.deepEqual(await within(proxy.exited, 'the end'), { code: 0, signal: null });
  });
}
