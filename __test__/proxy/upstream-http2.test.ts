// HTTP/2 to upstream with --upstream-http2: a request does not disturb the others on its shared connection.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import { pause, until } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { type NginxOptions, startNginx } from '../harness/nginx.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { testWith } from '../harness/tools.js';
import { startUpstream } from '../harness/upstream.js';

const MIB = 2 ** 20;

const authority = await Authority.create();

/** nginx by HTTP/2, and a proxy before it. */
async function start(t: ExecutionContext, options: Omit<NginxOptions, 'leaf' | 'http2'>) {
  const leaf = await authority.issue(['localhost']);
  const nginx = await startNginx(t, { leaf, http2: true, ...options });
  const env = { SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)) };
  return startProxy(t, { rootUrl: nginx.url, env, flags: ['--upstream-http2'] });
}

/** A folder with a file of that length at `/queue/v1/file`. */
function folderWith(t: ExecutionContext, length: number): string {
  const root = freshDirectory(t);
  mkdirSync(path.join(root, 'api/queue/v1'), { recursive: true });
  writeFileSync(path.join(root, 'api/queue/v1/file'), Buffer.alloc(length));
  return root;
}

testWith('nginx')(
  'no request is lost where upstream ends many connections by GOAWAY at once',
  async (t) => {
    const upstream = await startUpstream(t);
    upstream.handler = async (exchange) => {
      const { bytes } = await exchange.body();
      await exchange.respond(200, { body: `${bytes.length}` });
    };
    const proxy = await start(t, { passTo: upstream.url, keepaliveRequests: 1 });
    const gets = Array.from({ length: 20 }, () => proxy.get('/queue/v1/x'));
    for (const { status, body } of await Promise.all(gets)) {
      t.is(status, 200, body.toString());
    }
    const body = Buffer.alloc(12 * MIB);
    const uploads = Array.from({ length: 7 }, () => proxy.request('PUT', '/queue/v1/x', { body }));
    for (const { status, body: length } of await Promise.all(uploads)) {
      t.is(`${status} ${length}`, `200 ${body.length}`);
    }
    t.notRegex(proxy.log, /Retrying/, 'they are no tries');
    t.is(upstream.exchanges.length, 27, 'each ran once');
    upstream.assertAllSigned(t);
  },
);

/** Begins a download, and leaves when its first bytes have come. */
async function cancel(proxy: RunningProxy): Promise<void> {
  const connection = await proxy.connect();
  await connection.send(requestBytes('GET', '/queue/v1/file'));
  await connection.reader.exactly(1);
  connection.destroy();
}

testWith('nginx')('downloads that are cancelled by the hundred break no other', async (t) => {
  const proxy = await start(t, { root: folderWith(t, 8 * MIB) });
  let cancelled = 0;
  let over = false;
  const cancelling = Array.from({ length: 8 }, async () => {
    while (!over) {
      await cancel(proxy);
      cancelled += 1;
    }
  });
  for (let download = 0; download < 30 || cancelled < 1500; download += 1) {
    const { status, body } = await proxy.get('/queue/v1/file');
    t.is(`${status} ${body.length}`, `200 ${8 * MIB}`);
  }
  over = true;
  await Promise.all(cancelling);
  t.log(`${cancelled} cancelled`);
  t.notRegex(proxy.log, /Retrying|broke off|\| 502 \|/);
});

testWith('nginx')(
  'the memory that stopped readers took comes back when they have gone',
  async (t) => {
    const proxy = await start(t, { root: folderWith(t, 64 * MIB) });
    t.is((await proxy.get('/queue/v1/file')).status, 200);
    const before = proxy.memory();
    const readers = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const connection = await proxy.connect();
        connection.socket.pause();
        await connection.send(requestBytes('GET', '/queue/v1/file'));
        return connection;
      }),
    );
    await pause(3000);
    const stopped = proxy.memory() - before;
    for (const reader of readers) {
      reader.destroy();
    }
    const left = () => proxy.memory() - before;
    await until(() => left() < 50 * MIB, 'the memory');
    t.log(
      `${(stopped / MIB).toFixed(1)} MiB while they stood, ${(left() / MIB).toFixed(1)} MiB behind them`,
    );
    t.true(stopped < 250 * MIB);
  },
);
