// An upstream machine that has vanished: it sends nothing, not even the end of a connection. And one that is
// alive with a full receive window, which differs only in its acknowledgements.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { endsWith } from '../harness/child.js';
import type { RawResponse } from '../harness/connection.js';
import { PATIENCE_MS, within } from '../harness/deadline.js';
import { ip, makeNamespace, type Namespace } from '../harness/namespace.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';

/** How long what was sent may stay unacknowledged. */
const LIMIT = 30_000;

/** Answers each request with the number of its connection; one to `/stall` is read after 35 s. */
const SERVER = `
  let connections = 0;
  const server = require('node:http').createServer((request, response) => {
    const number = String(request.socket.number ??= ++connections);
    const answer = () => request.resume().on('end', () => response.end(number));
    setTimeout(answer, request.url.endsWith('/stall') ? 35_000 : 0);
  });
  server.listen(8000, () => console.log('ready'));
`;

async function startInside(t: ExecutionContext, { name }: Namespace): Promise<void> {
  const child = spawn('ip', ['netns', 'exec', name, process.execPath, '-e', SERVER], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  endsWith(t, child);
  await within(once(child.stdout, 'data'), 'the start of the upstream');
}

async function start(t: ExecutionContext) {
  const namespace = makeNamespace(t);
  if (namespace === null) {
    t.pass();
    return null;
  }
  await startInside(t, namespace);
  const rootUrl = `http://${namespace.v4.guest}:8000`;
  return { namespace, proxy: await startProxy(t, { rootUrl, flags: ['--retry-for', '0'] }) };
}

async function exchange(proxy: RunningProxy, request: Buffer): Promise<RawResponse> {
  const connection = await proxy.connect();
  const sent = connection.send(request);
  const answer = await connection.response('POST', LIMIT + PATIENCE_MS);
  await sent;
  return answer;
}

test('the proxy gives up a pooled connection within half a minute when its peer has vanished', async (t) => {
  const started = await start(t);
  if (started === null) {
    return;
  }
  const { namespace, proxy } = started;
  t.is((await proxy.get('/queue/v1/x')).body.toString(), '1');
  t.is((await proxy.get('/queue/v1/x')).body.toString(), '1', 'the connection is kept');
  t.true(ip(`-n ${namespace.name} addr flush dev ${namespace.device}`));
  const begun = Date.now();
  const answer = await exchange(proxy, requestBytes('POST', '/queue/v1/x', { body: 'hello' }));
  t.is(answer.status, 502);
  t.regex(answer.body.toString(), /^cannot reach 10\..*:8000: .*timed out/);
  t.true(Date.now() - begun > LIMIT / 2, 'it was not told sooner');
});

test('the proxy goes on waiting for an upstream that is alive and takes nothing', async (t) => {
  const started = await start(t);
  if (started === null) {
    return;
  }
  const { proxy } = started;
  // Kept for another try, and too long to be kept.
  const answers = [8, 12].map((mebibytes) => {
    const body = Buffer.alloc(mebibytes * 2 ** 20);
    return exchange(proxy, requestBytes('PUT', '/queue/v1/stall', { body }));
  });
  for (const answer of await Promise.all(answers)) {
    t.is(answer.status, 200, answer.body.toString());
  }
});
