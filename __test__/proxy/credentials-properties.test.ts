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

const CERTIFICATE: Record<string, unknown> = JSON.parse(TEMPORARY.certificate);

/** A valid set, or one with a key of another kind. */
const certificate = fc.oneof(
  fc.constantFrom('', null, undefined),
  fc.constant(TEMPORARY.certificate),
  fc
    .tuple(fc.constantFrom(...Object.keys(CERTIFICATE)), odd)
    .map(([key, value]) => JSON.stringify({ ...CERTIFICATE, [key]: value })),
  odd,
);

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

/** The content of the body; undefined for an invalid update, with any certificate. */
function said(body: Buffer): Required<Credentials> | undefined {
  const value = isUtf8(body) ? parsed(body.toString('utf8')) : undefined;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return undefined;
  }
  const own = (key: string): unknown => Object.getOwnPropertyDescriptor(value, key)?.value;
  const [clientId, accessToken, certificate] = [
    own('clientId'),
    own('accessToken'),
    own('certificate') ?? '',
  ];
  const isGood =
    typeof clientId === 'string' &&
    /^[A-Za-z0-9!@/:.+|_-]+$/.test(clientId) &&
    typeof accessToken === 'string' &&
    accessToken !== '' &&
    accessToken.isWellFormed() &&
    typeof certificate === 'string' &&
    (certificate === '' || isObject(parsed(certificate)));
  return isGood ? { clientId, accessToken, certificate } : undefined;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
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
      // What a certificate has to hold is the Hawk crate's.
      assert.ok(expected === undefined || /^certificate\b/.test(verdict.message), verdict.message);
      assert.ok(expected?.certificate !== '');
      assert.doesNotMatch(verdict.message, new RegExp(`${SECRET}|\n`));
    } else {
      assert.deepEqual({ certificate: '', ...verdict }, expected);
    }
  });
});

test('a certificate is refused where one of its keys is of another kind', async (t) => {
  // Without an issuer it is that of the issuer's own.
  const key = fc.constantFrom(...Object.keys(CERTIFICATE).filter((each) => each !== 'issuer'));
  await holds(t, 2000, fc.tuple(key, odd), ([key, value]) => {
    const certificate = JSON.stringify({ ...CERTIFICATE, [key]: value });
    const verdict = verdictOn(Buffer.from(JSON.stringify({ ...TEMPORARY, certificate })));
    const kind = (JSON.parse(certificate) as Record<string, unknown>)[key];
    if (typeof kind !== typeof CERTIFICATE[key] || kind === null) {
      assert.ok(verdict instanceof CredentialsError, `${key}: ${JSON.stringify(value)}`);
    }
  });
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
