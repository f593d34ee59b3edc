// The body of `PUT /credentials` for generated inputs: a valid set is taken unchanged; an invalid one
// leaves the old set in force, and the error repeats none of it. `credentials.test.ts` has the table of
// cases.
import assert from 'node:assert/strict';
import { isUtf8 } from 'node:buffer';
import test from 'ava';
import fc from 'fast-check';
import {
  type Credentials,
  CredentialsError,
  createTemporaryCredentials,
  startProxy,
} from 'taskcluster-proxy';
import { parseCredentials } from '../../dist/credentials.js';
import { holds } from '../harness/property.js';

const SECRET = 's3cr3t';

/** What an update could hold where a string is due; now and then a secret. */
const odd = fc.oneof(
  fc.anything({ maxDepth: 1 }),
  fc.constantFrom(null, undefined, '', SECRET, [SECRET], { [SECRET]: SECRET }, `\ud800${SECRET}`),
);

const clientId = fc.oneof(
  { weight: 4, arbitrary: fc.stringMatching(/^[A-Za-z0-9!@/:.+|_-]{1,12}$/) },
  { weight: 1, arbitrary: odd },
  { weight: 1, arbitrary: fc.string({ unit: 'binary' }) },
);

const accessToken = fc.oneof(
  { weight: 4, arbitrary: fc.string().map((text) => `${SECRET}${text}`) },
  { weight: 1, arbitrary: odd },
);

const TEMPORARY = createTemporaryCredentials({
  credentials: { clientId: 'project/issuer', accessToken: 'not-a-secret' },
  clientId: 'project/named',
  scopes: ['a:*'],
  expiry: new Date(Date.now() + 3_600_000),
});

// === Certificates ===

/** A valid value of each key that a certificate must have. */
const REQUIRED: Record<string, fc.Arbitrary<unknown>> = {
  version: fc.constant(1),
  scopes: fc.array(fc.stringMatching(/^[ -~]{0,12}$/), { maxLength: 4 }),
  // Whether it is valid by now is the verifier's, which knows the time.
  start: fc.oneof(fc.constant(Date.now()), fc.maxSafeInteger()),
  expiry: fc.oneof(fc.constant(Date.now() + 3_600_000), fc.maxSafeInteger()),
  seed: fc.oneof(
    fc.stringMatching(/^[A-Za-z0-9_-]{44}$/),
    fc.string({ unit: fc.constantFrom('s', '\u00e9', '"', '\n'), minLength: 44, maxLength: 44 }),
    fc.constant('\u{1f33b}'.repeat(22)),
  ),
  signature: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 44 }),
};

/** A client id that is often the issuer's, too. */
const FEW = fc.constantFrom('project/issuer', 'project/named');

/** Keys that it may have. */
const OPTIONAL: Record<string, fc.Arbitrary<unknown>> = {
  issuer: fc.oneof({ weight: 4, arbitrary: FEW }, fc.constantFrom('', null, 'of "any" f\u00f6rm')),
  clientId: fc.oneof(FEW, fc.constantFrom('', null, 1)),
  more: fc.jsonValue({ maxDepth: 2 }),
};

/** A value that belongs to another key, or is nearly valid. */
const slip = fc.oneof(
  odd,
  fc.constantFrom(0, 1, 2, 1.5, -0, '1', 2 ** 53, -(2 ** 53), 1e300, true, [], {}, ['a', 1]),
  fc.constantFrom(['a\n'], ['\u00e9'], ['\x7f'], [null], 's'.repeat(43), 's'.repeat(45)),
  fc.constantFrom('\u{1f33b}'.repeat(44), '\ud800'.repeat(44), `${'s'.repeat(43)}\u00e9`),
);

/** A certificate's keys: all of them valid, or up to two missing or of another value. */
const keys = fc
  .tuple(
    fc.record({ ...REQUIRED, ...OPTIONAL }, { requiredKeys: Object.keys(REQUIRED) }),
    fc.oneof(
      { weight: 2, arbitrary: fc.constant([]) },
      fc.array(fc.tuple(fc.constantFrom(...Object.keys(REQUIRED), 'issuer'), fc.option(slip)), {
        minLength: 1,
        maxLength: 2,
      }),
    ),
  )
  .map(([valid, slips]) => ({ ...valid, ...Object.fromEntries(slips) }));

/** How JSON may be written: with space, numbers in another way, a key twice, something behind it. */
const written = fc
  .tuple(keys, fc.constantFrom('', '', '', ' ', '\n\t'), fc.nat(30))
  .map(([each, space, way]) => {
    const text = JSON.stringify(each, null, space);
    return (
      [
        `{"seed":"twice",${text.slice(1)}`,
        text.replace(/("version":\s*)1\b/, '$11.0e0'),
        text.replace(/("(?:start|expiry)":\s*)(-?\d+)/, '$1$2.5'),
        ` ${text}\r\n`,
        `${text}}`,
        text.slice(0, -1),
        `\ufeff${text}`,
      ][way] ?? text
    );
  });

const certificate = fc.oneof(
  fc.constantFrom('', null, undefined),
  fc.constant(TEMPORARY.certificate),
  { weight: 3, arbitrary: written },
  odd,
);

/** A certificate that its client is given as it is. */
const given = fc.record({
  clientId: FEW,
  accessToken: fc.constant(SECRET),
  certificate: fc.oneof(fc.constant(TEMPORARY.certificate), { weight: 20, arbitrary: written }),
});

const update = fc.record(
  { clientId, accessToken, certificate, runId: odd, [SECRET]: odd },
  { requiredKeys: [] },
);

/** What stands on the wire: an update, something else, or either with a byte too many or too few. */
const body = fc
  .tuple(
    fc.oneof(
      { weight: 6, arbitrary: update.map((each) => JSON.stringify(each)) },
      fc.json(),
      fc.string({ unit: 'binary' }),
    ),
    fc.oneof(
      { weight: 4, arbitrary: fc.constant(null) },
      { weight: 1, arbitrary: fc.record({ at: fc.nat(), byte: fc.option(fc.nat(255)) }) },
    ),
  )
  .map(([text, slip]) => {
    const bytes = Buffer.from(text ?? '');
    if (slip === null || bytes.length === 0) {
      return bytes;
    }
    const at = slip.at % bytes.length;
    const rest = slip.byte === null ? [] : [Buffer.of(slip.byte), bytes.subarray(at, at + 1)];
    return Buffer.concat([bytes.subarray(0, at), ...rest, bytes.subarray(at + 1)]);
  });

// === The rules ===

/** The content of the body; undefined for an invalid update. */
function said(body: Buffer): Required<Credentials> | undefined {
  const value = isUtf8(body) ? parsed(body.toString('utf8')) : undefined;
  if (!isObject(value)) {
    return undefined;
  }
  const [clientId, accessToken, certificate] = [
    own(value, 'clientId'),
    own(value, 'accessToken'),
    own(value, 'certificate') ?? '',
  ];
  const isGood =
    typeof clientId === 'string' &&
    /^[A-Za-z0-9!@/:.+|_-]+$/.test(clientId) &&
    typeof accessToken === 'string' &&
    accessToken !== '' &&
    accessToken.isWellFormed() &&
    typeof certificate === 'string' &&
    (certificate === '' || faultsOf(certificate, clientId).length === 0);
  return isGood ? { clientId, accessToken, certificate } : undefined;
}

/**
 * How the sentence begins about each part of a certificate that breaks a rule of the auth service
 * (`limitClientWithExt` in its `signaturevalidator.js`). Its times are only asked to be times: what
 * is valid later, or was, is for the verifier, and so is whether the signature is the issuer's.
 */
function faultsOf(text: string, clientId: string): string[] {
  const value = parsed(text);
  if (!isObject(value) || !isUnicode(value)) {
    return ['certificate must be'];
  }
  const at = (key: string): unknown => own(value, key);
  const [scopes, seed, signature] = [at('scopes'), at('seed'), at('signature')];
  const issuer = at('issuer') ?? '';
  const areScopes =
    Array.isArray(scopes) && scopes.every((one) => typeof one === 'string' && /^[ -~]*$/.test(one));
  const holds: [string, boolean][] = [
    ['version', at('version') === 1],
    ['seed', typeof seed === 'string' && seed.length === 44],
    ['start', Number.isSafeInteger(at('start'))],
    ['expiry', Number.isSafeInteger(at('expiry'))],
    ['scopes', areScopes],
    ['signature', typeof signature === 'string' && signature !== ''],
    ['issuer', typeof issuer === 'string' && issuer !== clientId],
    ['clientId', issuer !== '' || !Object.hasOwn(value, 'clientId')],
  ];
  return holds.filter(([, isSo]) => !isSo).map(([key]) => `certificate.${key} `);
}

/** Half a surrogate pair has no UTF-8 form, and is no text in any key or value. */
function isUnicode(value: unknown): boolean {
  if (typeof value === 'string') {
    return value.isWellFormed();
  }
  return !isObjectOrArray(value) || Object.entries(value).flat().every(isUnicode);
}

function own(value: object, key: string): unknown {
  return Object.getOwnPropertyDescriptor(value, key)?.value;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is object {
  return isObjectOrArray(value) && !Array.isArray(value);
}

function isObjectOrArray(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function verdictOn(body: Uint8Array) {
  try {
    return parseCredentials(body);
  } catch (error) {
    assert.ok(error instanceof CredentialsError, `${error}`);
    return error;
  }
}

// === What holds ===

test('valid credentials are taken unchanged, and all others are refused', async (t) => {
  await holds(t, 5000, body, (body) => {
    const verdict = verdictOn(body);
    const expected = said(body);
    if (verdict instanceof CredentialsError) {
      assert.equal(expected, undefined, verdict.message);
      assert.doesNotMatch(verdict.message, new RegExp(`${SECRET}|\n`));
    } else {
      assert.deepEqual({ certificate: '', ...verdict }, expected);
    }
  });
});

test('a certificate is taken if it has all that the auth service asks for, and only then', async (t) => {
  const seen = new Map<string, number>();
  await holds(t, 5000, given, (set) => {
    const verdict = verdictOn(Buffer.from(JSON.stringify(set)));
    const faults = faultsOf(set.certificate, set.clientId);
    for (const each of faults.length === 0 ? ['none'] : faults) {
      seen.set(each, (seen.get(each) ?? 0) + 1);
    }
    if (faults.length === 0) {
      assert.deepEqual(verdict, { ...set });
      return;
    }
    assert.ok(verdict instanceof CredentialsError, faults.join());
    const { message } = verdict;
    assert.ok(
      faults.some((each) => message.startsWith(each)),
      `${message}: ${faults}`,
    );
  });
  // Each rule was broken, and many a certificate was valid.
  t.is(seen.size, 10, [...seen].join(' '));
  t.true((seen.get('none') ?? 0) > 1000, [...seen].join(' '));
});

test('temporary credentials are taken unchanged, and refused with the client id of their issuer', (t) => {
  const taken = (set: Credentials) => verdictOn(Buffer.from(JSON.stringify(set)));
  const { certificate } = TEMPORARY;
  t.deepEqual(taken(TEMPORARY), TEMPORARY);
  t.deepEqual(faultsOf(certificate, TEMPORARY.clientId), []);
  t.deepEqual(faultsOf(certificate, 'project/issuer'), ['certificate.issuer ']);
  t.true(taken({ ...TEMPORARY, clientId: 'project/issuer' }) instanceof CredentialsError);
});

test('only a valid update changes the signing client', async (t) => {
  const proxy = await startProxy({
    rootUrl: 'http://127.0.0.1:1',
    credentials: { clientId: 'project/first', accessToken: 'not-a-secret' },
    ipAddresses: ['127.0.0.1'],
    port: 0,
    logLevel: 'error',
  });
  t.teardown(() => proxy.stop(0));
  const [address = ''] = proxy.addresses;
  const signer = async () => {
    const { headers } = await fetch(`${address}/no-such-route`);
    const [permanent, temporary] = ['Perm', 'Temp'].map((kind) =>
      headers.get(`X-Taskcluster-Proxy-${kind}-ClientId`),
    );
    return permanent ?? temporary;
  };
  let inForce = await signer();
  await holds(t, 300, body, async (body) => {
    const verdict = verdictOn(body);
    const answer = await fetch(`${address}/credentials`, { method: 'PUT', body });
    const reason = await answer.text();
    if (verdict instanceof CredentialsError) {
      assert.deepEqual([answer.status, reason.trimEnd()], [400, verdict.message]);
    } else {
      assert.equal(answer.status, 200);
      inForce = verdict.clientId;
    }
    assert.equal(await signer(), inForce);
  });
});
