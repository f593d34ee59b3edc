// The options of the API for generated inputs: every value is taken as it is or refused by the name of its
// key, and no value lifts a restriction. `settings.test.ts` has the table of mistakes.
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { OptionsError, type ProxyOptions, startProxy } from 'taskcluster-proxy';
import { decide } from '../../dist/options.js';
import { API_KEYS, type ApiKey, type Row, SETTINGS } from '../../dist/settings.js';
import { holds } from '../harness/property.js';

const anything = fc.anything({
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withNullPrototype: true,
  withSparseArray: true,
  withTypedArray: true,
  withBoxedValues: true,
});

const amount = fc
  .tuple(
    fc.oneof(fc.nat(), fc.double({ min: 0, max: 1e9, noNaN: true }), fc.constant('007.50')),
    fc.constantFrom('ms', 's', 'm', 'h', 'B', 'KiB', 'MiB', 'GiB', '', ' s', 'S', 'min', 'MB'),
  )
  .map(([digits, unit]) => `${digits}${unit}`);

/** Values that are right, or nearly right. */
const likely = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.array(fc.string(), { maxLength: 3 }),
  fc.constantFrom('', ' ', '*', '0', 'true', 'half a pair \ud800', [], [''], [undefined], null),
  fc.boolean(),
  fc.integer({ min: -1, max: 70_000 }),
  fc.double(),
  amount,
  fc.constantFrom('drain', 'immediate', 'text', 'json', 'info', 'debug', 'constructor'),
  // An array whose iterator gives other values than the array has.
  fc
    .constantFrom(['x'], ['x', 'y'])
    .map((list) => Object.assign(list, { [Symbol.iterator]: none })),
);

function* none(): Generator<never> {}

const value = fc.oneof({ weight: 3, arbitrary: likely }, { weight: 1, arbitrary: anything });

/** Some settings with any value, each. */
const options = fc
  .subarray([...API_KEYS], { maxLength: 4 })
  .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, value]))));

// === The rules ===

const REFUSED = Symbol('refused');

const isText = (value: unknown) => typeof value === 'string' && value.isWellFormed();
const isFilled = (value: unknown) => isText(value) && value !== '';

/** What a value stands for; nothing of it is taken over that could be meant otherwise. */
function meaningOf(key: ApiKey, value: unknown): unknown {
  const row: Row = SETTINGS[key];
  if (row.many !== undefined) {
    return listOf(row, value);
  }
  switch (row.kind) {
    case 'credentials':
      return value === '' ? REFUSED : value;
    case 'switch':
      return typeof value === 'boolean' ? value : REFUSED;
    case 'port':
      return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 65_535
        ? value
        : REFUSED;
    case 'duration':
      return measured(value, { ms: 1, s: 1e3, m: 6e4, h: 36e5 }, 365 * 864e5, Math.ceil);
    case 'size':
      return measured(
        value,
        { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 },
        Number.MAX_SAFE_INTEGER,
        Math.floor,
      );
    case 'choice':
      return row.choices?.some((choice) => choice === value) ? value : REFUSED;
    case 'text':
      return (row.empty === 'refused' ? isFilled : isText)(value) ? value : REFUSED;
  }
}

function listOf({ many, emptyArray }: Row, value: unknown): unknown {
  if (many === 'array or one' && isFilled(value)) {
    return [value];
  }
  if (!Array.isArray(value)) {
    return REFUSED;
  }
  const list = Array.from(value);
  const isGood = list.every(isFilled) && (list.length > 0 || emptyArray !== undefined);
  return isGood ? list : REFUSED;
}

function measured(
  value: unknown,
  units: Record<string, number>,
  most: number,
  round: (amount: number) => number,
): unknown {
  let amount = Number.NaN;
  if (typeof value === 'number') {
    amount = value;
  } else if (value === '0') {
    amount = 0;
  } else if (typeof value === 'string') {
    const unit = Object.keys(units).find((each) => value.replace(/^[\d.]*/, '') === each);
    const digits = value.slice(0, value.length - (unit ?? '').length);
    const isPlain = digits.split('.').length <= 2 && digits.split('.').every((each) => each !== '');
    amount = unit !== undefined && isPlain ? Number(digits) * (units[unit] ?? 0) : Number.NaN;
  }
  return amount >= 0 && amount <= most ? round(amount) : REFUSED;
}

/** Whether it counts as not given. */
function isLeftOut(key: ApiKey, value: unknown): boolean {
  return value === undefined && (SETTINGS[key] as Row).restricts !== 'by being given';
}

// === What holds ===

const DEFAULTS = decide({});

test('the API refuses a value by the name of its key, or takes it for what it says', async (t) => {
  await holds(t, 5000, options, (options) => {
    const given = Object.entries(options).filter(
      ([key, value]) => !isLeftOut(key as ApiKey, value),
    );
    const meanings = given.map(([key, value]) => [key, meaningOf(key as ApiKey, value)] as const);
    const refused = meanings.filter(([, meaning]) => meaning === REFUSED).map(([key]) => key);
    const meant: Partial<Record<ApiKey, unknown>> = Object.fromEntries(meanings);
    if (meant.auditRequired === true && meant.auditLog === undefined) {
      refused.push('auditRequired');
    }
    const decided = decisionOn(options);
    if (decided instanceof OptionsError) {
      const { message } = decided;
      assert.ok(
        refused.some((key) => message.startsWith(`${key} `)),
        message,
      );
      return;
    }
    assert.deepEqual(refused, [], 'it was not refused');
    assert.deepEqual(decided, { ...DEFAULTS, ...expected(meant) });
  });
});

function decisionOn(options: unknown) {
  try {
    return decide(options);
  } catch (error) {
    assert.ok(error instanceof OptionsError && error.code === 'ERR_OPTIONS', `${error}`);
    return error;
  }
}

/** The options as the core names them. */
function expected({ rootUrl, credentials, ...meanings }: Record<string, unknown>) {
  const { allowedNetwork, credentialsUpdate, auditLog, auditRequired, ...rest } = meanings;
  return {
    ...rest,
    ...(auditLog !== undefined && { audit: { path: auditLog, required: auditRequired ?? false } }),
    ...(allowedNetwork !== undefined && { allowedNetworks: allowedNetwork }),
    ...(credentialsUpdate === 'immediate' && { drainTimeout: undefined }),
  };
}

test('a given restriction is in force, or the proxy does not start', async (t) => {
  await holds(t, 5000, options, (options) => {
    const decided = decisionOn(options);
    if (decided instanceof OptionsError) {
      return;
    }
    const { authorizedScopes, ipAddresses, allowedUser } = decided;
    const { allowedNetwork, hosts, allowCrossSite } = options as Partial<ProxyOptions>;
    assert.equal('authorizedScopes' in options, authorizedScopes !== undefined);
    assert.equal('allowedUser' in options, allowedUser !== undefined && allowedUser !== '');
    assert.equal('ipAddresses' in options, ipAddresses.length > 0);
    // A setting that opens something leaves it shut where it is not given.
    assert.ok(decided.allowedNetworks.length === 0 || allowedNetwork !== undefined);
    assert.ok(decided.hosts.length === 0 || hosts !== undefined);
    assert.ok(!decided.allowCrossSite || allowCrossSite === true);
  });
});

test('an unknown option is refused, and a value that is no object of options', async (t) => {
  const strange = fc.oneof(anything, fc.dictionary(fc.string(), value, { minKeys: 1 }));
  await holds(t, 3000, strange, (options) => {
    const decided = decisionOn(options);
    const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
    const keys = isObject ? Object.keys(options) : [];
    if (!isObject || keys.some((key) => !API_KEYS.includes(key as ApiKey))) {
      assert.ok(decided instanceof OptionsError);
      assert.match(decided.message, /is not an option of startProxy: |^startProxy is given /);
    } else if (keys.length === 0) {
      assert.deepEqual(decided, DEFAULTS);
    }
  });
});

/** Restricted in every way that shows without another user. */
const SHUT: ProxyOptions = {
  rootUrl: 'http://127.0.0.1:1',
  credentials: { clientId: 'project/tester', accessToken: 'not-a-secret' },
  authorizedScopes: ['a:b'],
  ipAddresses: ['127.0.0.1'],
  port: 0,
  logLevel: 'error',
};

test('a started proxy has exactly the given restrictions', async (t) => {
  // With no time for a head it would answer nothing.
  const keys = API_KEYS.filter((key) => !['port', 'logLevel', 'headerTimeout'].includes(key));
  const slip = fc.tuple(fc.constantFrom(...keys), value);
  await holds(t, 300, slip, async ([key, value]) => {
    const options = { ...SHUT, [key]: value } as ProxyOptions;
    const proxy = await startProxy(options).catch((error: Error) => {
      assert.ok(
        ['OptionsError', 'CredentialsError', 'ListenError'].includes(error.name),
        `${error}`,
      );
    });
    if (proxy === undefined) {
      return;
    }
    try {
      const [address = ''] = proxy.addresses;
      assert.equal(proxy.addresses.length, Array.from(options.ipAddresses ?? []).length);
      assert.match(address, /^http:\/\/127\.0\.0\.1:/);
      const answer = await fetch(`${address}/no-such-route`);
      const scopes = answer.headers.get('x-taskcluster-authorized-scopes');
      assert.deepEqual(JSON.parse(scopes ?? ''), Array.from(options.authorizedScopes ?? []));
    } finally {
      await proxy.stop(0);
    }
  });
});
