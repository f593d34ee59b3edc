// For the operator of a proxy: health, metrics, logs without secrets, and an orderly stop.
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import type { RawResponse } from '../harness/connection.js';
import { gate, within } from '../harness/deadline.js';
import { Http2Client } from '../harness/http2.js';
import { unusedPort } from '../harness/port.js';
import {
  type ProxyOptions,
  type RunningProxy,
  requestBytes,
  startProxy,
} from '../harness/proxy.js';
import { permanentCredentials, temporaryCredentials } from '../harness/signature.js';
import { answerOk, startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

async function start(t: ExecutionContext, options: Partial<ProxyOptions> = {}) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, ...options });
  return { upstream, proxy };
}

/** The sum of a metric over its labels that hold `label`. */
async function metric(proxy: RunningProxy, name: string, label = ''): Promise<number> {
  const { body } = await proxy.get('/__metrics__');
  return body
    .toString()
    .split('\n')
    .filter((line) => line.startsWith(`taskcluster_proxy_${name}`) && line.includes(label))
    .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

test('health and version are answered without upstream', async (t) => {
  const rootUrl = `http://127.0.0.1:${await unusedPort()}`;
  const proxy = await startProxy(t, { rootUrl });
  for (const target of ['/__heartbeat__', '/__lbheartbeat__', '/__version__', '/__version__?x']) {
    const answer = await proxy.get(target);
    t.is(answer.status, 200, target);
    t.regex(value(answer.fields, 'content-type') ?? '', /^application\/json/);
    JSON.parse(answer.body.toString());
    const head = await proxy.request('HEAD', target);
    t.is(head.status, 200, `HEAD ${target}`);
    t.is(value(head.fields, 'content-length'), String(answer.body.length));
  }
  const version = JSON.parse((await proxy.get('/__version__')).body.toString());
  t.regex(version.version, /^\d+\.\d+\.\d+/);
  t.is(typeof version.commit, 'string');
});

test('metrics are in the text format of Prometheus and count what happens', async (t) => {
  const { upstream, proxy } = await start(t, { flags: ['--retry-first', '10ms'] });
  const answer = await proxy.get('/__metrics__');
  t.regex(value(answer.fields, 'content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  assertPrometheus(t, answer);

  await proxy.get('/queue/v1/x');
  await proxy.get('/nothing');
  let failed = false;
  upstream.handler = async (exchange) => {
    await exchange.body();
    await (failed ? answerOk(exchange) : exchange.respond(503));
    failed = true;
  };
  await proxy.get('/queue/v1/y');
  await proxy.updateCredentials(permanentCredentials('tests/next'));
  await proxy.updateCredentials('not JSON');
  await proxy.request('POST', '/queue/v1/z', { body: 'hello' });
  t.true((await metric(proxy, 'upstream_connections_total')) >= 1);
  t.true((await metric(proxy, 'request_body_bytes_total')) > 'hello'.length);
  assertPrometheus(t, await proxy.get('/__metrics__'));
  t.true((await metric(proxy, 'requests_total', '2')) >= 2);
  t.true((await metric(proxy, 'requests_total', '4')) >= 2);
  t.is(await metric(proxy, 'retries_total'), 1);
  t.is(await metric(proxy, 'credential_updates_total'), 1);
});

const HOUR_MS = 3_600_000;

/** Temporary credentials that expire so many milliseconds from now. */
function expiring(clientId: string, milliseconds: number) {
  return temporaryCredentials(['a'], clientId, {
    start: new Date(Date.now() + Math.min(milliseconds, 0) - HOUR_MS),
    expiry: new Date(Date.now() + milliseconds),
  });
}

test('the proxy starts with expired credentials and takes them as an update, with one warning each', async (t) => {
  const { proxy } = await start(t, { credentials: expiring('tests/first', -HOUR_MS) });
  const expired = /^.*warning: these credentials expired at \S+Z: update them, or set .*$/gm;
  await proxy.logged(expired);
  t.is((await proxy.updateCredentials(expiring('tests/good', HOUR_MS))).status, 200);
  t.is((await proxy.updateCredentials(expiring('tests/second', -1000))).status, 200);
  const { certificate = '' } = expiring('tests/early', HOUR_MS);
  const early = { ...JSON.parse(certificate), start: Date.now() + HOUR_MS / 2 };
  const update = { ...expiring('tests/early', HOUR_MS), certificate: JSON.stringify(early) };
  t.is((await proxy.updateCredentials(update)).status, 200);
  await proxy.logged(/warning: these credentials are not valid before \S+Z: wait, or set /);
  t.is(proxy.log.match(expired)?.length, 2, proxy.log);
  const at = proxy.log.split('\n').map((line) => /updated: client \S+|expired at/.exec(line)?.[0]);
  t.deepEqual(at.filter(Boolean), [
    'expired at',
    'updated: client tests/good',
    'updated: client tests/second',
    'expired at',
    'updated: client tests/early',
  ]);
});

test('metrics say when the credentials in force expire', async (t) => {
  const { proxy } = await start(t);
  const name = 'credentials_expiry_timestamp_seconds';
  const gauge = new RegExp(`^taskcluster_proxy_${name} `, 'm');
  t.notRegex((await proxy.get('/__metrics__')).body.toString(), gauge, 'they never do');
  for (const milliseconds of [HOUR_MS, -HOUR_MS]) {
    const credentials = expiring('tests/temporary', milliseconds);
    const { expiry } = JSON.parse(credentials.certificate ?? '');
    await proxy.updateCredentials(credentials);
    t.is(await metric(proxy, name), expiry / 1000);
    assertPrometheus(t, await proxy.get('/__metrics__'));
  }
  await proxy.updateCredentials(permanentCredentials());
  t.notRegex((await proxy.get('/__metrics__')).body.toString(), gauge);
});

test('a running request shows in the metrics while it runs', async (t) => {
  const { upstream, proxy } = await start(t);
  const release = gate();
  upstream.handler = async (exchange) => {
    await release.opened;
    await answerOk(exchange);
  };
  const idle = await metric(proxy, 'running_requests');
  const running = proxy.get('/queue/v1/x');
  await upstream.nth(1);
  t.is(await metric(proxy, 'running_requests'), idle + 1);
  release.open();
  await running;
});

test('a log in text has a line for a request', async (t) => {
  const { upstream, proxy } = await start(t);
  await proxy.get('/queue/v1/a//b%2F?c=d');
  const line = await proxy.logged(/^.*Proxying \/queue.*$/m);
  const sent = `${upstream.url}/api/queue/v1/a//b%2F?c=d`;
  t.true(line.includes(`Proxying /queue/v1/a//b%2F?c=d | GET | ${sent}`), line);
  t.regex(line, /\b200\b.*\b2\b.*\b\d+(\.\d+)? ?ms$/);
});

test('a log in JSON has an object for a request', async (t) => {
  const { upstream, proxy } = await start(t, { flags: ['--log-format', 'json'] });
  await proxy.get('/queue/v1/a//b%2F?c=d');
  await proxy.logged(/queue\/v1\/a/);
  const lines = proxy.log.trimEnd().split('\n');
  const objects = lines.map((line) => JSON.parse(line) as object);
  t.like(
    objects.find((each) => JSON.stringify(each).includes('/queue/v1/a')),
    {
      method: 'GET',
      status: 200,
      bytes: 2,
      target: '/queue/v1/a//b%2F?c=d',
      upstream: `${upstream.url}/api/queue/v1/a//b%2F?c=d`,
    },
  );
});

test('with --log-level error the log has no line of a lower level', async (t) => {
  const { proxy } = await start(t, { flags: ['--log-level', 'error'] });
  await proxy.get('/queue/v1/x');
  await proxy.updateCredentials('not JSON');
  proxy.child.kill('SIGTERM');
  await proxy.exited;
  t.is(proxy.log, '');
});

test('a target cannot forge a line of the log', async (t) => {
  const { proxy } = await start(t);
  await proxy.get('/queue/v1/%0A2026/01/01%20forged');
  await proxy.exchange('GET /queue/v1/x\x0bforged HTTP/1.1\r\nHost: taskcluster\r\n\r\n');
  await proxy.get('/queue/v1/last');
  await proxy.logged(/queue\/v1\/last/);
  t.false(proxy.log.split('\n').some((line) => /^\S* ?forged/.test(line)));
  t.false(proxy.log.includes('\x0b'));
});

for (const format of ['text', 'json']) {
  test(`no secret, MAC or bewit stands in a log in ${format}`, async (t) => {
    const first = temporaryCredentials(['a:*'], 'tests/first');
    const second = temporaryCredentials(['a:*'], 'tests/second');
    const { upstream, proxy } = await start(t, {
      credentials: first,
      flags: ['--log-format', format, '--log-level', 'debug', '--retry-first', '10ms'],
    });
    let failed = false;
    upstream.handler = async (exchange) => {
      await exchange.body();
      await (failed ? answerOk(exchange) : exchange.respond(503));
      failed = true;
    };
    const bewit = 'Ym90aC1lbmRzXDE3OTUzMjI4MjVcNDcx';
    await proxy.get(`/queue/v1/x?bewit=${bewit}`);
    await proxy.get(`/queue/v1/x?a=1&bewit=${bewit}&b=2`);
    await proxy.get(`/queue/v1/nothing?%62ewit=${bewit}`, [['Authorization', 'Bearer own-secret']]);
    await proxy.get(`/nothing?bewit=${bewit}`);
    const signed = await proxy.request('POST', '/bewit', { body: 'https://example.com/x?y' });
    await proxy.updateCredentials({ ...second, certificate: '{"seed":"torn' });
    await proxy.updateCredentials(second);
    await proxy.get('/queue/v1/last');
    await proxy.logged(/queue\/v1\/last/);

    t.true(
      upstream.exchanges.every(({ target }) => !target.includes('x') || /ewit=Y/.test(target)),
    );
    const certificates = [first, second].map(({ certificate = '' }) => JSON.parse(certificate));
    const secrets = [
      first.accessToken,
      second.accessToken,
      ...certificates.flatMap(({ seed, signature }) => [seed, signature]),
      ...upstream.exchanges.map((exchange) => exchange.signed().mac),
      (value(signed.fields, 'location') ?? '').split('bewit=')[1] ?? 'no bewit',
      'own-secret',
      bewit,
      'torn',
    ];
    for (const secret of secrets) {
      t.false(proxy.log.includes(secret), `the log holds ${secret}`);
    }
  });
}

test('a proxy that is told to stop takes no more connections, and waits for no idle one', async (t) => {
  const { upstream, proxy } = await start(t);
  const release = gate();
  upstream.handler = async (exchange) => {
    if (exchange.target.includes('held')) {
      await release.opened;
    }
    await answerOk(exchange);
  };
  const idle = await proxy.connect();
  await idle.exchange(requestBytes('GET', '/queue/v1/x'));
  const silent = await proxy.connect();
  const http2 = await Http2Client.connect(t, proxy.url);
  await http2.request({ ':path': '/queue/v1/x' });
  const goneAway = once(http2.session, 'close');
  const running = proxy.get('/queue/v1/held');
  await upstream.nth(3);

  proxy.child.kill('SIGTERM');
  t.is((await idle.closed()).length, 0);
  t.is((await silent.closed()).length, 0);
  await within(goneAway, 'the end of the idle HTTP/2 connection');
  await t.throwsAsync(proxy.get('/queue/v1/x'), { code: 'ECONNREFUSED' });
  release.open();
  t.is((await running).status, 200);
  t.deepEqual(await within(proxy.exited, 'the end of the proxy'), { code: 0, signal: null });
});

test('a running HTTP/2 stream finishes before the stop', async (t) => {
  const { upstream, proxy } = await start(t);
  const release = gate();
  upstream.handler = async (exchange) => {
    await release.opened;
    await answerOk(exchange);
  };
  const client = await Http2Client.connect(t, proxy.url);
  const running = client.request({ ':method': 'POST', ':path': '/queue/v1/x' }, 'hello');
  await upstream.nth(1);
  proxy.child.kill('SIGTERM');
  await t.throwsAsync(
    (async () => {
      for (;;) {
        await proxy.get('/__version__');
      }
    })(),
  );
  release.open();
  t.is((await running).status, 200);
  t.deepEqual(await within(proxy.exited, 'the end of the proxy'), { code: 0, signal: null });
});

/** Each family has HELP and TYPE before its samples, each sample a number, none comes twice. */
function assertPrometheus(t: ExecutionContext, { body }: RawResponse): void {
  const seen = new Set<string>();
  const types = new Map<string, string>();
  const text = body.toString();
  t.true(text.endsWith('\n'));
  for (const line of text.trimEnd().split('\n')) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type) {
      types.set(type[1] ?? '', type[2] ?? '');
    } else if (!line.startsWith('# HELP ')) {
      const [, name = '', sample = '', number = ''] =
        /^(([a-z_]+)(?:\{[^}]*\})?) (\S+)$/.exec(line) ?? [];
      t.false(Number.isNaN(Number.parseFloat(number)), line);
      t.false(seen.has(name), `${name} comes twice`);
      seen.add(name);
      const family = sample.replace(/_(bucket|sum|count)$/, '');
      t.true(types.has(sample) || types.get(family) === 'histogram', `${line} has no type`);
    }
  }
  t.true(seen.size > 0);
}
