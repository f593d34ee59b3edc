// A machine with a wrong clock: which refusals correct it, and for which host. Taskcluster's services
// refuse with a bare `WWW-Authenticate: hawk`, so that only `Date` tells the time.
import test, { type ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import { gate } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { startOutgoingProxy } from '../harness/outgoing-proxy.js';
import { type ProxyOptions, type RunningProxy, startProxy } from '../harness/proxy.js';
import { permanentCredentials } from '../harness/signature.js';
import { type Exchange, startUpstream, type UpstreamOptions } from '../harness/upstream.js';

const HOUR_MS = 3_600_000;
const NEVER = ['--retry-for', '0'];

/** A request that goes from socket to socket, and one that goes by hyper. */
const WAYS: Record<string, (proxy: RunningProxy) => ReturnType<RunningProxy['get']>> = {
  'GET without a body': (proxy) => proxy.get('/queue/v1/x'),
  'POST with a body': (proxy) => proxy.request('POST', '/queue/v1/x', { body: 'hello' }),
};

/** A Taskcluster deployment with a clock that is so far ahead of this machine's. */
async function startDeployment(t: ExecutionContext, offset: number, options: UpstreamOptions = {}) {
  const upstream = await startUpstream(t, { clockOffsetMs: offset, ...options });
  upstream.handler = (exchange) => answer(exchange, offset);
  return upstream;
}

async function answer(exchange: Exchange, offset: number): Promise<void> {
  await exchange.body();
  const date = new Date(Date.now() + offset).toUTCString();
  if (exchange.signature instanceof Error) {
    await exchange.respond(401, {
      fields: [
        ['WWW-Authenticate', 'hawk'],
        ['Date', date],
      ],
      body: JSON.stringify({ code: 'AuthenticationFailed', message: exchange.signature.message }),
    });
  } else {
    await exchange.respond(200, { fields: [['Date', date]], body: 'ok' });
  }
}

for (const [what, send] of Object.entries(WAYS)) {
  for (const offset of [HOUR_MS, -HOUR_MS]) {
    test(`the proxy corrects its clock by Date, once for all requests: ${what}, ${offset} ms ahead`, async (t) => {
      const upstream = await startDeployment(t, offset);
      const proxy = await startProxy(t, { rootUrl: upstream.url, flags: NEVER });
      const began = Date.now();
      const first = await send(proxy);
      t.is(first.status, 200, first.body.toString());
      t.is(upstream.exchanges.length, 2);
      t.true(upstream.last.wasSignedSince(began, offset));
      for (const again of Object.values(WAYS)) {
        t.is((await again(proxy)).status, 200);
      }
      t.is(upstream.exchanges.length, 4, 'the correction was forgotten');
    });
  }

  test(`a request signed before the correction gets its own second try: ${what}`, async (t) => {
    const upstream = await startDeployment(t, HOUR_MS);
    const release = gate();
    upstream.handler = async (exchange) => {
      if (upstream.exchanges.length >= 3) {
        release.open();
      }
      await release.opened;
      await answer(exchange, HOUR_MS);
    };
    const proxy = await startProxy(t, { rootUrl: upstream.url, flags: NEVER });
    const answers = await Promise.all([send(proxy), send(proxy), send(proxy)]);
    t.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 200],
    );
    t.is(upstream.exchanges.length, 6);
  });
}

test('the correction outlives an update of the credentials', async (t) => {
  const upstream = await startDeployment(t, HOUR_MS);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags: NEVER });
  t.is((await proxy.get('/queue/v1/x')).status, 200);
  t.is((await proxy.updateCredentials(permanentCredentials('tests/next'))).status, 200);
  t.is((await proxy.get('/queue/v1/y')).status, 200);
  t.is(upstream.exchanges.length, 3);
  t.is(upstream.last.signed().clientId, 'tests/next');
});

test('the proxy corrects its clock by a refusal that comes over TLS', async (t) => {
  const authority = await Authority.create();
  const leaf = await authority.issue(['localhost']);
  const upstream = await startDeployment(t, HOUR_MS, { tls: leaf });
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  const proxy = await startProxy(t, {
    rootUrl: upstream.url,
    flags: NEVER,
    env: { SSL_CERT_FILE },
  });
  t.is((await proxy.get('/queue/v1/x')).status, 200);
});

test('a refusal by another host, or over plain HTTP from another machine, does not correct the clock', async (t) => {
  const authority = await Authority.create();
  const other = await startDeployment(t, HOUR_MS, {
    tls: await authority.issue(['other.example.com']),
  });
  const far = await startDeployment(t, HOUR_MS);
  const outgoing = await startOutgoingProxy(t, {
    routes: { 'tc.example.com:80': far.port, 'other.example.com:443': other.port },
  });
  const proxy = await startProxy(t, {
    rootUrl: 'http://tc.example.com',
    flags: NEVER,
    env: {
      SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)),
      HTTPS_PROXY: outgoing.url,
      HTTP_PROXY: outgoing.url,
    },
  });
  for (const [upstream, target] of [
    [far, '/queue/v1/x'],
    [other, '/other.example.com/x'],
  ] as const) {
    t.is((await proxy.get(target)).status, 401, target);
    t.is(upstream.exchanges.length, 1, target);
  }
});

test('the proxy tries a refused request again only if its clock is wrong, and then once', async (t) => {
  const refuse = (options: Partial<ProxyOptions>, offset: number) =>
    refused(t, { flags: NEVER, ...options }, offset);
  // The client is unknown: no time would help, and the second refusal goes back.
  const strange = { credentials: { clientId: 'tests/x', accessToken: 'not-its-own' } };
  t.deepEqual(await refuse(strange, 0), [401, 1]);
  t.deepEqual(await refuse(strange, 20_000), [401, 1]);
  t.deepEqual(await refuse(strange, HOUR_MS), [401, 2]);
});

/** Status of a request to a deployment with a clock so far ahead, and its number of requests. */
async function refused(t: ExecutionContext, options: Partial<ProxyOptions>, offset: number) {
  const upstream = await startDeployment(t, offset);
  const proxy = await startProxy(t, { rootUrl: upstream.url, ...options });
  const { status } = await proxy.get('/queue/v1/x');
  return [status, upstream.exchanges.length];
}
