// Interim answers (RFC 9110 15.2) to a slow client: the proxy never writes its own bytes into one.
import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'ava';
import { pause, within } from '../harness/deadline.js';
import { requestBytes, startProxy } from '../harness/proxy.js';
import { startUpstream } from '../harness/upstream.js';

const LINK = `Link: </${'a'.repeat(80)}>; rel=preload\r\n`;
const HINTS = `HTTP/1.1 103 Early Hints\r\n${LINK.repeat(400)}\r\n`;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
/** Together they are longer than what the kernel keeps for a reader. */
const REQUESTS = 400;

/** All heads of what came, each with whether it has all of its lines. */
function heads(received: Buffer): Map<string, number> {
  const seen = new Map<string, number>();
  for (const head of received.toString('latin1').split(/\r\n\r\n(?:ok)?/)) {
    const lines = head.split('\r\n').filter((line) => !/^X-Taskcluster-/i.test(line));
    const [first = ''] = lines;
    const isWhole = lines.filter((line) => line === LINK.trim()).length === 400;
    const what = `${first}${isWhole ? ', whole' : ''}`;
    seen.set(what, (seen.get(what) ?? 0) + 1);
  }
  return seen;
}

test('a client that reads late gets every interim answer whole, and the answer behind it', async (t) => {
  const upstream = await startUpstream(t, { handler: (exchange) => exchange.send(HINTS + OK) });
  const flags = ['--response-timeout', '3s', '--retry-for', '0'];
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  const socket = connect(proxy.port, '127.0.0.1').pause();
  socket.end(Buffer.concat(Array(REQUESTS).fill(requestBytes('GET', '/x/v1/y'))));
  // Longer than upstream may take.
  await pause(5_000);
  const received: Buffer[] = [];
  socket.on('data', (bytes) => received.push(bytes)).resume();
  await within(once(socket, 'close'), 'the end');
  t.deepEqual(
    heads(Buffer.concat(received)),
    new Map([
      ['HTTP/1.1 103 Early Hints, whole', REQUESTS],
      ['HTTP/1.1 200 OK', REQUESTS],
      ['', 1],
    ]),
  );
});
