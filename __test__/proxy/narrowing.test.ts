// `X-Taskcluster-Authorized-Scopes`: a client narrows the scopes of one request.
import test, { type ExecutionContext } from 'ava';
import { type ProxyOptions, startProxy } from '../harness/proxy.js';
import { temporaryCredentials, verifyBewit } from '../harness/signature.js';
import { answerOk, type Exchange, startUpstream } from '../harness/upstream.js';
import { type Fields, value } from '../harness/wire.js';

const FIELD = 'X-Taskcluster-Authorized-Scopes';

async function start(t: ExecutionContext, options: Partial<ProxyOptions> = {}) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, ...options });
  return { upstream, proxy };
}

function narrowedTo(scopes: string[]): Fields {
  return [[FIELD, JSON.stringify(scopes)]];
}

test('the scopes asked for become authorizedScopes of that request alone', async (t) => {
  const { upstream, proxy } = await start(t);
  const wanted = [['a'], ['a:*', 'b:"quoted"', 'c:\\d'], [], ['*'], ['x'.repeat(500)]];
  for (const scopes of wanted) {
    const answer = await proxy.get('/queue/v1/x', narrowedTo(scopes));
    t.is(answer.status, 200, answer.body.toString());
    t.deepEqual(upstream.last.signed().authorizedScopes, scopes);
    t.is(value(upstream.last.fields, FIELD), undefined, 'the field went upstream');
    t.is(value(answer.fields, FIELD), JSON.stringify(scopes));
  }
  const plain = await proxy.get('/queue/v1/x');
  t.is(upstream.last.signed().authorizedScopes, undefined);
  t.is(value(plain.fields, FIELD), undefined);
  upstream.assertAllSigned(t);
});

test('white space and escapes in the array are those of JSON', async (t) => {
  const { upstream, proxy } = await start(t);
  await proxy.get('/queue/v1/x', [[FIELD, ' [ "a" ,\t"\\u0062:\\/" ] ']]);
  t.deepEqual(upstream.last.signed().authorizedScopes, ['a', 'b:/']);
});

test('the proxy signs a narrowed request with the certificate of temporary credentials', async (t) => {
  const { upstream, proxy } = await start(t, { credentials: temporaryCredentials(['a:*'], 'n') });
  await proxy.get('/queue/v1/x', narrowedTo(['a:b']));
  t.is(upstream.last.signed().kind, 'temporary');
  t.deepEqual(upstream.last.signed().authorizedScopes, ['a:b']);
});

test('a request narrows the restriction of the proxy and never widens it', async (t) => {
  const { upstream, proxy } = await start(t, { scopes: ['a:*', 'b', 'c*'] });
  const granted = [['a:x'], ['a:*'], ['a:'], ['a:x*'], ['b'], ['b', 'a:y'], ['c'], ['c:d'], []];
  for (const scopes of granted) {
    const answer = await proxy.get('/queue/v1/x', narrowedTo(scopes));
    t.is(answer.status, 200, `${scopes}: ${answer.body}`);
    t.deepEqual(upstream.last.signed().authorizedScopes, scopes);
    t.is(value(answer.fields, FIELD), JSON.stringify(scopes));
  }
  const before = upstream.exchanges.length;
  const refused = ['a*', '*', 'b*', 'b:x', 'a', 'A:x', 'd', ''];
  for (const scope of refused) {
    const answer = await proxy.get('/queue/v1/x', narrowedTo(['a:x', scope]));
    t.is(answer.status, 403, JSON.stringify(scope));
    t.true(answer.body.toString().includes(scope), `the answer does not name ${scope}`);
  }
  t.is(upstream.exchanges.length, before);

  const plain = await proxy.get('/queue/v1/x');
  t.deepEqual(upstream.last.signed().authorizedScopes, ['a:*', 'b', 'c*']);
  t.is(value(plain.fields, FIELD), '["a:*","b","c*"]');
  upstream.assertAllSigned(t);
});

test('a request whose field is no JSON array of scopes gets 400', async (t) => {
  const { upstream, proxy } = await start(t);
  const malformed = [
    '',
    'a',
    'a, b',
    '"a"',
    '{}',
    'null',
    'true',
    '[',
    '["a"',
    '["a"]x',
    '["a"],["b"]',
    '[1]',
    '[null]',
    '[["a"]]',
    '["a",]',
    "['a']",
    '["a\\u0001"]',
    '["a\\n"]',
    '["\\u00e9"]',
    '["\xe9"]',
    '["\\ud800"]',
  ];
  for (const text of malformed) {
    const answer = await proxy.get('/queue/v1/x', [[FIELD, text]]);
    t.is(answer.status, 400, JSON.stringify(text));
    t.regex(answer.body.toString(), /^\S[^\n]{8,}\n?$/);
  }
  const twice = await proxy.get('/queue/v1/x', [...narrowedTo(['a']), ...narrowedTo(['b'])]);
  t.is(twice.status, 400, 'two fields');
  t.is(upstream.exchanges.length, 0);
});

test('a client narrows the scopes of a signed URL within the restriction', async (t) => {
  const { proxy } = await start(t, { scopes: ['a:*'] });
  const body = 'https://example.com/x';
  const narrowed = await proxy.request('POST', '/bewit', { fields: narrowedTo(['a:b']), body });
  t.is(narrowed.status, 303);
  t.deepEqual((await verifyBewit(narrowed.body.toString())).authorizedScopes, ['a:b']);
  const plain = await proxy.request('POST', '/bewit', { body });
  t.deepEqual((await verifyBewit(plain.body.toString())).authorizedScopes, ['a:*']);
  const refused = await proxy.request('POST', '/bewit', { fields: narrowedTo(['b']), body });
  t.is(refused.status, 403);
});

test('a task without scopes restricts each request to an empty list of scopes', async (t) => {
  const upstream = await startUpstream(t, async (exchange) => {
    await (exchange.target.startsWith('/api/queue/v1/task/') ? task(exchange) : answerOk(exchange));
  });
  const proxy = await startProxy(t, {
    rootUrl: upstream.url,
    flags: ['--task-id', 'KTBKfEgxR5GdfIIREQIvFQ'],
  });
  const answer = await proxy.get('/queue/v1/x');
  t.is(value(answer.fields, FIELD), '[]');
  t.deepEqual(upstream.last.signed().authorizedScopes, []);
  t.is((await proxy.get('/queue/v1/x', narrowedTo(['a']))).status, 403);
  t.is((await proxy.get('/queue/v1/x', narrowedTo([]))).status, 200);
});

function task(exchange: Exchange): Promise<void> {
  return exchange.respond(200, {
    fields: [['Content-Type', 'application/json']],
    body: JSON.stringify({ scopes: [] }),
  });
}
