// `PUT /credentials`: every request is signed with one whole set, old or new, and none is lost.
import test, { type ExecutionContext } from 'ava';
import type { RawResponse } from '../harness/connection.js';
import { type Gate, gate, pause, STILL_MS, until, within } from '../harness/deadline.js';
import {
  type ProxyOptions,
  type RunningProxy,
  requestBytes,
  startProxy,
} from '../harness/proxy.js';
import { permanentCredentials, temporaryCredentials } from '../harness/signature.js';
import { answerOk, type Exchange, startUpstream, type Upstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

const NEXT = permanentCredentials('tests/next');
const CLIENT_ID = 'x-taskcluster-proxy-perm-clientid';

/** Longer than any other wait of a test. */
const PATIENT = ['--drain-timeout', '60s'];

async function start(t: ExecutionContext, options: Partial<ProxyOptions> = {}) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, ...options });
  return { upstream, proxy };
}

/** Targets that hold `held` are answered once the gate is open. */
function holdBack(release: Gate): (exchange: Exchange) => Promise<void> {
  return async (exchange) => {
    await exchange.body();
    if (exchange.target.includes('held')) {
      await release.opened;
    }
    await answerOk(exchange);
  };
}

/**
 * The answer of the first request that does not get through, since an update waits for one that runs. The
 * proxy has read it, and upstream has not got it.
 */
async function firstToWait(
  proxy: RunningProxy,
  upstream: Upstream,
): Promise<{ answer: Promise<RawResponse> }> {
  await until(async () => (await proxy.running()) === 2, 'the update');
  for (let number = 0; ; number += 1) {
    const target = `/queue/v1/after/${number}`;
    let isAnswered = false;
    const answer = proxy.get(target).finally(() => {
      isAnswered = true;
    });
    await until(async () => isAnswered || (await proxy.running()) === 3, 'the request');
    await Promise.race([answer, pause(STILL_MS)]);
    if (!upstream.exchanges.some((exchange) => exchange.target.endsWith(target))) {
      return { answer };
    }
    await answer;
  }
}

test('a set as the queue returns it is taken, with 200 and an empty body', async (t) => {
  const { upstream, proxy } = await start(t);
  const { clientId, accessToken, certificate } = temporaryCredentials(['a'], 'tests/temporary');
  const rows: [body: object, kind: 'permanent' | 'temporary', clientId: string][] = [
    [{ clientId, accessToken, certificate }, 'temporary', clientId],
    [{ ...NEXT, certificate: '' }, 'permanent', 'tests/next'],
    [{ clientId, accessToken, certificate, unknown: { key: [1] } }, 'temporary', clientId],
    [{ ...NEXT, certificate: null }, 'permanent', 'tests/next'],
    [permanentCredentials('a-Z_0!9@/:.+|'), 'permanent', 'a-Z_0!9@/:.+|'],
    [temporaryCredentials(['b']), 'temporary', 'tests/issuer'],
    [NEXT, 'permanent', 'tests/next'],
  ];
  for (const [set, kind, expected] of rows) {
    for (const body of [JSON.stringify(set), ` \n${JSON.stringify(set, null, 2)}\r\n`]) {
      const answer = await proxy.updateCredentials(body);
      t.is(answer.status, 200, answer.body.toString());
      t.is(answer.body.length, 0);
      await proxy.get('/queue/v1/x');
      t.is(upstream.last.signed().clientId, expected);
      t.is(upstream.last.signed().kind, kind);
    }
  }
  upstream.assertAllSigned(t);
});

test('an update leaves the restriction as it is', async (t) => {
  const { upstream, proxy } = await start(t, { scopes: ['a:b'] });
  await proxy.updateCredentials(NEXT);
  const answer = await proxy.get('/queue/v1/x');
  t.deepEqual(upstream.last.signed().authorizedScopes, ['a:b']);
  t.is(value(answer.fields, 'x-taskcluster-authorized-scopes'), '["a:b"]');
});

test('an invalid set gets 400 and a reason, and the old set stays', async (t) => {
  const { upstream, proxy } = await start(t);
  const certificate = temporaryCredentials(['a'], 'n').certificate ?? '';
  const set = (changes: object) => JSON.stringify({ ...NEXT, ...changes });
  const bodies: (string | Buffer)[] = [
    '',
    ' ',
    'x',
    '{',
    '[]',
    'null',
    '"x"',
    '1',
    `${set({})}x`,
    `${set({})}{}`,
    set({}).slice(0, -1),
    Buffer.concat([Buffer.from(set({})), Buffer.from([0xff])]),
    Buffer.from(set({ clientId: 'caf\u00e9' }), 'latin1'),
    '{}',
    JSON.stringify({ clientId: NEXT.clientId }),
    JSON.stringify({ accessToken: NEXT.accessToken }),
    set({ clientId: '' }),
    set({ clientId: null }),
    set({ clientId: 1 }),
    set({ clientId: 'a b' }),
    set({ clientId: 'a"b' }),
    set({ clientId: 'a\\b' }),
    set({ clientId: 'a\nb' }),
    set({ clientId: 'caf\u00e9' }),
    set({ clientId: 'a', accessToken: '' }),
    set({ accessToken: null }),
    set({ accessToken: ['x'] }),
    set({ certificate: 'x' }),
    set({ certificate: '[]' }),
    set({ certificate: '"x"' }),
    set({ certificate: 'null' }),
    set({ certificate: '{' }),
    set({ certificate: `${certificate}x` }),
    set({ certificate: JSON.parse(certificate) }),
    set({ certificate: 1 }),
  ];
  for (const body of bodies) {
    const answer = await proxy.updateCredentials(body);
    const what = body.toString('latin1');
    t.is(answer.status, 400, what);
    t.regex(answer.body.toString(), /^\S[^\n]{8,}\n?$/, what);
    t.false(answer.body.includes(NEXT.accessToken), `${what}: the answer holds the access token`);
  }
  t.is((await proxy.get('/queue/v1/x')).status, 200);
  t.is(upstream.last.signed().clientId, 'tests/permanent');
  t.false(proxy.log.includes(NEXT.accessToken));
});

test('a body over 1 MiB gets 413, and a body that breaks off changes nothing', async (t) => {
  const { upstream, proxy } = await start(t);
  const padded = JSON.stringify({ ...NEXT, padding: 'x'.repeat(1024 * 1024) });
  t.is((await proxy.updateCredentials(padded)).status, 413);
  const fits = JSON.stringify({ ...NEXT, padding: 'x'.repeat(1024 * 1024 - 200) });
  t.is((await proxy.updateCredentials(fits)).status, 200);

  const last = JSON.stringify(permanentCredentials('tests/torn'));
  const head = `PUT /credentials HTTP/1.1\r\nHost: taskcluster\r\nContent-Length: ${last.length + 1}\r\n\r\n`;
  for (const leave of ['end', 'reset'] as const) {
    const connection = await proxy.connect();
    await connection.send(head + last);
    connection[leave]();
    if (leave === 'end') {
      t.regex((await connection.closed()).toString('latin1'), /^(HTTP\/1\.1 400 |$)/);
    }
  }
  await proxy.get('/queue/v1/x');
  t.is(upstream.last.signed().clientId, 'tests/next');
});

test('an update waits for running requests, and later requests wait for the update', async (t) => {
  const { upstream, proxy } = await start(t, { flags: PATIENT });
  const release = gate();
  upstream.handler = holdBack(release);
  const running = proxy.get('/queue/v1/held');
  await upstream.nth(1);
  const update = proxy.updateCredentials(NEXT);
  // The update is draining once a request that came after it does not get through.
  const waiting = (await firstToWait(proxy, upstream)).answer;
  const before = upstream.exchanges.length;
  const later = [waiting, proxy.get('/queue/v1/after'), proxy.get('/queue/v1/after')];
  t.is(await Promise.race([update, pause(STILL_MS)]), undefined, 'the update did not wait');
  t.is(upstream.exchanges.length, before, 'a request did not wait for the update');

  release.open();
  const old = await running;
  t.is(old.status, 200);
  t.is(value(old.fields, CLIENT_ID), 'tests/permanent');
  t.is((await update).status, 200);
  for (const answer of await Promise.all(later)) {
    t.is(answer.status, 200);
    t.is(value(answer.fields, CLIENT_ID), 'tests/next');
  }
  t.deepEqual(
    upstream.exchanges.slice(before).map((exchange) => exchange.signed().clientId),
    ['tests/next', 'tests/next', 'tests/next'],
  );
});

test('past --drain-timeout the new set is in force and the old request finishes', async (t) => {
  // Longer than without the flag.
  const { upstream, proxy } = await start(t, { flags: ['--drain-timeout', '6s'] });
  const release = gate();
  upstream.handler = holdBack(release);
  const running = proxy.get('/queue/v1/held');
  await upstream.nth(1);
  const since = Date.now();
  t.is((await proxy.updateCredentials(NEXT)).status, 200);
  const waited = Date.now() - since;
  t.true(waited >= 5_900, `the update took ${waited} ms`);
  const after = await proxy.get('/queue/v1/after');
  t.is(value(after.fields, CLIENT_ID), 'tests/next');
  t.is(upstream.last.signed().clientId, 'tests/next');
  release.open();
  const old = await running;
  t.is(old.status, 200);
  t.is(value(old.fields, CLIENT_ID), 'tests/permanent');
});

test('a download without a reader delays an update no longer than --drain-timeout', async (t) => {
  const { upstream, proxy } = await start(t, { flags: ['--drain-timeout', '500ms'] });
  upstream.handler = async (exchange) => {
    await exchange.sendHead(200, { fields: [['Content-Length', String(1024 ** 3)]] });
    const part = Buffer.alloc(1024 * 1024);
    for (let sent = 0; sent < 1024; sent += 1) {
      await exchange.send(part);
    }
  };
  const connection = await proxy.connect();
  await connection.send(requestBytes('GET', '/queue/v1/large'));
  await connection.reader.exactly(1000);
  t.is((await proxy.updateCredentials(NEXT)).status, 200);
  upstream.handler = answerOk;
  t.is(value((await proxy.get('/queue/v1/x')).fields, CLIENT_ID), 'tests/next');
});

/** A proxy through which a live log runs. */
async function startWithLog(t: ExecutionContext) {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await exchange.sendHead(200, { fields: [['Transfer-Encoding', 'chunked']] });
    for (;;) {
      await exchange.chunk('a line\n');
      await pause(100);
    }
  };
  const connection = await proxy.connect();
  await connection.send(requestBytes('GET', '/queue/v1/log'));
  await connection.reader.until('a line');
  upstream.handler = answerOk;
  return { proxy, log: connection.reader };
}

test('a live log delays the first update by 5 s, and no later update', async (t) => {
  const { proxy, log } = await startWithLog(t);
  const since = Date.now();
  t.is((await proxy.updateCredentials(NEXT)).status, 200);
  const first = Date.now() - since;
  t.true(first >= 4900, `the first update took ${first} ms`);
  // If these two updates were held as well, one behind the other, they would end after the one that another
  // live log holds meanwhile.
  const areFaster = async () => {
    const other = await startWithLog(t);
    let isHeld = true;
    const held = other.proxy.updateCredentials(NEXT).finally(() => {
      isHeld = false;
    });
    await until(async () => (await other.proxy.running()) === 2, 'the update that is held');
    for (const set of [permanentCredentials('tests/second'), permanentCredentials('tests/third')]) {
      t.is((await proxy.updateCredentials(set)).status, 200);
      t.is(value((await proxy.get('/queue/v1/x')).fields, CLIENT_ID), set.clientId);
    }
    const were = isHeld;
    t.is((await held).status, 200);
    return were;
  };
  await until(areFaster, 'two updates within the time of one that is held');
  await log.until('a line');
});

test('with --credentials-update immediate an update waits for no request', async (t) => {
  const { upstream, proxy } = await start(t, {
    flags: ['--credentials-update', 'immediate', ...PATIENT],
  });
  const release = gate();
  upstream.handler = holdBack(release);
  const running = proxy.get('/queue/v1/held');
  await upstream.nth(1);
  const update = await proxy.updateCredentials(NEXT);
  t.is(update.status, 200);
  t.is(value((await proxy.get('/queue/v1/after')).fields, CLIENT_ID), 'tests/next');
  release.open();
  t.is(value((await running).fields, CLIENT_ID), 'tests/permanent');
});

test('an update during 200 running requests loses none of them', async (t) => {
  const { upstream, proxy } = await start(t);
  const release = gate();
  upstream.handler = holdBack(release);
  const body = 'x'.repeat(3000);
  const running = Array.from({ length: 200 }, (_, i) =>
    proxy.request('POST', `/queue/v1/held/${i}`, { body: `${i} ${body}` }),
  );
  await upstream.nth(200);
  const update = proxy.updateCredentials(NEXT);
  const later = Array.from({ length: 50 }, (_, i) => proxy.get(`/queue/v1/later/${i}`));
  release.open();
  const answers = await Promise.all([...running, ...later]);
  t.is((await update).status, 200);
  t.true(answers.every(({ status }) => status === 200));
  upstream.assertAllSigned(t);
  t.is(upstream.exchanges.length, 250);
  for (const exchange of upstream.exchanges.filter(({ target }) => target.includes('held'))) {
    t.is(exchange.signed().clientId, 'tests/permanent');
  }
  // Each answer names the client that signed its request.
  const said = answers.map(({ fields }) => value(fields, CLIENT_ID)).sort();
  t.deepEqual(said, upstream.exchanges.map((each) => each.signed().clientId).sort());
});

test('every request is signed with one whole set while updates come under load', async (t) => {
  const { upstream, proxy } = await start(t);
  const sets = [
    temporaryCredentials(['a:*'], 'tests/rotated-a'),
    permanentCredentials('tests/rotated-b'),
    temporaryCredentials(['b', 'c'], 'tests/rotated-c'),
  ];
  let done = false;
  const disagreements: string[] = [];
  upstream.handler = async (exchange) => {
    await exchange.body();
    const { signature } = exchange;
    await exchange.respond(signature instanceof Error ? 401 : 200, {
      body: signature instanceof Error ? signature.message : signature.clientId,
    });
  };
  const client = async (number: number) => {
    const connection = await proxy.connect();
    for (let count = 0; !done; count += 1) {
      const target = `/queue/v1/${number}/${count}`;
      const answer = await connection.exchange(requestBytes('POST', target, { body: target }));
      const temporary = value(answer.fields, 'x-taskcluster-proxy-temp-clientid');
      const said = temporary ?? value(answer.fields, CLIENT_ID);
      if (answer.status !== 200 || said !== answer.body.toString()) {
        disagreements.push(`${target}: ${answer.status}, said ${said}, signed ${answer.body}`);
      }
    }
  };
  const clients = Array.from({ length: 24 }, (_, number) => client(number));
  for (let round = 0; round < 60; round += 1) {
    const set = sets[round % sets.length] ?? NEXT;
    t.is((await proxy.updateCredentials(set)).status, 200);
  }
  done = true;
  await Promise.all(clients);
  t.deepEqual(disagreements, []);
  upstream.assertAllSigned(t);
  const signers = new Set(upstream.exchanges.map((exchange) => exchange.signed().clientId));
  t.true(signers.size >= 3, `signed by ${[...signers]} only`);
});

test('the proxy drops an update when its client has left', async (t) => {
  const { upstream, proxy } = await start(t, { flags: PATIENT });
  const release = gate();
  upstream.handler = holdBack(release);
  const running = proxy.get('/queue/v1/held');
  await upstream.nth(1);
  const connection = await proxy.connect();
  await connection.send(requestBytes('PUT', '/credentials', { body: JSON.stringify(NEXT) }));
  // It has been read once it keeps a later request waiting.
  const waiting = (await firstToWait(proxy, upstream)).answer;
  connection.reset();
  t.is((await within(waiting, 'the end of the wait')).status, 200);
  t.is(upstream.last.signed().clientId, 'tests/permanent');
  release.open();
  await running;
  await proxy.get('/queue/v1/last');
  t.is(upstream.last.signed().clientId, 'tests/permanent');
});

test('a pause before a retry delays no update, and the retry uses the new set', async (t) => {
  const { upstream, proxy } = await start(t, { flags: PATIENT });
  upstream.handler = async (exchange) => {
    await exchange.body();
    if (upstream.exchanges.length === 1) {
      await exchange.respond(503, { fields: [['Retry-After', '6']] });
    } else {
      await answerOk(exchange);
    }
  };
  const retried = proxy.request('POST', '/queue/v1/x', { body: 'hello' });
  await (await upstream.nth(1)).answered;
  const update = await proxy.updateCredentials(NEXT);
  t.is(update.status, 200);
  t.is(upstream.exchanges.length, 1, 'it waited for the next try');
  const answer = await retried;
  t.is(answer.status, 200);
  t.is(value(answer.fields, CLIENT_ID), 'tests/next');
  t.deepEqual(
    upstream.exchanges.map((exchange) => exchange.signed().clientId),
    ['tests/permanent', 'tests/next'],
  );
});

test('a method other than PUT gets 405', async (t) => {
  const { proxy } = await start(t);
  for (const method of ['GET', 'HEAD', 'POST', 'PATCH', 'DELETE', 'put']) {
    const answer = await proxy.request(method, '/credentials');
    t.is(answer.status, 405, method);
    t.is(value(answer.fields, 'allow'), 'PUT', method);
  }
});
