// The API: a program starts, updates and stops a proxy in its own process, and signs and verifies Hawk.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import test from 'ava';
import {
  CredentialsError,
  checkBewit,
  createTemporaryCredentials,
  HawkError,
  makeBewit,
  OptionsError,
  revision,
  signHeader,
  startProxy,
  verifyHeader,
  version,
} from 'taskcluster-proxy';
import { pause } from '../harness/deadline.js';

const ISSUER = { clientId: 'project/issuer', accessToken: 'not-a-secret' };
const OPTIONS = {
  rootUrl: 'https://tc.example.com',
  credentials: ISSUER,
  ipAddresses: ['127.0.0.1'],
  port: 0,
  logLevel: 'error',
} as const;

test('a proxy runs on until it is stopped, even if the program keeps no reference to it', async (t) => {
  const proxy = new WeakRef(await startProxy(OPTIONS));
  const [url = ''] = proxy.deref()?.addresses ?? [];
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  for (let count = 0; count < 5; count += 1) {
    collect();
    await pause(20);
  }
  const { headers } = await fetch(`${url}/__version__`);
  t.is(headers.get('x-taskcluster-proxy-version'), version);
  t.is(headers.get('x-taskcluster-proxy-revision'), revision);
  await proxy.deref()?.stop();
});

test('calls of stop at the same time all return, and the proxy has ended then', async (t) => {
  const proxy = await startProxy({ ...OPTIONS, ipAddresses: ['127.0.0.1', '::1'] });
  t.is(proxy.addresses.length, 2);
  await t.throwsAsync(proxy.stop('soon'), { instanceOf: OptionsError });
  t.is((await fetch(`${proxy.addresses[1]}/__lbheartbeat__`)).status, 200);
  t.is(proxy.counters().requests2xx, 1);
  await Promise.all([proxy.stop(), proxy.stop('1s'), proxy.stop(0)]);
  await t.throwsAsync(fetch(`${proxy.addresses[0]}/__lbheartbeat__`));
});

const URL_ = 'http://tc.example.com:8080/api/queue/v1//task/%2F?a=b;c';
const REQUEST = {
  method: 'GET',
  target: '/api/queue/v1//task/%2F?a=b;c',
  host: 'tc.example.com',
  port: 8080,
};

/** Knows the issuer's access token alone. */
function accessToken(clientId: string): string | undefined {
  return clientId === ISSUER.clientId ? ISSUER.accessToken : undefined;
}

test('a header verifies with the client, the limits and the time that it was signed with', async (t) => {
  const date = new Date(1_700_000_000_500);
  const credentials = createTemporaryCredentials({
    credentials: ISSUER,
    clientId: 'project/named',
    scopes: ['a:*', 'b'],
    start: date,
    expiry: new Date(date.getTime() + 3_600_000),
  });
  const header = signHeader({ credentials, url: URL_, authorizedScopes: ['a:b'], date });
  const { nonce, ...verified } = await verifyHeader(REQUEST, header, { accessToken, date });
  t.truthy(nonce);
  t.deepEqual(verified, {
    clientId: 'project/named',
    issuingClientId: 'project/issuer',
    authorizedScopes: ['a:b'],
    temporary: {
      scopes: ['a:*', 'b'],
      start: date.getTime(),
      expiry: date.getTime() + 3_600_000,
    },
    ts: 1_700_000_000,
  });
});

test('a header of another time, request or key is refused', async (t) => {
  const header = signHeader({ credentials: ISSUER, url: URL_ });
  const date = new Date(Date.now() + 3_600_000);
  const late = await t.throwsAsync(verifyHeader(REQUEST, header, { accessToken, date }), {
    instanceOf: HawkError,
    code: 'ERR_HAWK',
  });
  t.is(late.status, 401);
  t.regex(late.challenge ?? '', /^Hawk ts="\d+", tsm=".+", error="Stale timestamp"$/);
  const lenient = { accessToken, date, timestampSkew: 3_700 };
  t.is((await verifyHeader(REQUEST, header, lenient)).clientId, 'project/issuer');

  const refusals: [typeof REQUEST, string, typeof accessToken, number][] = [
    [{ ...REQUEST, method: 'POST' }, header, accessToken, 401],
    [{ ...REQUEST, target: '/api/queue/v1/task/%2F?a=b;c' }, header, accessToken, 401],
    [{ ...REQUEST, host: 'tc.example.org' }, header, accessToken, 401],
    [{ ...REQUEST, port: 80 }, header, accessToken, 401],
    [REQUEST, header, () => 'other', 401],
    [REQUEST, header, () => undefined, 401],
    [REQUEST, 'Hawk nonsense', accessToken, 400],
  ];
  for (const [request, authorization, lookUp, status] of refusals) {
    const error = await t.throwsAsync(
      verifyHeader(request, authorization, { accessToken: lookUp }),
      { instanceOf: HawkError },
    );
    t.is(error.status, status);
  }
});

test('a bewit opens its URL until it expires', async (t) => {
  const expires = new Date(Date.now() + 3_600_000);
  const bewit = makeBewit({ credentials: ISSUER, url: URL_, expires });
  const request = { ...REQUEST, target: `${REQUEST.target}&bewit=${bewit}` };
  const verified = await checkBewit(request, { accessToken });
  t.deepEqual(
    [verified.clientId, verified.ts, verified.nonce],
    ['project/issuer', Math.floor(expires.getTime() / 1000), undefined],
  );
  const late = { accessToken, date: new Date(expires.getTime() + 1_000) };
  await t.throwsAsync(checkBewit(request, late), { instanceOf: HawkError });
  const elsewhere = { ...request, host: 'tc.example.org' };
  await t.throwsAsync(checkBewit(elsewhere, { accessToken }), { instanceOf: HawkError });
});

test('an invalid request to sign is refused with its own error class', (t) => {
  t.throws(() => signHeader({ credentials: ISSUER, url: 'tc.example.com' }), {
    instanceOf: HawkError,
    message: 'not an absolute http or https URL: begin it with https:// and a host name',
  });
  t.throws(() => signHeader({ credentials: { clientId: 'a', accessToken: '' }, url: URL_ }), {
    instanceOf: CredentialsError,
  });
  const expiry = new Date(Date.now() + 32 * 24 * 3_600_000);
  t.throws(() => createTemporaryCredentials({ credentials: ISSUER, scopes: [], expiry }), {
    instanceOf: CredentialsError,
    message: 'temporary credentials cannot last longer than 31 days: choose an earlier expiry',
  });
});

test('a mistyped option never lifts a restriction of signing or checking', async (t) => {
  const credentials = ISSUER;
  const expiry = new Date(Date.now() + 60_000);
  const signs = {
    signHeader: (slip: object) => signHeader({ credentials, url: URL_, ...slip }),
    makeBewit: (slip: object) => makeBewit({ credentials, url: URL_, expires: expiry, ...slip }),
  };
  for (const [name, sign] of Object.entries(signs)) {
    for (const authorizedScopes of ['a:*', '', null, undefined, ['a', null], { 0: 'a' }]) {
      const error = t.throws(() => sign({ authorizedScopes }), { instanceOf: OptionsError }, name);
      t.regex(error.message, /^authorizedScopes (is|holds) /, name);
    }
    t.throws(() => sign({ scopes: ['a:b'] }), {
      instanceOf: OptionsError,
      message: `scopes is not an option of ${name}: did you mean authorizedScopes?`,
    });
    t.notThrows(() => sign({ authorizedScopes: [] }));
  }
  const temporary = (slip: object) =>
    createTemporaryCredentials({ credentials, scopes: [], expiry, ...slip });
  for (const scopes of ['a:*', null, undefined, ['a', 1]]) {
    const error = t.throws(() => temporary({ scopes }), { instanceOf: OptionsError });
    t.regex(error.message, /^scopes (is|holds) .*: pass an array of strings$/);
  }
  t.throws(() => temporary({ authorizedScopes: ['a'] }), { instanceOf: OptionsError });

  const header = signHeader({ credentials, url: URL_ });
  for (const slip of [{ payload: undefined }, { payload: null }, { payLoad: {} }, { skew: 1 }]) {
    const verified = verifyHeader(REQUEST, header, { accessToken, ...(slip as object) });
    await t.throwsAsync(verified, { instanceOf: OptionsError });
  }
  await t.throwsAsync(checkBewit(REQUEST, { accessToken, now: expiry } as object as never), {
    instanceOf: OptionsError,
    message: /^now is not an option of checkBewit: its options are accessToken, /,
  });
});
