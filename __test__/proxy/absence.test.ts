// The kernel cannot look up a client in another network namespace, such as a container. The proxy still
// notices that such a client has left, and keeps one that has only shut down writing.
import test, { type ExecutionContext } from 'ava';
import { PROMPT_MS, pause, until, within } from '../harness/deadline.js';
import { Guest } from '../harness/guest.js';
import { ip, makeNamespace, type Namespace } from '../harness/namespace.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { answerOk, type Exchange, startUpstream, type Upstream } from '../harness/upstream.js';
import type { Fields } from '../harness/wire.js';

/** Questions begin after 15 s, and three that stay unanswered take 15 s. */
const NOTICED = 30_000 + PROMPT_MS;

/** Long enough for several tries of a request that is tried every second. */
const TRIES_MS = 4_000;

const UPGRADE: Fields = [
  ['Connection', 'Upgrade'],
  ['Upgrade', 'echo'],
];

/** Requests that are under way when their client leaves: what is sent, and what upstream does. */
const UNDER_WAY: Record<string, [request: Buffer, handler: (exchange: Exchange) => Promise<void>]> =
  {
    'a GET that waits': [requestBytes('GET', '/queue/v1/waits'), (exchange) => exchange.gone()],
    'a download': [
      requestBytes('GET', '/queue/v1/log'),
      async (exchange) => {
        await exchange.sendHead(200, { fields: [['Transfer-Encoding', 'chunked']] });
        for (;;) {
          await exchange.chunk('a line\n'.repeat(10_000));
          await pause(50);
        }
      },
    ],
    'an upload': [
      requestBytes('PUT', '/queue/v1/upload', { fields: [['Content-Length', '1000']] }),
      async (exchange) => {
        await exchange.body();
      },
    ],
    'a tunnel': [
      requestBytes('GET', '/queue/v1/tunnel', { fields: UPGRADE }),
      async (exchange) => {
        await exchange.sendHead(101, { reason: 'Switching Protocols', fields: UPGRADE });
        await exchange.gone();
      },
    ],
    'a tunnel that upstream sends by': [
      requestBytes('GET', '/queue/v1/busy-tunnel', { fields: UPGRADE }),
      async (exchange) => {
        await exchange.sendHead(101, { reason: 'Switching Protocols', fields: UPGRADE });
        for (;;) {
          await exchange.send('a line\n');
          await pause(50);
        }
      },
    ],
  };

const POST = requestBytes('POST', '/queue/v1/again', { body: '{}' });

/** Guests of a namespace of their own, each with something under way; the test is over without one. */
async function start(t: ExecutionContext) {
  const namespace = makeNamespace(t);
  if (namespace === null) {
    t.pass();
    return null;
  }
  const upstream = await startUpstream(t);
  const handlers = new Map(
    Object.values(UNDER_WAY).map(([request, handler]) => [targetOf(request), handler]),
  );
  upstream.handler = async (exchange) => {
    const handler = handlers.get(exchange.target.replace('/api', ''));
    if (handler) {
      await handler(exchange);
    } else {
      await exchange.body();
      await exchange.respond(503);
    }
  };
  const proxy = await startProxy(t, {
    rootUrl: upstream.url,
    addresses: [namespace.v4.host],
    flags: ['--host', '*', '--retry-first', '300ms', '--retry-cap', '1s'],
  });
  const guests = new Map<string, { guest: Guest; exchange: Exchange }>();
  for (const [what, [request]] of Object.entries(UNDER_WAY)) {
    const arrived = upstream.next();
    const guest = new Guest(t, namespace, proxy.port);
    guest.send(request);
    guests.set(what, { guest, exchange: await arrived });
  }
  const poster = new Guest(t, namespace, proxy.port);
  poster.send(POST);
  await within(retried(upstream), 'a second try');
  return { namespace, upstream, proxy, guests, poster };
}

const targetOf = (request: Buffer) => request.toString('latin1').split(' ')[1];

const tries = (upstream: Upstream) =>
  upstream.exchanges.filter(({ target }) => target.endsWith('/again')).length;

async function retried(upstream: Upstream): Promise<void> {
  while (tries(upstream) < 2 && upstream.server.listening) {
    await pause(100);
  }
}

/** Resolves when a POST that is tried every second has not been for a while. */
async function givenUp(upstream: Upstream): Promise<void> {
  for (let last = 0; last !== tries(upstream); ) {
    last = tries(upstream);
    await pause(TRIES_MS);
  }
}

type Started = NonNullable<Awaited<ReturnType<typeof start>>>;

async function assertNoticed(t: ExecutionContext, { guests, upstream }: Started, limit: number) {
  const since = Date.now();
  const ended = [...guests].map(async ([what, { exchange }]) => {
    const gone = within(exchange.gone(), `the end of ${what}`, limit);
    await t.notThrowsAsync(gone, what);
    t.log(`${what}: ${((Date.now() - since) / 1000).toFixed(1)} s`);
  });
  const posted = within(givenUp(upstream), 'the end of the tries', limit + 2 * TRIES_MS);
  await Promise.all([...ended, t.notThrowsAsync(posted, 'a POST that is tried again')]);
}

const inside = ({ name }: Namespace, line: string) => ip(`netns exec ${name} ${line}`);

test('the proxy gives up a client when its namespace vanishes', async (t) => {
  const started = await start(t);
  if (started) {
    const { name, device } = started.namespace;
    t.true(ip(`-n ${name} link set ${device} down`));
    await assertNoticed(t, started, NOTICED);
  }
});

test('the proxy gives up a client in another namespace once its kernel has forgotten the connection', async (t) => {
  const started = await start(t);
  if (started) {
    // A minute by default, for which the kernel answers in the place of a process that has ended.
    t.true(inside(started.namespace, 'sysctl -qw net.ipv4.tcp_fin_timeout=2'));
    const guests = [started.poster, ...[...started.guests.values()].map(({ guest }) => guest)];
    await Promise.all(guests.map((guest) => guest.kill()));
    await assertNoticed(t, started, NOTICED);
  }
});

test('the proxy gives up a client at once when it resets its connection from another namespace', async (t) => {
  const started = await start(t);
  if (started) {
    for (const { guest } of started.guests.values()) {
      guest.reset();
    }
    started.poster.reset();
    await assertNoticed(t, started, PROMPT_MS);
  }
});

test('the proxy keeps a client in another namespace that shuts down writing or does not read', async (t) => {
  const started = await start(t);
  if (started) {
    const { namespace, proxy, upstream, guests } = started;
    const { guest, exchange } = guests.get('a GET that waits') ?? t.fail();
    guest.end();
    started.poster.end();
    const reader = guests.get('a download')?.guest ?? t.fail();
    reader.child.kill('SIGSTOP');
    await pause(NOTICED);
    const { length } = reader.received;
    reader.child.kill('SIGCONT');
    // What upstream wrote while the guest did not read is more than all buffers on the way hold.
    const more = () => reader.received.length >= length + 20_000_000;
    await until(more, 'the rest of the download');
    t.true(exchange.connection.socket.writable);
    upstream.handler = answerOk;
    await exchange.respond(200, { fields: [['Connection', 'close']], body: 'at last' });
    exchange.connection.end();
    await received(guest, 'at last', 'the answer');
    await received(started.poster, 'ok', 'the answer to what was tried again');
    await assertServed(t, namespace, proxy);
  }
});

async function received(guest: Guest, text: string, what: string): Promise<void> {
  await until(() => guest.received.endsWith(text) || guest.child.exitCode !== null, what);
}

async function assertServed(t: ExecutionContext, namespace: Namespace, proxy: RunningProxy) {
  const guest = new Guest(t, namespace, proxy.port);
  guest.send(requestBytes('GET', '/queue/v1/x'));
  await received(guest, 'ok', 'another answer');
  t.regex(guest.received, /^HTTP\/1\.1 200 /);
}
