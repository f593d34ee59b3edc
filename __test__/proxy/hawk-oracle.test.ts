// Hawk, compared with npm `hawk` in both directions: each accepts the other's signatures, and both
// refuse the same requests. Inputs are generated. Both sides see one fixed time.
//
// The inputs avoid cases in which this implementation is stricter on purpose: npm `hawk` accepts a `ts`
// or expiry that is not a decimal number for ever, and Node's base64 decoder skips characters that are
// not base64.
import crypto from 'node:crypto';
import test from 'ava';
import hawk, { type Boom, type ClientCredentials, type ParsedUrl } from 'hawk';
import taskcluster from 'taskcluster-client';
import {
  type Credentials,
  checkBewit,
  createTemporaryCredentials,
  HawkError,
  type HawkRequest,
  makeBewit,
  signHeader,
  verifyHeader,
} from 'taskcluster-proxy';
import { Random } from '../harness/random.js';
import { SEED, tellSeed } from '../harness/seed.js';
import {
  accessTokenOf,
  type CredentialSet,
  permanentCredentials,
  verifyBewit,
  verifySignature,
} from '../harness/signature.js';

const ROUNDS = 2_000;
const NOW_MS = 1_763_800_000_000;
const NOW = NOW_MS / 1000;
const HOUR_MS = 3_600_000;

test.before((t) => {
  tellSeed(t);
  hawk.utils.setTimeFunction(() => NOW_MS);
});

const ALPHANUMERIC = [...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'];
const PRINTABLE = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
const CLIENT_ID = [...ALPHANUMERIC, ...'!@/:.+|_-'];
const TARGET = [..."aZ0-._~!'()*+,;=:@/?&", '%2F', '%2f', '%252F', '%00', '//', '/../', '?', '&'];
const HOSTS = ['tc.example.com', 'TC.Example.COM', 'localhost', '127.0.0.1', '[::1]', '[FE80::a]'];
const METHODS = ['GET', 'HEAD', 'POST', 'put', 'Delete', 'PATCH', 'M-SEARCH'];
const TOKEN_ATTRIBUTE = PRINTABLE.filter((c) => c !== '"' && c !== '\\');

function randomRequest(random: Random, methods = METHODS): HawkRequest & { url: string } {
  const scheme = random.pick(['http', 'https']);
  const own = scheme === 'https' ? 443 : 80;
  const port = random.chance(2) ? own : 1 + random.below(65535);
  const host = random.pick(HOSTS);
  const target = `/${random.text(TARGET, 40)}`;
  const authority = port === own && random.chance(2) ? host : `${host}:${port}`;
  const url = `${scheme}://${authority}${target}`;
  return { method: random.pick(methods), target, host, port, url };
}

function randomScopes(random: Random): string[] {
  return Array.from({ length: random.below(4) }, () => random.text(PRINTABLE, 20));
}

/** Permanent, temporary or named temporary credentials; these by `create`. */
function randomCredentials(random: Random, create: typeof ours): CredentialSet {
  const issuer = permanentCredentials(`i/${random.text(CLIENT_ID, 30)}`);
  if (random.chance(3)) {
    return issuer;
  }
  return create({
    credentials: issuer,
    scopes: randomScopes(random),
    start: new Date(NOW_MS - random.below(HOUR_MS)),
    expiry: new Date(NOW_MS + random.below(HOUR_MS)),
    ...(random.chance(2) && { clientId: `n/${random.text(CLIENT_ID, 30)}` }),
  });
}

interface Wanted {
  credentials: CredentialSet;
  clientId?: string;
  scopes: string[];
  start: Date;
  expiry: Date;
}

function ours(wanted: Wanted): CredentialSet {
  const { certificate, ...created } = createTemporaryCredentials(wanted);
  return { ...created, ...(certificate != null && { certificate }) };
}

/**
 * Never for no scopes at all: taskcluster-client ends the signed text of an empty list with a line
 * feed, and the auth service and the other clients do not, so that no verifier accepts these.
 */
function theirs({ scopes, ...wanted }: Wanted): CredentialSet {
  return taskcluster.createTemporaryCredentials({
    ...wanted,
    scopes: scopes.length === 0 ? ['some:scope'] : scopes,
  });
}

/** `ext` as taskcluster-client makes it. */
function extOf(
  { certificate }: Credentials,
  authorizedScopes: readonly string[] | undefined,
): string | undefined {
  const ext = {
    ...(certificate && { certificate: JSON.parse(certificate) }),
    ...(authorizedScopes && { authorizedScopes }),
  };
  return Object.keys(ext).length === 0 ? undefined : base64(JSON.stringify(ext));
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

/** A URL as npm `hawk` takes it apart, but that `url.parse` drops an IPv6 address's brackets. */
function parsed({ target, host, port }: HawkRequest): ParsedUrl {
  const [pathname = '', ...search] = target.split(/(?=\?)/);
  return { pathname, search: search.join(''), hostname: host, port, protocol: 'https:' };
}

function hawkCredentials({ clientId, accessToken }: CredentialSet): ClientCredentials {
  return { id: clientId, key: accessToken, algorithm: 'sha256' };
}

const verification = { accessToken: accessTokenOf, date: new Date(NOW_MS) };

/**
 * The verdict of npm `hawk` and the auth service's rules on a request; `null` where they accept it.
 */
async function theirVerdict(verdict: Promise<unknown>): Promise<string | null> {
  return verdict.then(
    () => null,
    (error: Error) => error.message,
  );
}

/** Our own verdict on a request. Any error but our own fails the test. */
async function ourVerdict(verdict: Promise<unknown>): Promise<HawkError | null> {
  try {
    await verdict;
    return null;
  } catch (error) {
    if (error instanceof HawkError) {
      return error;
    }
    throw error;
  }
}

test('npm hawk accepts every header that we sign, and writes the same header', async (t) => {
  const random = new Random(SEED, 1);
  for (let round = 0; round < ROUNDS; round++) {
    const credentials = randomCredentials(random, ours);
    const authorizedScopes = random.chance(2) ? randomScopes(random) : undefined;
    const request = randomRequest(random);
    const date = new Date(NOW_MS + (random.below(120) - 60) * 1000);
    const authorization = signHeader({
      credentials,
      method: request.method,
      url: request.url,
      date,
      ...(authorizedScopes && { authorizedScopes }),
    });

    const signature = await verifySignature({ ...request, authorization });
    t.is(signature.clientId, credentials.clientId);
    t.is(signature.kind, credentials.certificate ? 'temporary' : 'permanent');
    t.deepEqual(signature.authorizedScopes, authorizedScopes);

    const ext = extOf(credentials, authorizedScopes);
    const { header } = hawk.client.header(parsed(request), request.method, {
      credentials: hawkCredentials(credentials),
      timestamp: date.getTime() / 1000,
      nonce: signature.nonce,
      ...(ext !== undefined && { ext }),
    });
    t.is(authorization, header, `round ${round}`);
  }
});

test('we accept every header that npm hawk signs', async (t) => {
  const random = new Random(SEED, 2);
  for (let round = 0; round < ROUNDS; round++) {
    const credentials = randomCredentials(random, theirs);
    const authorizedScopes = random.chance(2) ? randomScopes(random) : undefined;
    const request = randomRequest(random);
    const timestamp = NOW + random.below(120) - 60;
    const nonce = random.text(TOKEN_ATTRIBUTE, 20, 1);
    const contentType = random.pick(['', 'application/json', 'Text/Plain; charset=UTF-8']);
    const payload = random.chance(2) ? random.text([...PRINTABLE, 'é', '\n'], 50) : undefined;
    const ext = extOf(credentials, authorizedScopes);
    const app = random.chance(3) ? random.text(TOKEN_ATTRIBUTE, 10, 1) : undefined;
    const { header } = hawk.client.header(parsed(request), request.method, {
      credentials: hawkCredentials(credentials),
      timestamp,
      nonce,
      contentType,
      ...(payload !== undefined && { payload }),
      ...(ext !== undefined && { ext }),
      ...(app !== undefined && { app, ...(random.chance(2) && { dlg: 'by' }) }),
    });

    const verified = await verifyHeader(request, header, {
      ...verification,
      ...(payload !== undefined && { payload: { contentType, body: Buffer.from(payload) } }),
    });
    const certificate = credentials.certificate && JSON.parse(credentials.certificate);
    t.is(verified.clientId, credentials.clientId);
    t.is(verified.issuingClientId, certificate?.issuer ?? credentials.clientId);
    t.deepEqual(verified.authorizedScopes, authorizedScopes);
    t.deepEqual(verified.temporary?.scopes, certificate?.scopes);
    t.is(verified.temporary?.start, certificate?.start);
    t.is(verified.temporary?.expiry, certificate?.expiry);
    t.is(verified.ts, timestamp);
    t.is(verified.nonce, nonce);
    if (payload !== undefined) {
      const other = { contentType, body: Buffer.from(`${payload}.`) };
      const refusal = await ourVerdict(
        verifyHeader(request, header, { ...verification, payload: other }),
      );
      t.true(refusal?.message.startsWith('Bad payload hash:'));
    }
  }
});

/** One character changed, left out or put in. */
function damaged(random: Random, text: string): string {
  const at = random.below(text.length);
  const character = random.pick(PRINTABLE);
  return random.pick([
    text.slice(0, at) + character + text.slice(at + 1),
    text.slice(0, at) + text.slice(at + 1),
    text.slice(0, at) + character + text.slice(at),
  ]);
}

test('both verifiers accept and refuse the same damaged headers and requests', async (t) => {
  const random = new Random(SEED, 3);
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const credentials = randomCredentials(random, theirs);
    const { url, ...signed } = randomRequest(random);
    const header = signHeader({ credentials, method: signed.method, url, date: verification.date });
    const request = { ...signed };
    let authorization = header;
    switch (random.below(6)) {
      case 0:
        request.method = random.pick(METHODS);
        break;
      case 1:
        request.target = `/${damaged(random, signed.target).slice(1)}`;
        break;
      case 2:
        request.host = random.pick(HOSTS);
        break;
      case 3:
        request.port = random.pick([signed.port, signed.port ^ 1]);
        break;
      default:
        authorization = damaged(random, header);
    }
    const their = await theirVerdict(verifySignature({ ...request, authorization }));
    const our = await ourVerdict(verifyHeader(request, authorization, verification));
    t.is(our === null, their === null, `${round}: ${authorization}: ${their}, ${our?.message}`);
    accepted += our === null ? 1 : 0;
  }
  t.true(accepted > ROUNDS / 20 && accepted < ROUNDS / 2, `${accepted} accepted`);
});

/** A header with the right MAC, in every plausible spelling. */
function sloppyHeader(random: Random, request: HawkRequest, clientId: string): string {
  const attributes = {
    id: clientId,
    ts: String(NOW),
    nonce: random.text(TOKEN_ATTRIBUTE, 8, 1),
    ...(random.chance(3) && { ext: base64('{}') }),
    ...(random.chance(4) && { hash: random.text(ALPHANUMERIC, 4, 1) }),
    ...(random.chance(4) && { app: random.text(TOKEN_ATTRIBUTE, 4, 1) }),
    ...(random.chance(4) && { dlg: random.text(TOKEN_ATTRIBUTE, 4, 1) }),
  };
  const key = { key: accessTokenOf(clientId), algorithm: 'sha256' } as const;
  const { target: resource, ...rest } = request;
  const mac = hawk.crypto.calculateMac('header', key, { ...rest, resource, ...attributes });
  const written = Object.entries({ ...attributes, mac }).map(([name, value]) =>
    random.chance(40) ? random.pick(FLAWS)(name, value) : `${name}="${value}"`,
  );
  for (let i = 0; i < written.length; i++) {
    const j = random.below(written.length);
    [written[i], written[j]] = [written[j] as string, written[i] as string];
  }
  if (random.chance(10)) {
    written.push(random.pick(written));
  }
  const comma = random.pick([', ', ',', ' , ', ',\t', ', ', random.pick([',,', ';', ' ', ''])]);
  const scheme = random.pick(['Hawk', 'hawk', 'HAWK', 'Hawk', random.pick(['Basic', 'Hawk,', ''])]);
  const space = random.pick([' ', '  ', '\t', ' ', random.pick(['', ',', ' ,'])]);
  return `${scheme}${space}${written.join(comma)}${random.pick(['', '', '', ' ', ',', ', ', ';'])}`;
}

const FLAWS: readonly ((name: string, value: string) => string)[] = [
  (name, value) => `${name}=${value}`,
  (name, value) => `${name} = "${value}"`,
  (name, value) => `${name}='${value}'`,
  (name, value) => `${name.toUpperCase()}="${value}"`,
  (name, value) => `x${name}="${value}"`,
  (name, value) => `-${name}="${value}"`,
  (name, value) => `${name}="${value}`,
  (name, value) => `${name}="${value}é"`,
  (name, value) => `${name}="${value}\\""`,
  (name, value) => `${name}="${value}\t"`,
  (name) => `${name}=""`,
  (name) => name,
  () => '',
];

test('both verifiers accept and refuse the same headers of unusual spelling', async (t) => {
  const random = new Random(SEED, 4);
  const lookup = async (id: string) => ({ key: accessTokenOf(id), algorithm: 'sha256' as const });
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const request = randomRequest(random);
    const authorization = sloppyHeader(random, request, `i/${random.text(CLIENT_ID, 10)}`);
    const their = await hawk.server
      .authenticate({ ...request, url: request.target, authorization }, lookup)
      .then(
        () => 200,
        (error: Boom) => error.output.statusCode,
      );
    const our = await ourVerdict(verifyHeader(request, authorization, verification));
    t.is(our?.status ?? 200, their, `${round}: ${authorization}: ${our?.message}`);
    accepted += our === null ? 1 : 0;
  }
  t.true(accepted > ROUNDS / 10 && accepted < (ROUNDS * 9) / 10, `${accepted} accepted`);
});

function withBewit(target: string, bewit: string): string {
  return `${target}${target.includes('?') ? '&' : '?'}bewit=${bewit}`;
}

test('npm hawk accepts every bewit that we make, and makes the same bewit', async (t) => {
  const random = new Random(SEED, 5);
  for (let round = 0; round < ROUNDS; round++) {
    const credentials = randomCredentials(random, ours);
    const authorizedScopes = random.chance(2) ? randomScopes(random) : undefined;
    const request = randomRequest(random);
    const ttl = 1 + random.below(10_000);
    const bewit = makeBewit({
      credentials,
      url: request.url,
      expires: new Date(NOW_MS + ttl * 1000),
      ...(authorizedScopes && { authorizedScopes }),
    });

    const signature = await verifyBewit(withBewit(request.url, bewit));
    t.is(signature.clientId, credentials.clientId);
    t.is(signature.expires, NOW + ttl);
    t.deepEqual(signature.authorizedScopes, authorizedScopes);

    const ext = extOf(credentials, authorizedScopes);
    const expected = hawk.uri.getBewit(parsed(request), {
      credentials: hawkCredentials(credentials),
      ttlSec: ttl,
      ...(ext !== undefined && { ext }),
    });
    t.is(bewit, expected, `round ${round}`);
  }
});

test('we accept every bewit that npm hawk makes', async (t) => {
  const random = new Random(SEED, 6);
  for (let round = 0; round < ROUNDS; round++) {
    const credentials = randomCredentials(random, theirs);
    const authorizedScopes = random.chance(2) ? randomScopes(random) : undefined;
    const request = randomRequest(random, ['GET', 'HEAD']);
    const ttlSec = 1 + random.below(10_000);
    const ext = extOf(credentials, authorizedScopes);
    const bewit = hawk.uri.getBewit(parsed(request), {
      credentials: hawkCredentials(credentials),
      ttlSec,
      ...(ext !== undefined && { ext }),
    });

    const target = withBewit(request.target, bewit);
    const verified = await checkBewit({ ...request, target }, verification);
    t.is(verified.clientId, credentials.clientId);
    t.deepEqual(verified.authorizedScopes, authorizedScopes);
    t.is(verified.ts, NOW + ttlSec);
    t.is(verified.nonce, undefined);
    const late = { ...verification, date: new Date(NOW_MS + ttlSec * 1000) };
    const refusal = await ourVerdict(checkBewit({ ...request, target }, late));
    t.regex(refusal?.message ?? '', /^(Access expired|ext\.certificate\.expiry < now): /);
  }
});

test('both verifiers accept and refuse the same damaged bewits and requests', async (t) => {
  const random = new Random(SEED, 7);
  const lookup = async (id: string) => ({ key: accessTokenOf(id), algorithm: 'sha256' as const });
  let accepted = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const credentials = permanentCredentials(`i/${random.text(CLIENT_ID, 10)}`);
    const request = randomRequest(random, ['GET', 'GET', 'HEAD', 'POST', 'get']);
    const expires = new Date(NOW_MS + (random.below(20) - 5) * 1000);
    const bewit = makeBewit({ credentials, url: request.url, expires });
    let target = withBewit(request.target, bewit);
    switch (random.below(6)) {
      case 0:
        target = `/${damaged(random, target).slice(1)}`;
        break;
      case 1:
        target = withBewit(request.target, damaged(random, bewit));
        break;
      case 2:
        target += random.pick([
          '&',
          '$',
          '=',
          '&x=1',
          '&bewit=',
          '&bewit=x',
          '?bewit=x$',
          'A',
          'AA',
        ]);
        break;
      case 3:
        target = `${request.target.split('?')[0]}?bewit=${bewit}&${random.text(TARGET, 9)}`;
        break;
      case 4:
        request.port = random.pick([request.port, request.port ^ 1]);
        break;
    }
    const { method, host, port } = request;
    // The auth service hands on methods in upper case.
    const their = await hawk.uri
      .authenticate({ method: method.toUpperCase(), url: target, host, port }, lookup)
      .then(
        () => 200,
        (error: Boom) => error.output.statusCode,
      );
    const our = await ourVerdict(checkBewit({ ...request, target }, verification));
    t.is(our?.status ?? 200, their, `${round}: ${method} ${target}: ${our?.message}`);
    accepted += our === null ? 1 : 0;
  }
  t.true(accepted > ROUNDS / 10 && accepted < (ROUNDS * 9) / 10, `${accepted} accepted`);
});

test('temporary credentials are those that taskcluster-client creates', (t) => {
  const random = new Random(SEED, 8);
  for (let round = 0; round < ROUNDS; round++) {
    const issuer = permanentCredentials(`i/${random.text(CLIENT_ID, 30)}`);
    const wanted = {
      credentials: issuer,
      scopes: randomScopes(random),
      start: new Date(NOW_MS - random.below(HOUR_MS)),
      expiry: new Date(NOW_MS + random.below(30 * 24 * HOUR_MS)),
      ...(random.chance(2) && { clientId: `n/${random.text(CLIENT_ID, 30)}` }),
    };
    const our = ours(wanted);
    const their = taskcluster.createTemporaryCredentials(wanted);
    const [ourCertificate, theirCertificate] = [our, their].map((set) =>
      JSON.parse(set.certificate ?? ''),
    );
    const { seed: ourSeed, signature } = ourCertificate;
    t.regex(ourSeed, SLUGIDS);
    t.is(our.clientId, their.clientId);
    t.is(our.accessToken, hmac(issuer, ourSeed).toString('base64url'));
    t.is(signature, hmac(issuer, signedText(ourCertificate, our.clientId)).toString('base64'));
    // Down to the order of the keys, once seed and signature are equal.
    const same = { ...theirCertificate, seed: ourSeed, signature };
    t.is(our.certificate, JSON.stringify(same), `round ${round}`);
  }
});

/** Two random UUIDs. */
const SLUGIDS = /^([\w-]{8}[Q-T][\w-][CGKOSWaeimquy26-][\w-]{10}[AQgw]){2}$/;

function hmac({ accessToken }: CredentialSet, text: string): Buffer {
  return crypto.createHmac('sha256', accessToken).update(text).digest();
}

/** What a certificate's signature covers, by the documentation of temporary credentials. */
function signedText(
  { version, issuer, seed: of, start, expiry, scopes }: Record<string, unknown>,
  clientId: string,
): string {
  const named = issuer === undefined ? [] : [`clientId:${clientId}`, `issuer:${issuer}`];
  return [
    `version:${version}`,
    ...named,
    `seed:${of}`,
    `start:${start}`,
    `expiry:${expiry}`,
    'scopes:',
    ...(scopes as string[]),
  ].join('\n');
}

test('a stale timestamp is answered with the challenge that npm hawk answers with', async (t) => {
  const random = new Random(SEED, 9);
  for (let round = 0; round < ROUNDS / 10; round++) {
    const credentials = permanentCredentials(`i/${random.text(CLIENT_ID, 30)}`);
    const request = randomRequest(random);
    const late = (61 + random.below(100_000)) * 1000 * random.pick([-1, 1]);
    const date = new Date(NOW_MS + late);
    const { method, url } = request;
    const authorization = signHeader({ credentials, method, url, date });
    const refusal = await ourVerdict(verifyHeader(request, authorization, verification));
    const lookup = async () => ({ key: credentials.accessToken, algorithm: 'sha256' as const });
    const error = await t.throwsAsync<Boom>(
      hawk.server.authenticate({ ...request, url: request.target, authorization }, lookup),
    );
    t.is(refusal?.status, 401);
    t.is(refusal?.challenge, error.output.headers['WWW-Authenticate']);
    const skew = Math.abs(late) / 1000;
    const patient = { ...verification, timestampSkew: skew };
    t.is(await ourVerdict(verifyHeader(request, authorization, patient)), null);
  }
});

test('a value that Hawk cannot carry is refused with a sentence', async (t) => {
  const credentials = permanentCredentials();
  const url = 'https://tc.example.com/';
  const sign = (change: Partial<Parameters<typeof signHeader>[0]>) => () =>
    signHeader({ credentials, url, ...change });
  const table: [() => unknown, RegExp][] = [
    [sign({ url: '/queue' }), /^not an absolute http or https URL: /],
    [sign({ url: 'https://tc.example.com/a b' }), /^the URL contains ' ', /],
    [sign({ url: 'https://user@tc.example.com/' }), /^the URL names a user: /],
    [sign({ method: 'GET\n/' }), /^the method is not an HTTP method: /],
    [sign({ date: new Date(Number.NaN) }), /^a date is invalid: /],
    [() => makeBewit({ credentials, url, expires: new Date(Number.NaN) }), /^a date is invalid: /],
  ];
  for (const [call, message] of table) {
    t.throws(call, { instanceOf: HawkError, message });
  }
  const request = { method: 'GET', target: '/', host: 'tc.example.com', port: 443 };
  const unknown = { ...verification, accessToken: () => undefined };
  const refusal = await ourVerdict(verifyHeader(request, sign({})(), unknown));
  t.is(refusal?.message, 'Unknown credentials: check the client id');
});
