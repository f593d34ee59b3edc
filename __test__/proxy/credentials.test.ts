// Credentials: the start, an update and `PUT /credentials` refuse the same sets with the same sentences,
// and no sentence repeats a secret.
import test from 'ava';
import { CredentialsError, createTemporaryCredentials, startProxy } from 'taskcluster-proxy';
import { checkCredentials, parseCredentials } from '../../dist/credentials.js';

const SHAPE =
  'credentials are not a JSON object: send {"clientId": ..., "accessToken": ..., "certificate": ...}';
const NOT_JSON =
  'credentials are not JSON, or not the whole of it, or something follows: send one JSON object';
const NOT_UTF_8 = 'credentials are not UTF-8: send JSON in UTF-8';
const CERTIFICATE = 'certificate must be a JSON object: pass it as it came with the access token';

const GOOD = '"clientId": "project/a@b!c:d.e+f|g_h-1", "accessToken": "t0k3n"';

const CERTIFICATE_KEYS = {
  version: 1,
  scopes: ['a:*'],
  start: 1_764_354_855_000,
  expiry: 1_764_358_455_000,
  seed: 't0k3nt0k3nt0k3nt0k3nt0k3nt0k3nt0k3nt0k3nt0k3',
  signature: '45AlB/hKZZZz4Tf3NaidutasfgBnr4t2AxwBiGDQF9Q=',
};

function withCertificate(certificate: object): string {
  const text = JSON.stringify(certificate);
  return JSON.stringify({ clientId: 'a', accessToken: 't0k3n', certificate: text });
}

const REFUSED: Record<string, readonly [string | Uint8Array, string]> = {
  nothing: ['', NOT_JSON],
  'no JSON': ['clientId=a&accessToken=t0k3n', NOT_JSON],
  'a torn body': [`{${GOOD}`, NOT_JSON],
  'text after the object': [`{${GOOD}} x`, NOT_JSON],
  'two objects': [`{${GOOD}}{${GOOD}}`, NOT_JSON],
  'a byte order mark': [`\ufeff{${GOOD}}`, NOT_JSON],
  'a comment': [`{${GOOD} /* t0k3n */}`, NOT_JSON],
  'no UTF-8': [Buffer.from(`{${GOOD}, "x": "\xe9"}`, 'latin1'), NOT_UTF_8],
  'UTF-8 that breaks off': [Buffer.from('{"clientId": "\u00e9').subarray(0, -1), NOT_UTF_8],
  'UTF-16': [Buffer.from(`\ufeff{${GOOD}}`, 'utf16le'), NOT_UTF_8],
  'an array': [`[{${GOOD}}]`, SHAPE],
  'a string': ['"t0k3n"', SHAPE],
  null: ['null', SHAPE],
  'an empty object': ['{}', 'credentials have no clientId: send it as a string'],
  'no client id': ['{"accessToken": "t0k3n"}', 'credentials have no clientId: send it as a string'],
  'a client id that is null': [
    '{"clientId": null, "accessToken": "t0k3n"}',
    'credentials have no clientId: send it as a string',
  ],
  'a client id that is a number': [
    '{"clientId": 1, "accessToken": "t0k3n"}',
    'clientId is not a string: send it as it came from Taskcluster',
  ],
  'an empty client id': [
    '{"clientId": "", "accessToken": "t0k3n"}',
    'clientId is empty: pass the client id that belongs to the access token',
  ],
  ...Object.fromEntries(
    ['"', '\\', ' ', '\n', 'é', ',', '%', '*', '\u0000'].map((character) => [
      `a client id with ${JSON.stringify(character)}`,
      [
        JSON.stringify({ clientId: `a${character}`, accessToken: 't0k3n' }),
        'which cannot be part of one: use letters, digits and !@/:.+|_- only',
      ] as const,
    ]),
  ),
  'no access token': ['{"clientId": "a"}', 'credentials have no accessToken: send it as a string'],
  'an empty access token': [
    '{"clientId": "a", "accessToken": ""}',
    'accessToken is empty: pass the access token of the client',
  ],
  'an access token that is an object': [
    '{"clientId": "a", "accessToken": {"t0k3n": 1}}',
    'accessToken is not a string: send it as it came from Taskcluster',
  ],
  'an access token that has no UTF-8': [
    '{"clientId": "a", "accessToken": "t0k3n\\ud800"}',
    'accessToken holds half a surrogate pair: send valid Unicode',
  ],
  'the names of another spelling': [
    '{"client_id": "a", "access_token": "t0k3n"}',
    'credentials have no clientId: send it as a string',
  ],
  'an inherited client id': [
    '{"__proto__": {"clientId": "a"}, "accessToken": "t0k3n"}',
    'credentials have no clientId: send it as a string',
  ],
  ...Object.fromEntries(
    ['x', '[]', '"t0k3n"', 'null', '1', '{"version":1', '{} {}', ' '].map((certificate) => [
      `the certificate ${certificate}`,
      [JSON.stringify({ clientId: 'a', accessToken: 't0k3n', certificate }), CERTIFICATE] as const,
    ]),
  ),
  ...Object.fromEntries(
    Object.entries({
      version: 'certificate.version must be 1: create the temporary credentials anew',
      scopes: 'certificate.scopes must be an array of valid scopes: use printable ASCII only',
      start: 'certificate.start must be a number: give whole milliseconds since the epoch',
      expiry: 'certificate.expiry must be a number: give whole milliseconds since the epoch',
      seed: 'certificate.seed must be 44 characters: create the temporary credentials anew',
      signature:
        'certificate.signature is not valid: use clientId, accessToken and certificate of the ' +
        'same temporary credentials, unchanged',
    }).map(([key, sentence]) => [
      `a certificate without ${key}`,
      [withCertificate({ ...CERTIFICATE_KEYS, [key]: undefined }), sentence] as const,
    ]),
  ),
  'a certificate without any key': [
    withCertificate({}),
    'certificate.version must be 1: create the temporary credentials anew',
  ],
  'a certificate with its own client as the issuer': [
    withCertificate({ ...CERTIFICATE_KEYS, issuer: 'a' }),
    'certificate.issuer must differ from the supplied clientId: leave it out',
  ],
  'a certificate that names a client and no issuer': [
    withCertificate({ ...CERTIFICATE_KEYS, clientId: 'a' }),
    'certificate.clientId must only be used with certificate.issuer: leave it out',
  ],
  'a certificate that is an object': [
    `{${GOOD}, "certificate": {"version": 1}}`,
    'certificate is not a string: send it as it came from Taskcluster',
  ],
};

for (const [what, [body, sentence]] of Object.entries(REFUSED)) {
  test(`credentials are refused: ${what}`, (t) => {
    const bytes = typeof body === 'string' ? Buffer.from(body) : body;
    const error = t.throws(() => parseCredentials(bytes), { instanceOf: CredentialsError });
    t.true(error.message.endsWith(sentence), error.message);
    t.notRegex(error.message, /t0k3n|\n/);
  });
}

const ISSUER = { clientId: 'project/issuer', accessToken: 'not-a-secret' };
const TEMPORARY = createTemporaryCredentials({
  credentials: ISSUER,
  clientId: 'project/named',
  scopes: ['a:*'],
  expiry: new Date(Date.now() + 3_600_000),
});

const ACCEPTED: readonly (readonly [string, object])[] = [
  [`{${GOOD}}`, {}],
  [` \n\t{${GOOD}}\r\n`, {}],
  [`{${GOOD}, "certificate": ""}`, {}],
  [`{${GOOD}, "certificate": null}`, {}],
  [`{${GOOD}, "runId": 0, "takenUntil": "2026-11-22T00:00:00.000Z", "task": {}}`, {}],
  [`{"accessToken": "x", ${GOOD}}`, {}],
];

for (const [body, more] of ACCEPTED) {
  test(`credentials are accepted: ${JSON.stringify(body)}`, (t) => {
    const credentials = { clientId: 'project/a@b!c:d.e+f|g_h-1', accessToken: 't0k3n', ...more };
    t.deepEqual(parseCredentials(Buffer.from(body)), credentials);
  });
}

test('the proxy accepts temporary credentials as a claim returns them', (t) => {
  t.deepEqual(parseCredentials(Buffer.from(JSON.stringify(TEMPORARY))), TEMPORARY);
});

test('the proxy accepts a certificate that has all its keys and any others', (t) => {
  const { scopes, ...rest } = CERTIFICATE_KEYS;
  for (const certificate of [
    CERTIFICATE_KEYS,
    { ...rest, scopes: [] },
    { ...rest, scopes, issuer: 'project/issuer', clientId: 'a', more: [{ of: 'it' }] },
  ]) {
    t.notThrows(() => parseCredentials(Buffer.from(withCertificate(certificate))));
  }
});

test('the API refuses credentials that are undefined, and a certificate that is a number', (t) => {
  t.throws(() => checkCredentials(undefined), { instanceOf: CredentialsError, message: SHAPE });
  t.throws(() => checkCredentials({ clientId: 'a', accessToken: 'b', certificate: 5 }), {
    instanceOf: CredentialsError,
  });
});

function startWithIssuer() {
  return startProxy({
    rootUrl: 'https://tc.example.com',
    credentials: ISSUER,
    ipAddresses: ['127.0.0.1'],
    port: 0,
    logLevel: 'error',
  });
}

test('an update that is refused leaves the set in force', async (t) => {
  const proxy = await startWithIssuer();
  t.teardown(() => proxy.stop(0));
  const [address = ''] = proxy.addresses;
  const put = (body: string | Uint8Array) =>
    fetch(`${address}/credentials`, { method: 'PUT', body });
  const signer = async () =>
    (await fetch(`${address}/none`)).headers.get('x-taskcluster-proxy-perm-clientid');

  for (const [what, [body, sentence]] of Object.entries(REFUSED)) {
    const response = await put(body);
    t.is(response.status, 400, what);
    t.true((await response.text()).trimEnd().endsWith(sentence), what);
  }
  await t.throwsAsync(proxy.updateCredentials({ clientId: 'a"', accessToken: 'b' }), {
    instanceOf: CredentialsError,
  });
  t.is(await signer(), 'project/issuer');

  t.is((await put('{"clientId": "put", "accessToken": "b"}')).status, 200);
  t.is(await signer(), 'put');
  await proxy.updateCredentials({ clientId: 'updated', accessToken: 'b' });
  t.is(await signer(), 'updated');
  t.is(proxy.counters().credentialUpdates, 2);
});

test('a proxy that has stopped takes no more credentials', async (t) => {
  const proxy = await startWithIssuer();
  await Promise.all([proxy.stop(), proxy.stop('1s')]);
  await t.throwsAsync(proxy.updateCredentials(ISSUER), {
    code: 'ERR_STOPPED',
    message: 'the proxy has been stopped: start another one',
  });
  await t.throwsAsync(fetch(proxy.addresses[0] ?? ''));
});
