// Durations, sizes and defaults of the settings. The API refuses the same values as the command.
import test from 'ava';
import { CredentialsError, ListenError, OptionsError, startProxy } from 'taskcluster-proxy';
import { decide, readDuration, readPort, readSize, type Settings } from '../../dist/options.js';

const DURATIONS: readonly (readonly [string | number, number])[] = [
  ['500ms', 500],
  ['30s', 30_000],
  ['15m', 900_000],
  ['1h', 3_600_000],
  ['1.5s', 1_500],
  ['0.1ms', 1],
  ['0', 0],
  ['0s', 0],
  ['8760h', 31_536_000_000],
  [0, 0],
  [1_500, 1_500],
  [0.2, 1],
];

test('a duration is a number with its unit', (t) => {
  for (const [value, milliseconds] of DURATIONS) {
    t.is(readDuration(value, 'grace'), milliseconds, `${value}`);
  }
});

const NO_DURATIONS = [
  '',
  '5',
  '5 s',
  ' 5s',
  '5S',
  '5min',
  '1h30m',
  '-1s',
  '+1s',
  '.5s',
  '1.s',
  '1e3s',
];
const NO_NUMBERS = [-1, Number.NaN, Number.POSITIVE_INFINITY];

test('a text that is no duration is refused', (t) => {
  for (const value of [...NO_DURATIONS, ...NO_NUMBERS, '8761h']) {
    t.throws(() => readDuration(value, 'grace'), {
      instanceOf: OptionsError,
      message: `grace ${value} is not a duration of at most a year: write it as 500ms, 30s, 15m or 1h`,
    });
  }
});

const SIZES: readonly (readonly [string | number, number])[] = [
  ['512B', 512],
  ['64KiB', 65_536],
  ['10MiB', 10_485_760],
  ['1.5GiB', 1_610_612_736],
  ['0', 0],
  [4_096, 4_096],
  [1.9, 1],
];

test('a size is a number with its unit', (t) => {
  for (const [value, bytes] of SIZES) {
    t.is(readSize(value, 'replayLimit'), bytes, `${value}`);
  }
});

test('a text that is no size is refused', (t) => {
  for (const value of ['', '5', '10MB', '10M', '1 KiB', '1kib', '-1B', '9e9B', ...NO_NUMBERS]) {
    t.throws(() => readSize(value, 'replayLimit'), {
      instanceOf: OptionsError,
      message: `replayLimit ${value} is not a size: write it as 512B, 64KiB, 10MiB or 1GiB`,
    });
  }
});

test('a port is a number from 0 to 65535', (t) => {
  for (const [text, port] of [
    ['0', 0],
    ['+80', 80],
    ['0080', 80],
    ['65535', 65_535],
  ] as const) {
    t.is(readPort(text), port, text);
  }
  for (const text of ['', '-0', '-1', '65536', '80 ', '8e1', '0x50', '99999999999999999999']) {
    t.throws(() => readPort(text), {
      instanceOf: OptionsError,
      message: `port ${text} is not in range [0,65535]`,
    });
  }
});

test('each setting has its documented default', (t) => {
  t.deepEqual(decide({}), {
    audit: undefined,
    authorizedScopes: undefined,
    port: 8080,
    ipAddresses: [],
    allowedUser: undefined,
    allowedNetworks: [],
    allowCrossSite: false,
    hosts: [],
    retryFirst: 500,
    retryCap: 60_000,
    retryFor: 900_000,
    replayLimit: 10_485_760,
    replayTotal: 67_108_864,
    headerTimeout: 30_000,
    responseTimeout: 600_000,
    upstreamHosts: [],
    upstreamHttp2: false,
    drainTimeout: 5000,
    logFormat: 'text',
    logLevel: 'info',
  });
  t.is(decide({ credentialsUpdate: 'immediate' }).drainTimeout, undefined);
});

const CREDENTIALS = { clientId: 'project/tester', accessToken: 'not-a-secret' };
const ENOUGH = {
  rootUrl: 'https://tc.example.com',
  credentials: CREDENTIALS,
  ipAddresses: ['127.0.0.1'],
  port: 0,
};

const REFUSED: readonly (readonly [object, string])[] = [
  [{ port: 65_536 }, 'port 65536 is not in range [0,65535]'],
  [{ port: 1.5 }, 'port 1.5 is not in range [0,65535]'],
  [{ rootUrl: undefined }, 'rootUrl is missing: pass the root URL of the deployment'],
  [{ rootUrl: 'ftp://x' }, 'invalid root URL: it must begin with http:// or https://'],
  [{ ipAddresses: ['::g'] }, 'invalid IPv4/IPv6 address specified - cannot parse: ::g'],
  [{ logLevel: 'trace' }, 'logLevel trace is not one of error, warn, info, debug'],
  [
    { drainTimeout: '1 day' },
    'drainTimeout 1 day is not a duration of at most a year: write it as 500ms, 30s, 15m or 1h',
  ],
];

for (const [options, message] of REFUSED) {
  test(`startProxy refuses ${JSON.stringify(options)}`, async (t) => {
    const started = startProxy({ ...ENOUGH, ...(options as Settings) });
    await t.throwsAsync(started, { instanceOf: OptionsError, code: 'ERR_OPTIONS', message });
  });
}

test('startProxy refuses credentials that cannot sign', async (t) => {
  await t.throwsAsync(startProxy({ ...ENOUGH, credentials: { clientId: 'a', accessToken: '' } }), {
    instanceOf: CredentialsError,
    code: 'ERR_CREDENTIALS',
  });
});

for (const [keys, message] of [
  [{ certifcate: '{}' }, 'credentials hold certifcate: did you mean certificate?'],
  [
    { authorizedScopes: ['a'] },
    'credentials hold authorizedScopes: pass authorizedScopes beside them',
  ],
  [{ allowedUser: 'root' }, 'credentials hold allowedUser: pass allowedUser beside them'],
] as const) {
  test(`startProxy refuses credentials with ${Object.keys(keys)}`, async (t) => {
    const credentials = { ...ENOUGH.credentials, ...keys };
    const started = startProxy({ ...ENOUGH, credentials });
    await t.throwsAsync(started, { instanceOf: CredentialsError, message });
  });
}

test('startProxy takes credentials with a further key, and with null for the certificate', async (t) => {
  const credentials = { ...ENOUGH.credentials, takenUntil: 'x', certificate: null };
  await (await startProxy({ ...ENOUGH, credentials, logLevel: 'error' })).stop(0);
  t.pass();
});

test('startProxy refuses more than one object of options', async (t) => {
  const start = startProxy as (...options: object[]) => ReturnType<typeof startProxy>;
  await t.throwsAsync(start(ENOUGH, { allowedUser: 'root' }), {
    instanceOf: OptionsError,
    message: 'startProxy is given more than one value: pass one object of options',
  });
});

test("errors of the core call settings by the API's keys", async (t) => {
  await t.throwsAsync(startProxy({ ...ENOUGH, allowedNetwork: '10.0.0.0/8' }), {
    message: /^allowedNetwork needs allowedUser beside it/,
  });
});

test('startProxy listens on an IPv4 address that is written as one of IPv6', async (t) => {
  const ipAddresses = ['::ffff:127.0.0.1'];
  const proxy = await startProxy({ ...ENOUGH, ipAddresses, logLevel: 'error' });
  t.teardown(() => proxy.stop(0));
  t.regex(proxy.addresses[0] ?? '', /^http:\/\/127\.0\.0\.1:/);
});

test('startProxy says which port is in use', async (t) => {
  const proxy = await startProxy({ ...ENOUGH, logLevel: 'error' });
  t.teardown(() => proxy.stop(0));
  const { host, port } = new URL(proxy.addresses[0] ?? '');
  const error = await t.throwsAsync(startProxy({ ...ENOUGH, port: Number(port) }), {
    instanceOf: ListenError,
    code: 'ERR_PORT_IN_USE',
  });
  t.true(error.message.startsWith(`cannot listen on ${host}: `), error.message);
});
