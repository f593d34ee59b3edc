// A task that opens connections without end must not keep other clients out, least of all a launcher
// that updates the credentials. The proxy does not check users here, so only the behaviour distinguishes
// the task. Idle connections make room, connections in use do not.
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import type { Connection } from '../harness/connection.js';
import { gate, pause, until, within } from '../harness/deadline.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { temporaryCredentials } from '../harness/signature.js';
import { answerOk, type Exchange, startUpstream } from '../harness/upstream.js';
import { readHead } from '../harness/wire.js';

const DESCRIPTORS = 300;
/** Connections of tasks that this many descriptors leave room for: see docs/operations.md. */
const PLACES = (DESCRIPTORS - 128) / 2;
/** Places that idle connections leave free for connections that are in use. */
const SPARE = Math.floor(PLACES / 16);

const GET = requestBytes('GET', '/queue/v1/x');

async function start(t: ExecutionContext) {
  const upstream = await startUpstream(t);
  return {
    upstream,
    proxy: await startProxy(t, { rootUrl: upstream.url, descriptors: DESCRIPTORS }),
  };
}

/** Connections one after another, each with one request behind it. */
async function openUsed(t: ExecutionContext, proxy: RunningProxy, count: number) {
  const opened: Connection[] = [];
  for (let each = 0; each < count; each += 1) {
    const connection = await proxy.connect();
    t.is((await connection.exchange(GET)).status, 200, `connection ${each}`);
    opened.push(connection);
  }
  return opened;
}

test('connections that say nothing make room for an update of the credentials', async (t) => {
  const { proxy } = await start(t);
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

test('the connection that has been idle for longest makes room, on any thread', async (t) => {
  const { proxy } = await start(t);
  const opened = await openUsed(t, proxy, PLACES - SPARE);
  const ended: number[] = [];
  for (const [number, { socket }] of opened.entries()) {
    socket.once('end', () => ended.push(number)).once('close', () => ended.push(number));
    socket.resume();
  }
  const [first, second] = [0, 40];
  for (const number of [second, first]) {
    // Read by the test from here on, and in use later than the others.
    opened[number]?.socket.pause();
    t.is((await opened[number]?.exchange(GET))?.status, 200);
  }
  const newcomers = await openUsed(t, proxy, PLACES - SPARE - 2);
  const order = opened
    .map((_, number) => number)
    .filter((number) => ![first, second].includes(number));
  await until(() => new Set(ended).size >= order.length, 'the end of each');
  t.deepEqual([...new Set(ended)], order);
  for (const connection of [opened[first], opened[second], ...newcomers]) {
    t.is((await connection?.exchange(GET))?.status, 200);
  }
});

test('a client that makes a request every 5 ms is never in the way of newcomers', async (t) => {
  const { proxy } = await start(t);
  await openUsed(t, proxy, PLACES);
  const active = await proxy.connect();
  let served = 0;
  const work = (async () => {
    for (; served < 100; served += 1) {
      t.is((await active.exchange(GET)).status, 200);
      await pause(5);
    }
  })();
  let over = false;
  const worked = work.finally(() => {
    over = true;
  });
  worked.catch(() => {});
  for (let round = 0; round < 8 || !over; round += 1) {
    // Few enough that the client has its turn before they have used all places.
    const newcomers = Array.from({ length: 12 }, async () => {
      const connection = await proxy.connect();
      const answer = await connection.exchange(GET);
      return answer.status === 200 ? 200 : answer.body.toString();
    });
    t.deepEqual(new Set(await Promise.all(newcomers)), new Set([200]), `round ${round}`);
  }
  await worked;
});

/** How a connection is in use, and what proves afterwards that it still is. */
const USES: Record<
  string,
  (connection: Connection, arrived: Promise<Exchange>) => Promise<() => Promise<unknown>>
> = {
  'a request that waits for its answer': async (connection, arrived) => {
    await connection.send(requestBytes('GET', '/queue/v1/waits'));
    const exchange = await arrived;
    return async () => {
      await exchange.respond(200, { body: 'at last' });
      return (await connection.response()).body.toString() === 'at last';
    };
  },
  'an answer that is not read': async (connection, arrived) => {
    await connection.send(requestBytes('GET', '/queue/v1/unread'));
    const length = 32 * 1024 * 1024;
    const exchange = await arrived;
    await exchange.sendHead(200, { fields: [['Content-Length', String(length)]] });
    const sent = exchange.send(Buffer.alloc(length));
    return async () => {
      const { body } = await connection.response();
      await sent;
      return body.length === length;
    };
  },
  'an answer that the client does not read to its end': async (connection, arrived) => {
    // All of it has come from upstream: what is left waits here and in the kernel's buffers.
    await connection.send(requestBytes('GET', '/queue/v1/unread'));
    const length = 6 * 1024 * 1024;
    const exchange = await arrived;
    await exchange.sendHead(200, { fields: [['Content-Length', String(length)]] });
    void exchange.send(Buffer.alloc(length));
    return async () => (await connection.response()).body.length === length;
  },
  'a body that goes on behind its answer': (connection, arrived) =>
    goOn(connection, arrived, ['Content-Length', '50000'], 'x'.repeat(50_000)),
  'chunks that go on behind their answer': (connection, arrived) =>
    goOn(connection, arrived, ['Transfer-Encoding', 'chunked'], '1\r\nx\r\n0\r\n\r\n'),
  'a tunnel': async (connection, arrived) => {
    const fields: [string, string][] = [
      ['Connection', 'Upgrade'],
      ['Upgrade', 'echo'],
    ];
    await connection.send(requestBytes('GET', '/queue/v1/tunnel', { fields }));
    const exchange = await arrived;
    await exchange.sendHead(101, { reason: 'Switching Protocols', fields });
    await within(readHead(connection.reader), 'the 101');
    return async () => {
      await connection.send('ping');
      await exchange.send(await exchange.connection.reader.exactly(4));
      return (await connection.reader.exactly(4)).toString() === 'ping';
    };
  },
};

/** Upstream answers the head at once, and the body comes later. */
async function goOn(
  connection: Connection,
  arrived: Promise<Exchange>,
  framing: [string, string],
  body: string,
) {
  await connection.send(requestBytes('PUT', '/queue/v1/goes-on', { fields: [framing] }));
  const exchange = await arrived;
  await exchange.respond(200);
  await connection.response('PUT');
  return async () => {
    await connection.send(body);
    const { bytes } = await exchange.body();
    return bytes.length > 0;
  };
}

test('a connection that is in use makes no room', async (t) => {
  const { proxy, upstream } = await start(t);
  const over = gate();
  upstream.handler = async (exchange) => {
    if (exchange.target.endsWith('/x')) {
      await answerOk(exchange);
    } else {
      await over.opened;
    }
  };
  const proofs = new Map<string, () => Promise<unknown>>();
  for (const [use, occupy] of Object.entries(USES)) {
    const connection = await proxy.connect();
    proofs.set(use, await occupy(connection, upstream.next()));
  }
  for (let round = 0; round < 3; round += 1) {
    await openUsed(t, proxy, PLACES);
  }
  for (const [use, proof] of proofs) {
    t.true(await within(proof(), use), use);
  }
  over.open();
});
