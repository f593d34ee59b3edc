// `POST /bewit`: a URL that is signed for every holder of it.
import test, { type ExecutionContext } from 'ava';
import { startProxy } from '../harness/proxy.js';
import {
  type CredentialSet,
  permanentCredentials,
  splitUrl,
  temporaryCredentials,
  verifyBewit,
} from '../harness/signature.js';
import { value } from '../harness/wire.js';

const HOUR_SECONDS = 3600;

/** Nothing is sent upstream here, so there is none. */
function start(t: ExecutionContext, credentials?: CredentialSet) {
  return startProxy(t, {
    rootUrl: 'https://deployment.example.com',
    ...(credentials ? { credentials } : {}),
  });
}

const SIGNED = [
  'https://deployment.example.com/api/queue/v1/task/x/artifacts/public%2Flog.txt',
  'http://example.com',
  'http://example.com/',
  'https://example.com:8443/x',
  'http://example.com:80/x',
  'http://EXAMPLE.com/Case',
  'http://127.0.0.1:1234/x',
  'http://[::1]:1234/x',
  'https://[2001:db8::1]/x',
  'https://example.com/a//b/../c;d?x=%2F&y=+&z',
  'https://example.com/?',
  'https://example.com/x?a=1&',
  'https://example.com/x?not_a_bewit=1&xbewit=2',
  "https://example.com/!$&'()*+,;=:@",
  `https://example.com/x?q=${'x'.repeat(2000)}`,
];

test('the answer is 303 with the signed URL in Location and body, valid for an hour', async (t) => {
  for (const credentials of [permanentCredentials(), temporaryCredentials(['a'], 'tests/named')]) {
    const proxy = await start(t, credentials);
    for (const url of SIGNED) {
      const began = Date.now() / 1000;
      const answer = await proxy.request('POST', '/bewit', { body: url });
      t.is(answer.status, 303, url);
      const signed = answer.body.toString();
      t.is(value(answer.fields, 'location'), signed);
      const kept = signed.slice(0, signed.lastIndexOf('bewit=') - 1);
      // The query to which the bewit is added may be opened by a bare `?`.
      const { target } = splitUrl(url);
      t.true([target, target.replace(/\?$/, '')].includes(splitUrl(kept).target), signed);

      const { clientId, kind, expires } = await verifyBewit(signed);
      t.is(clientId, credentials.clientId);
      t.is(kind, credentials.certificate ? 'temporary' : 'permanent');
      const left = expires - Date.now() / 1000;
      t.true(expires > began + HOUR_SECONDS - 1 && left <= HOUR_SECONDS + 1, `${left} s are left`);
    }
  }
});

test('the signed URL keeps the query, ends with the bewit, and has no fragment', async (t) => {
  const proxy = await start(t);
  const rows = [
    ['https://example.com/x', 'https://example.com/x?bewit='],
    ['https://example.com/x?b=2&a=1', 'https://example.com/x?b=2&a=1&bewit='],
    ['https://example.com/x?%2F=+', 'https://example.com/x?%2F=+&bewit='],
    ['https://example.com/x?a=1#part?b', 'https://example.com/x?a=1&bewit='],
    ['https://example.com/x#', 'https://example.com/x?bewit='],
    ['  \r\n\thttps://example.com/x \n', 'https://example.com/x?bewit='],
  ] as const;
  for (const [url, begins] of rows) {
    const { status, body } = await proxy.request('POST', '/bewit', { body: url });
    t.is(status, 303, url);
    t.true(body.toString().startsWith(begins), `${url}: ${body}`);
    t.regex(body.toString().slice(begins.length), /^[\w-]+$/);
    await verifyBewit(body.toString());
  }
});

test('a body that is no absolute http URL gets 400 with a sentence', async (t) => {
  const proxy = await start(t);
  const bodies = [
    '',
    ' ',
    'x',
    '/queue/v1/x',
    '//example.com/x',
    'example.com/x',
    'http:',
    'http://',
    'http:///x',
    'http:x',
    'ftp://example.com/x',
    'file:///etc/passwd',
    'https://example.com:port/x',
    'https://example.com:99999/x',
    'https://exa mple.com/x',
    'https://example.com/a b',
    'https://example.com/x\nhttps://example.com/y',
    'https://[::1/x',
    'https://example.com/\xe9',
    Buffer.from([0x68, 0x74, 0xff, 0xfe]),
    'https://example.com/x?bewit=abc',
    'https://example.com/x?a=1&bewit=abc&b=2',
    'https://example.com/x?bewit=',
  ];
  for (const body of bodies) {
    const answer = await proxy.request('POST', '/bewit', { body });
    t.is(answer.status, 400, JSON.stringify(body));
    t.regex(answer.body.toString(), /^\S[^\n]{8,}\n?$/);
    t.is(value(answer.fields, 'location'), undefined);
  }
});

test('a URL over 64 KiB gets 413, with a length and in chunks', async (t) => {
  const proxy = await start(t);
  const url = `https://example.com/${'x'.repeat(64 * 1024)}`;
  t.is((await proxy.request('POST', '/bewit', { body: url })).status, 413);
  const size = url.length.toString(16);
  const chunked = await proxy.exchange(
    'POST /bewit HTTP/1.1\r\nHost: taskcluster\r\nTransfer-Encoding: chunked\r\n\r\n' +
      `${size}\r\n${url}\r\n0\r\n\r\n`,
  );
  t.is(chunked.status, 413);
  const fits = `https://example.com/${'x'.repeat(60 * 1024)}`;
  t.is((await proxy.request('POST', '/bewit', { body: fits })).status, 303);
});

test('a method other than POST gets 405', async (t) => {
  const proxy = await start(t);
  for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'post']) {
    const answer = await proxy.request(method, '/bewit');
    t.is(answer.status, 405, method);
    t.is(value(answer.fields, 'allow'), 'POST', method);
  }
});

test('the proxy signs with the new credentials after an update', async (t) => {
  const proxy = await start(t);
  await proxy.updateCredentials(permanentCredentials('tests/next'));
  const { body } = await proxy.request('POST', '/bewit', { body: 'https://example.com/x' });
  t.is((await verifyBewit(body.toString())).clientId, 'tests/next');
});
