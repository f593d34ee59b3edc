// Which header fields pass, which stop here, and which the proxy sets.
import test, { type ExecutionContext } from 'ava';
import { pause, STILL_MS, until, within } from '../harness/deadline.js';
import { unusedPort } from '../harness/port.js';
import { type ProxyOptions, requestBytes, startProxy } from '../harness/proxy.js';
import { permanentCredentials, temporaryCredentials } from '../harness/signature.js';
import { answerOk, startUpstream } from '../harness/upstream.js';
import { type Fields, names, value, values } from '../harness/wire.js';

async function start(t: ExecutionContext, options: Partial<ProxyOptions> = {}) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, ...options });
  return { upstream, proxy };
}

/** What the proxy sets on every answer it relays with permanent credentials. */
const SET_HERE = [
  'x-taskcluster-endpoint',
  'x-taskcluster-proxy-perm-clientid',
  'x-taskcluster-proxy-revision',
  'x-taskcluster-proxy-version',
];

test('nothing is added to a request but Authorization, Host and framing', async (t) => {
  const { upstream, proxy } = await start(t);
  await proxy.get('/queue/v1/x');
  t.deepEqual(names(upstream.last.fields), ['authorization', 'host']);
  t.is(value(upstream.last.fields, 'host'), `127.0.0.1:${upstream.port}`);

  await proxy.request('POST', '/queue/v1/x', { body: 'hello' });
  t.deepEqual(names(upstream.last.fields), ['authorization', 'content-length', 'host']);

  await proxy.request('DELETE', '/queue/v1/x');
  t.deepEqual(
    names(upstream.last.fields).filter((name) => name !== 'content-length'),
    ['authorization', 'host'],
  );
  upstream.assertAllSigned(t);
});

test("nothing is added to an answer but the proxy's own fields", async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = (exchange) => exchange.respond(200, { body: 'ok' });
  const answer = await proxy.get('/queue/v1/x');
  t.deepEqual(
    names(answer.fields).filter((name) => name !== 'connection'),
    ['content-length', ...SET_HERE].sort(),
  );
});

test('repeated fields pass in their order, with every byte of their values', async (t) => {
  const { upstream, proxy } = await start(t);
  const fields: Fields = [
    ['X-Repeated', '1'],
    ['Cookie', 'a=b; c="d"'],
    ['X-Repeated', '2, 3'],
    ['X-Empty', ''],
    ['X-Obs-Text', '\xe9\x80\xff'],
    ['X-Tab', 'a\tb  c'],
    ['X-Repeated', '1'],
    ["X-!#$%&'*+.^_`|~9", 'odd'],
    ['Content-Type', 'application/x-odd; charset="x"'],
    ['User-Agent', 'tests'],
    ['Accept-Encoding', 'br;q=1.0, gzip;q=0.5, *;q=0'],
    ['Via', '1.1 gateway'],
    ['Forwarded', 'for=192.0.2.1'],
    ['Referer', 'http://taskcluster/x'],
    ['If-None-Match', '"a", W/"b"'],
  ];
  upstream.handler = (exchange) => exchange.respond(200, { fields, body: 'ok' });
  const answer = await proxy.get('/queue/v1/x', fields);
  for (const [name] of fields) {
    t.deepEqual(values(upstream.last.fields, name), values(fields, name), `to upstream: ${name}`);
    t.deepEqual(values(answer.fields, name), values(fields, name), `to the client: ${name}`);
  }
  upstream.assertAllSigned(t);
});

test('hop-by-hop fields stop here in both directions', async (t) => {
  const { upstream, proxy } = await start(t);
  const hopByHop: Fields = [
    ['Connection', 'X-Named, keep-alive'],
    ['Connection', 'x-also-named'],
    ['X-Named', '1'],
    ['X-Also-Named', '2'],
    ['Keep-Alive', 'timeout=5'],
    ['Proxy-Connection', 'keep-alive'],
    ['X-Passes', '3'],
  ];
  upstream.handler = (exchange) => exchange.respond(200, { fields: hopByHop, body: 'ok' });
  const answer = await proxy.get('/queue/v1/x', hopByHop);
  t.is(answer.status, 200);
  for (const fields of [upstream.last.fields, answer.fields]) {
    for (const stopped of ['x-named', 'x-also-named', 'keep-alive', 'proxy-connection']) {
      t.deepEqual(values(fields, stopped), [], stopped);
    }
    t.is(value(fields, 'x-passes'), '3');
    t.false(values(fields, 'connection').some((each) => /named/i.test(each)));
  }
  upstream.assertAllSigned(t);
});

test('a field that the proxy or the framing needs counts although Connection names it', async (t) => {
  const { upstream, proxy } = await start(t);
  const named = 'Authorization, Host, Content-Length, X-Taskcluster-Authorized-Scopes';
  const answer = await proxy.request('POST', '/queue/v1/x', {
    fields: [
      ['Connection', named],
      ['X-Taskcluster-Authorized-Scopes', '["a"]'],
    ],
    body: 'hello',
  });
  t.is(answer.status, 200, answer.body.toString());
  t.is((await upstream.last.body()).bytes.toString(), 'hello');
  t.deepEqual(upstream.last.signed().authorizedScopes, ['a']);
});

test('Connection: close of a client ends its own connection, and not the one to upstream', async (t) => {
  const { upstream, proxy } = await start(t);
  const connection = await proxy.connect();
  await connection.exchange(
    requestBytes('GET', '/queue/v1/x', { fields: [['Connection', 'close']] }),
  );
  t.is((await connection.closed()).length, 0);
  t.is(upstream.open.size, 1, 'the connection out is kept');
});

test("a client's own Authorization is replaced", async (t) => {
  const { upstream, proxy } = await start(t);
  const own: Fields = [
    ['Authorization', 'Bearer of-the-client'],
    ['authorization', 'Hawk id="x"'],
  ];
  await proxy.get('/queue/v1/x', own);
  t.is(values(upstream.last.fields, 'authorization').length, 1);
  t.is(upstream.last.signed().clientId, 'tests/permanent');
});

test('answers say which credentials signed the request', async (t) => {
  const permanent = await start(t);
  const answer = await permanent.proxy.get('/queue/v1/x');
  t.is(value(answer.fields, 'x-taskcluster-proxy-perm-clientid'), 'tests/permanent');
  t.is(value(answer.fields, 'x-taskcluster-proxy-temp-clientid'), undefined);
  t.is(value(answer.fields, 'x-taskcluster-proxy-temp-scopes'), undefined);
  t.is(value(answer.fields, 'x-taskcluster-authorized-scopes'), undefined);
  t.regex(value(answer.fields, 'x-taskcluster-proxy-version') ?? '', /^\d+\.\d+\.\d+/);
  t.not(value(answer.fields, 'x-taskcluster-proxy-revision'), undefined);

  const scopes = ['queue:get-artifact:*', 'secrets:get:"quoted"'];
  for (const clientId of ['tests/named', undefined]) {
    const credentials = temporaryCredentials(scopes, clientId);
    const { proxy, upstream } = await start(t, { credentials, scopes: ['queue:get-artifact:a'] });
    const { fields } = await proxy.get('/queue/v1/x');
    t.is(value(fields, 'x-taskcluster-proxy-temp-clientid'), clientId ?? 'tests/issuer');
    t.is(value(fields, 'x-taskcluster-proxy-perm-clientid'), undefined);
    t.is(value(fields, 'x-taskcluster-proxy-temp-scopes'), JSON.stringify(scopes));
    t.is(value(fields, 'x-taskcluster-authorized-scopes'), '["queue:get-artifact:a"]');
    t.is(upstream.last.signed().kind, 'temporary');
    t.deepEqual(upstream.last.signed().authorizedScopes, ['queue:get-artifact:a']);
  }
});

test("the proxy's own errors name the credentials and the version, and the endpoint if there is one", async (t) => {
  const rootUrl = `http://127.0.0.1:${await unusedPort()}`;
  const proxy = await startProxy(t, { rootUrl, flags: ['--retry-for', '0'] });
  const rows = [
    [await proxy.get('/nothing'), 404],
    [await proxy.get('/bewit'), 405],
    [await proxy.request('POST', '/bewit', { body: 'x' }), 400],
    [await proxy.updateCredentials('x'), 400],
    [await proxy.get('/queue/v1/x', [['X-Taskcluster-Authorized-Scopes', 'x']]), 400],
  ] as const;
  for (const [answer, status] of rows) {
    t.is(answer.status, status);
    t.is(value(answer.fields, 'x-taskcluster-proxy-perm-clientid'), 'tests/permanent');
    t.regex(value(answer.fields, 'x-taskcluster-proxy-version') ?? '', /^\d/);
  }
  t.is(value(rows[0][0].fields, 'x-taskcluster-endpoint'), undefined);
  const unreachable = await proxy.get('/queue/v1/x?y');
  t.is(unreachable.status, 502);
  t.is(value(unreachable.fields, 'x-taskcluster-endpoint'), `${rootUrl}/api/queue/v1/x?y`);
});

test('upstream cannot forge the fields that the proxy sets', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = (exchange) =>
    exchange.respond(200, {
      fields: [
        ['X-Taskcluster-Endpoint', 'http://forged'],
        ['x-taskcluster-endpoint', 'http://forged-too'],
        ['X-Taskcluster-Proxy-Perm-ClientId', 'forged'],
        ['X-Taskcluster-Proxy-Temp-ClientId', 'forged'],
        ['X-Taskcluster-Proxy-Temp-Scopes', '["*"]'],
        ['X-Taskcluster-Authorized-Scopes', '["*"]'],
        ['X-Taskcluster-Proxy-Version', 'forged'],
        ['X-Taskcluster-Proxy-Revision', 'forged'],
        ['X-Taskcluster-Proxy-Omitted', 'forged'],
        ['X-Taskcluster-Other', 'passes'],
      ],
    });
  const { fields } = await proxy.get('/queue/v1/x');
  t.deepEqual(values(fields, 'x-taskcluster-endpoint'), [`${upstream.url}/api/queue/v1/x`]);
  t.deepEqual(values(fields, 'x-taskcluster-proxy-perm-clientid'), ['tests/permanent']);
  t.deepEqual(values(fields, 'x-taskcluster-other'), ['passes']);
  t.false(JSON.stringify(fields).includes('forged'));
  t.false(JSON.stringify(fields).includes('["*"]'));
});

test('a scopes field over 4 KiB is left out and its name listed', async (t) => {
  const long = Array.from(
    { length: 120 },
    (_, i) => `queue:get-artifact:private/some/long/name/${i}`,
  );
  const upstream = await startUpstream(t, async (exchange) => {
    await exchange.body();
    await exchange.respond(200, { body: 'ok' });
  });
  const temporary = await startProxy(t, {
    rootUrl: upstream.url,
    credentials: temporaryCredentials(long),
    scopes: ['queue:get-artifact:private/*'],
  });
  const one = await temporary.get('/queue/v1/x');
  t.is(value(one.fields, 'x-taskcluster-proxy-temp-scopes'), undefined);
  t.is(value(one.fields, 'x-taskcluster-authorized-scopes'), '["queue:get-artifact:private/*"]');
  t.regex(
    value(one.fields, 'x-taskcluster-proxy-omitted') ?? '',
    /^X-Taskcluster-Proxy-Temp-Scopes$/i,
  );
  await temporary.logged(/4,?096/);

  const restricted = await startProxy(t, { rootUrl: upstream.url, scopes: long });
  const two = await restricted.get('/queue/v1/x');
  t.is(value(two.fields, 'x-taskcluster-authorized-scopes'), undefined);
  t.regex(
    value(two.fields, 'x-taskcluster-proxy-omitted') ?? '',
    /^X-Taskcluster-Authorized-Scopes$/i,
  );
});

test('a HEAD, 204 or 304 answer keeps its fields and has no body', async (t) => {
  const { upstream, proxy } = await start(t);
  const rows = [
    [
      'HEAD',
      200,
      [
        ['Content-Length', '1234'],
        ['ETag', '"x"'],
      ],
    ],
    ['HEAD', 404, [['Content-Length', '9']]],
    ['HEAD', 200, [['X-A', 'b']]],
    [
      'GET',
      304,
      [
        ['Content-Length', '1234'],
        ['ETag', '"x"'],
      ],
    ],
    ['GET', 304, [['ETag', '"x"']]],
    ['DELETE', 204, [['X-A', 'b']]],
  ] as [string, number, Fields][];
  const connection = await proxy.connect();
  for (const [method, status, fields] of rows) {
    upstream.handler = (exchange) => exchange.sendHead(status, { fields });
    const answer = await connection.exchange(requestBytes(method, '/queue/v1/x'));
    t.is(answer.status, status);
    for (const [name, expected] of fields) {
      t.is(value(answer.fields, name), expected, `${method} ${status}: ${name}`);
    }
    if (value(fields, 'content-length') === undefined) {
      t.is(value(answer.fields, 'content-length'), undefined, `${method} ${status}`);
    }
  }
  upstream.handler = answerOk;
  const after = await connection.exchange(requestBytes('GET', '/queue/v1/after'));
  t.is(after.body.toString(), 'ok', 'the connection is in step after answers without a body');
});

test('an answer of any status passes with its reason, redirects included', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const status of [
    200, 201, 206, 301, 302, 303, 307, 308, 400, 401, 404, 409, 429, 451, 599,
  ]) {
    const fields: Fields = [['Location', 'http://elsewhere.example.com/x']];
    if (status >= 500) {
      // Longer than all retries, so that the first answer is the last.
      fields.push(['Retry-After', '86400']);
    }
    const reason = `Reason ${status}`;
    upstream.handler = (exchange) =>
      exchange.respond(status, { reason, fields, body: `body ${status}` });
    const answer = await proxy.get('/queue/v1/x');
    t.is(answer.status, status);
    t.is(answer.reason, `Reason ${status}`);
    t.is(answer.body.toString(), `body ${status}`);
    t.is(value(answer.fields, 'location'), 'http://elsewhere.example.com/x');
  }
});

test('a range and an encoded body pass untouched', async (t) => {
  const { upstream, proxy } = await start(t);
  const encoded = Buffer.from('1f8b0800000000000003cb48cdc9c9070086a6103605000000', 'hex');
  upstream.handler = (exchange) =>
    exchange.respond(206, {
      fields: [
        ['Content-Encoding', 'gzip'],
        ['Content-Range', 'bytes 10-34/1000'],
        ['Accept-Ranges', 'bytes'],
      ],
      body: encoded,
    });
  const answer = await proxy.get('/queue/v1/x', [
    ['Range', 'bytes=10-34'],
    ['If-Range', '"x"'],
  ]);
  t.is(value(upstream.last.fields, 'range'), 'bytes=10-34');
  t.is(value(upstream.last.fields, 'if-range'), '"x"');
  t.is(value(upstream.last.fields, 'accept-encoding'), undefined);
  t.is(answer.status, 206);
  t.deepEqual(answer.body, encoded);
  t.is(value(answer.fields, 'content-encoding'), 'gzip');
  t.is(value(answer.fields, 'content-range'), 'bytes 10-34/1000');
});

test('an answer that ends with its connection passes whole', async (t) => {
  const { upstream, proxy } = await start(t);
  for (const version of ['1.0', '1.1']) {
    upstream.handler = async (exchange) => {
      await exchange.send(`HTTP/${version} 200 OK\r\nX-A: b\r\n\r\nuntil the `);
      await exchange.send('end');
      exchange.connection.end();
    };
    const answer = await proxy.get('/queue/v1/x');
    t.is(answer.status, 200);
    t.is(answer.body.toString(), 'until the end');
  }
});

test('trailers pass both ways', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await exchange.body();
    await exchange.sendHead(200, {
      fields: [
        ['Transfer-Encoding', 'chunked'],
        ['Trailer', 'X-Sum'],
      ],
    });
    await exchange.chunk('hello');
    await exchange.send('0\r\nX-Sum: 42\r\n\r\n');
  };
  const answer = await proxy.exchange(
    'POST /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\nTE: trailers\r\nConnection: TE\r\n' +
      'Trailer: X-Digest\r\nTransfer-Encoding: chunked\r\n\r\n' +
      '5\r\nhello\r\n0\r\nX-Digest: abc\r\n\r\n',
  );
  const sent = await upstream.last.body();
  t.is(sent.bytes.toString(), 'hello');
  t.is(value(sent.trailers, 'x-digest'), 'abc');
  t.is(value(upstream.last.fields, 'trailer'), 'X-Digest');
  t.is(answer.body.toString(), 'hello');
  t.is(value(answer.trailers, 'x-sum'), '42');
});

// Behind a second of silence the proxy asks for the body itself. A busy machine may be that slow, so the next
// two tests ask again until it was not.

test('the proxy passes 100 Continue from upstream to the client, and then the body to upstream', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async () => {};
  const ask = async () => {
    const connection = await proxy.connect();
    const arrived = upstream.next();
    await connection.send(expecting('hello'));
    const exchange = await arrived;
    const early = connection.reader.some();
    const isSilent = await Promise.race([
      early.then(() => false),
      pause(STILL_MS).then(() => true),
    ]);
    return { connection, exchange, early, isSilent };
  };
  let asked = await ask();
  await until(async () => {
    asked = asked.isSilent ? asked : await ask();
    return asked.isSilent;
  }, 'a proxy that invents no interim answer');
  const { connection, exchange, early } = asked;
  t.is(value(exchange.fields, 'expect')?.toLowerCase(), '100-continue');

  await exchange.send('HTTP/1.1 100 Continue\r\n\r\n');
  t.regex(String(await within(early, '100 Continue')), /^HTTP\/1\.1 100 [^\r]*\r\n\r\n$/);
  await connection.send('hello');
  t.is((await within(exchange.body(), 'the body')).bytes.toString(), 'hello');
  await exchange.respond(200, { body: 'done' });
  t.is((await connection.response('PUT')).body.toString(), 'done');
  upstream.assertAllSigned(t);
});

test('a refusal before the body reaches a client that expects 100 Continue', async (t) => {
  const { upstream, proxy } = await start(t);
  let asked = 0;
  for (const status of [401, 403, 413, 417]) {
    upstream.handler = async (exchange) => {
      await exchange.respond(status, { fields: [['Connection', 'close']], body: 'refused' });
      exchange.connection.end();
    };
    const isRefusedAtOnce = async () => {
      asked += 1;
      const connection = await proxy.connect();
      const answer = await connection.exchange(expecting('hello'));
      t.is(answer.status, status);
      t.is(answer.body.toString(), 'refused');
      return answer.interim.length === 0;
    };
    await until(isRefusedAtOnce, `${status} without an interim answer`);
  }
  t.is(upstream.exchanges.length, asked, 'a refusal is final');
});

test('a client that expects 100 Continue and does not wait is served', async (t) => {
  const { upstream, proxy } = await start(t);
  const connection = await proxy.connect();
  const answer = await connection.exchange(`${expecting('hello')}hello`);
  t.is(answer.status, 200);
  t.is((await upstream.last.body()).bytes.toString(), 'hello');
});

test('the client gets the final answer behind interim ones, without their fields', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await exchange.send('HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n');
    await exchange.send('HTTP/1.1 102 Processing\r\n\r\n');
    await exchange.respond(200, { body: 'final' });
  };
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 200);
  t.is(answer.body.toString(), 'final');
  t.is(value(answer.fields, 'link'), undefined);
  t.log(
    `1xx answers that passed: ${answer.interim.map((head) => head.startLine).join('; ') || 'none'}`,
  );
});

test('answers name the new credentials from the first request after an update', async (t) => {
  const { proxy } = await start(t);
  await proxy.updateCredentials(temporaryCredentials(['a:*'], 'tests/next'));
  const next = await proxy.get('/queue/v1/x');
  t.is(value(next.fields, 'x-taskcluster-proxy-temp-clientid'), 'tests/next');
  t.is(value(next.fields, 'x-taskcluster-proxy-temp-scopes'), '["a:*"]');
  t.is(value(next.fields, 'x-taskcluster-proxy-perm-clientid'), undefined);
  await proxy.updateCredentials(permanentCredentials('tests/last'));
  const last = await proxy.get('/queue/v1/x');
  t.is(value(last.fields, 'x-taskcluster-proxy-perm-clientid'), 'tests/last');
  t.is(value(last.fields, 'x-taskcluster-proxy-temp-scopes'), undefined);
});

/** The head of a PUT that waits for 100 Continue. */
function expecting(body: string): string {
  return requestBytes('PUT', '/queue/v1/x', {
    fields: [
      ['Expect', '100-continue'],
      ['Content-Length', String(body.length)],
    ],
  }).toString('latin1');
}
