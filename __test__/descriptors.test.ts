// A task that opens connections without end must keep nobody out, least of all whoever updates the
// credentials; here users are not checked, so nothing but its behaviour tells the task apart.
import net from 'node:net';
import test from 'ava';
import { startProxy } from './harness/proxy.js';
import { temporaryCredentials } from './harness/signature.js';
import { startUpstream } from './harness/upstream.js';

const DESCRIPTORS = 300;

test('connections that say nothing make room for an update of the credentials', async (t) => {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, descriptors: DESCRIPTORS });
  const sockets = new Set<net.Socket>();
  t.teardown(() => {
    for (const socket of sockets) {
      socket.destroy();
    }
  });
  const open = () =>
    new Promise<void>((resolve) => {
      const socket = net.connect(proxy.port, '127.0.0.1', resolve);
      sockets.add(socket);
      socket.on('error', () => resolve());
    });
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(Array.from({ length: 100 }, open));
    t.is((await proxy.updateCredentials(temporaryCredentials([]))).status, 200, `round ${round}`);
  }
  t.true(sockets.size > DESCRIPTORS * 5);
  t.regex(proxy.log, /^(?!.*Cannot accept)/s);
});
