// The table of settings with every kind of mistake: a value that is empty, absent, repeated or of
// another kind, and a misspelt name. No mistake may start a proxy that serves more.
import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import test, { type ExecutionContext } from 'ava';
import { type Proxy as ApiProxy, type ProxyOptions, startProxy } from 'taskcluster-proxy';
import { type Command, parseLine, readCommand } from '../../dist/cli/arguments.js';
import {
  API_KEYS,
  type ApiKey,
  FLAGS,
  type Flag,
  type KeyBy,
  ROWS,
  type Row,
  SETTINGS,
} from '../../dist/settings.js';
import { ENOUGH, runCommand, startCommand } from '../harness/command.js';
import { requestBytes } from '../harness/proxy.js';
import { allowed, askAs, other, testAsRoot } from '../harness/users.js';

const seesStrangers = testAsRoot() !== test.skip;
const USER = seesStrangers ? allowed.name : os.userInfo().username;
const TASK_ID = 'fN1SbArXTPSVFNUvaOlinQ';

// === What a proxy serves ===

interface Exposure {
  /** It listens on more than loopback. */
  readonly everywhere: boolean;
  /** Another user of this machine gets an answer; false where this test cannot act as one. */
  readonly strangers: boolean;
  /** The restriction that it signs with. */
  readonly scopes: string;
  readonly foreignPages: boolean;
  readonly publicHosts: boolean;
  /** A URL of a host beside the deployment is signed. */
  readonly otherHosts: boolean;
}

const ALL_SCOPES = 'all';

async function exposureOf(t: ExecutionContext, addresses: readonly string[]): Promise<Exposure> {
  const hosts = addresses.map((address) => new URL(address).hostname);
  const port = Number(new URL(addresses[0] ?? '').port);
  const plain = await ask(port, {});
  const stranger = seesStrangers
    ? await askAs(t, other, port, requestBytes('GET', '/no-such-route'))
    : null;
  return {
    everywhere: !hosts.every((host) => ['127.0.0.1', '[::1]'].includes(host)),
    strangers: stranger !== null,
    scopes: plain.scopes ?? ALL_SCOPES,
    foreignPages: (await ask(port, { origin: 'https://evil.example' })).status !== 403,
    publicHosts: (await ask(port, { host: 'public.example.com' })).status !== 421,
    otherHosts: await signs(port, 'https://elsewhere.example.com/'),
  };
}

async function ask(port: number, headers: Record<string, string>) {
  const request = get({ host: '127.0.0.1', port, path: '/no-such-route', headers, agent: false });
  const [response] = await once(request, 'response');
  response.resume();
  await once(response, 'end');
  const scopes: string | undefined = response.headers['x-taskcluster-authorized-scopes'];
  return { status: response.statusCode as number, scopes };
}

async function signs(port: number, url: string): Promise<boolean> {
  const answer = await fetch(`http://127.0.0.1:${port}/bewit`, {
    method: 'POST',
    body: url,
    redirect: 'manual',
  });
  return answer.status === 303;
}

/** Whether a client is served by `one` and refused by `another`; scopes are all, or fewer. */
function servesMore(one: Exposure, another: Exposure): boolean {
  const gates = ['everywhere', 'strangers', 'foreignPages', 'publicHosts', 'otherHosts'] as const;
  const opened = gates.some((gate) => one[gate] && !another[gate]);
  return opened || (one.scopes === ALL_SCOPES && another.scopes !== ALL_SCOPES);
}

// === The API ===

/** Restricted in every way there is. */
const SHUT: ProxyOptions = {
  rootUrl: 'http://127.0.0.1:1',
  credentials: { clientId: 'project/tester', accessToken: 'not-a-secret' },
  authorizedScopes: ['a:b'],
  port: 0,
  ipAddresses: ['127.0.0.1'],
  allowedUser: USER,
  upstreamHosts: ['none'],
  logLevel: 'error',
};

const SHUT_EXPOSURE: Exposure = {
  everywhere: false,
  strangers: false,
  scopes: '["a:b"]',
  foreignPages: false,
  publicHosts: false,
  otherHosts: false,
};

/** A value of each setting that restricts by being left out: with it the proxy serves more. */
const OPEN: Partial<ProxyOptions> = {
  allowCrossSite: true,
  hosts: ['public.example.com'],
};

/** A right value of every setting. */
const RIGHT: { readonly [Key in ApiKey]: unknown } = {
  ...SHUT,
  authorizedScopes: ['a:b'],
  ipAddresses: ['127.0.0.1'],
  port: 0,
  allowedUser: USER,
  logLevel: 'error',
  allowedNetwork: '10.1.2.0/24',
  allowCrossSite: true,
  hosts: ['public.example.com'],
  upstreamHosts: ['none'],
  auditLog: '/dev/null',
  auditRequired: false,
  retryFirst: '1s',
  retryCap: 1_000,
  retryFor: '0',
  replayLimit: '1KiB',
  replayTotal: 1_024,
  headerTimeout: '1s',
  responseTimeout: '1s',
  upstreamHttp2: true,
  credentialsUpdate: 'immediate',
  drainTimeout: '1s',
  logFormat: 'json',
};

/** Values of every kind that JavaScript has, and empty ones of every kind. */
const WRONG: readonly unknown[] = [
  ...[undefined, null, '', ' ', 'x', '*', 'half a pair \ud800', 0, -1, 1.5, Number.NaN, 7n],
  ...[true, false, Symbol('x'), () => 'x', {}, { 0: 'x', length: 1 }, new Set(['x'])],
  ...[[], [''], [null], [undefined], [1], [['x']], new Array(1)],
  // An array with a length, and an iterator without values.
  Object.assign(['x'], { [Symbol.iterator]: () => [].values() }),
];

type Outcome = { readonly refused: Error } | { readonly proxy: ApiProxy };

async function start(t: ExecutionContext, options: object): Promise<Outcome> {
  try {
    const proxy = await startProxy(options as ProxyOptions);
    t.teardown(() => proxy.stop(0));
    return { proxy };
  } catch (error) {
    return { refused: error as Error };
  }
}

test.serial('the proxy on which mistakes are tried serves as little as possible', async (t) => {
  const { proxy } = (await start(t, SHUT)) as { proxy: ApiProxy };
  t.deepEqual(await exposureOf(t, proxy.addresses), SHUT_EXPOSURE);
});

for (const key of API_KEYS) {
  const row: Row = SETTINGS[key];
  if (
    row.restricts === undefined ||
    ['allowedNetwork', 'auditLog', 'auditRequired'].includes(key)
  ) {
    // A network shows in admission.test.ts, which has namespaces; what is recorded in audit.test.ts.
    continue;
  }
  test.serial(`the key ${key} restricts ${row.restricts}`, async (t) => {
    const { [key]: _, ...without } = SHUT;
    const outcome = await start(
      t,
      key in OPEN ? { ...SHUT, [key]: OPEN[key as 'hosts'] } : without,
    );
    t.true('proxy' in outcome);
    if ('proxy' in outcome && (key !== 'allowedUser' || seesStrangers)) {
      const exposure = await exposureOf(t, outcome.proxy.addresses);
      t.true(servesMore(exposure, SHUT_EXPOSURE), JSON.stringify(exposure));
      t.is(row.restricts, key in OPEN ? 'by being left out' : 'by being given');
    }
  });
}

for (const key of API_KEYS) {
  test.serial(`no value of another kind for ${key} makes the proxy serve more`, async (t) => {
    const row: Row = SETTINGS[key];
    for (const value of WRONG) {
      if (row.kind === 'switch' && typeof value === 'boolean') {
        continue;
      }
      const outcome = await start(t, { ...SHUT, [key]: value });
      const given = `${key}: ${typeof value === 'symbol' ? 'a symbol' : JSON.stringify(value, bare)}`;
      if ('refused' in outcome) {
        const { name, message } = outcome.refused;
        t.true(['OptionsError', 'CredentialsError'].includes(name), `${given}: ${outcome.refused}`);
        t.true(namesIt(message, key, row), `${given}: ${message}`);
      } else {
        const exposure = await exposureOf(t, outcome.proxy.addresses);
        t.false(servesMore(exposure, SHUT_EXPOSURE), `${given}: ${JSON.stringify(exposure)}`);
        t.false(mustBeRefused(value, row), given);
        await outcome.proxy.stop(0);
      }
    }
  });
}

function bare(_: string, value: unknown): unknown {
  return ['function', 'bigint'].includes(typeof value) ? `${value}` : value;
}

/**
 * Whether the message names the setting: by its key, by its flag in messages of the Rust code, or in the
 * words of the Go program.
 */
function namesIt(message: string, key: ApiKey, { flag }: Row): boolean {
  const words: Partial<Record<ApiKey, string>> = { rootUrl: 'root URL', ipAddresses: 'IPv4/IPv6' };
  return [key, `--${flag}`, words[key] ?? key].some((name) => message.includes(name));
}

/** Whether a setting that restricts would be lifted, or one that opens be opened. */
function mustBeRefused(value: unknown, { restricts, emptyArray }: Row): boolean {
  const isEmpty =
    ['', null].includes(value as null) || (Array.isArray(value) && emptyArray === undefined);
  const isUnset = value === undefined && restricts === 'by being given';
  return restricts !== undefined && (isEmpty || isUnset);
}

/** Slips of a key, none of which is a name that there is. */
function misspelt(name: string, names: readonly string[]): string[] {
  const [first = '', second = '', ...rest] = name;
  const forms = [
    name.slice(0, -1),
    `${name}s`,
    name.slice(0, 2) + name.slice(1),
    [second, first, ...rest].join(''),
    `${name.slice(0, -2)}${name.at(-1)}${name.at(-2)}`,
    name.toUpperCase(),
  ];
  return [...new Set(forms)].filter((form) => !names.includes(form));
}

test('startProxy refuses a misspelt key and names the right one', async (t) => {
  for (const key of API_KEYS) {
    const { [key as 'port']: _, ...without } = SHUT;
    const { flag }: Row = SETTINGS[key];
    const forms = [...misspelt(key, API_KEYS), ...(flag === undefined ? [] : [flag])];
    for (const form of forms.filter((form) => !(form in SETTINGS))) {
      const outcome = await start(t, { ...without, [form]: RIGHT[key] });
      const { message = '' } = 'refused' in outcome ? outcome.refused : {};
      t.is(message, `${form} is not an option of startProxy: did you mean ${key}?`);
    }
  }
});

for (const [word, answer] of Object.entries({
  scopes: 'did you mean authorizedScopes?',
  allowedUsers: 'did you mean allowedUser?',
  allowed_user: 'did you mean allowedUser?',
  host: 'did you mean hosts?',
  user: 'did you mean allowedUser?',
  clientId: 'did you mean credentials.clientId?',
  rootURL: 'did you mean rootUrl?',
  frobnicate: `its options are ${API_KEYS.join(', ')}`,
})) {
  test(`startProxy refuses the key ${word} and names the right one, or all keys`, async (t) => {
    const inherited = Object.create({ [word]: 'x' }, Object.getOwnPropertyDescriptors(SHUT));
    for (const options of [{ ...SHUT, [word]: 'x' }, inherited]) {
      const outcome = await start(t, options);
      const { message = '' } = 'refused' in outcome ? outcome.refused : {};
      t.is(message, `${word} is not an option of startProxy: ${answer}`);
    }
  });
}

test('a value that is no object of options is refused', async (t) => {
  for (const options of [undefined, null, 'x', [], [SHUT], 7]) {
    const outcome = await start(t, options as object);
    t.regex(
      'refused' in outcome ? outcome.refused.message : '',
      /^startProxy is given .*: pass an object/,
    );
  }
});

// === The command line ===

const SHUT_FLAGS = [
  ...['--upstream-host=none', '--port=0', '--ip-address=127.0.0.1'],
  `--allowed-user=${USER}`,
];

type FlagKey = Exclude<KeyBy<'command' | 'API and command'>, 'authorizedScopes'>;

/** A right value of every flag that takes one. */
const TEXT: { readonly [Key in FlagKey]?: string } = {
  taskId: TASK_ID,
  rootUrl: 'http://127.0.0.1:1',
  clientId: 'project/tester',
  accessToken: 'not-a-secret',
  certificate: '{}',
  readyFile: '/tmp/ready',
  grace: '1s',
  port: '0',
  ipAddresses: '127.0.0.1',
  allowedUser: USER,
  allowedNetwork: '10.1.2.0/24',
  hosts: 'public.example.com',
  upstreamHosts: '*.example.com',
  auditLog: '/dev/null',
  retryFirst: '1s',
  retryCap: '1s',
  retryFor: '1s',
  replayLimit: '1KiB',
  replayTotal: '1KiB',
  headerTimeout: '1s',
  responseTimeout: '1s',
  credentialsUpdate: 'drain',
  drainTimeout: '1s',
  logFormat: 'json',
  logLevel: 'error',
};

function read(args: readonly string[]): Command | string {
  try {
    return readCommand(parseLine(args), ENOUGH);
  } catch (error) {
    return (error as Error).message;
  }
}

for (const [key, row] of FLAGS) {
  const { flag, short } = row;
  const spellings = [`--${flag}`, ...(short === undefined ? [] : [`-${short}`])];
  const right = TEXT[key as FlagKey];

  test(`--${flag} is refused where it is misspelt or stands behind a scope`, (t) => {
    const names = FLAGS.map(([, other]) => other.flag);
    for (const form of misspelt(flag, names)) {
      const said = read(right === undefined ? [`--${form}`] : [`--${form}`, right]);
      t.is(said, `--${form} is not an option: did you mean --${flag}?`);
    }
    for (const spelling of spellings) {
      t.regex(`${read(['scope', spelling])}`, new RegExp(`^${spelling} follows a scope`));
    }
  });

  if (row.kind === 'switch') {
    test(`--${flag} takes no value, and is given once`, (t) => {
      for (const value of ['', 'true', 'false', '0']) {
        t.regex(`${read([`--${flag}=${value}`])}`, /takes no value/);
      }
      t.regex(`${read([`--${flag}`, `--${flag}`])}`, /is given more than once/);
    });
    continue;
  }

  test(`--${flag} is refused where it is empty, repeated, without a value or of another kind`, (t) => {
    t.truthy(right, `a right value of ${key}`);
    for (const spelling of spellings) {
      for (const args of [
        [spelling, ''],
        ...(spelling.startsWith('--') ? [[`${spelling}=`]] : []),
      ]) {
        checkEmpty(t, read(args), spelling, row);
      }
      t.regex(`${read([spelling])}`, new RegExp(`^${spelling} needs a value`));
      for (const next of ['--allowed-user', '--alowed-user', '--', '-p', '--port=80']) {
        const isFree = row.dashes && next === '--alowed-user';
        t.regex(
          `${read([spelling, next, USER])}`,
          isFree
            ? /./
            : new RegExp(`^${spelling} needs a value, and ${next.replace('=80', '')} follows`),
        );
      }
      const twice = read([spelling, `${right}`, spelling, `${right}`]);
      t.is(typeof twice, row.many === undefined ? 'string' : 'object', `${twice}`);
    }
    if (row.kind !== 'text') {
      for (const wrong of [' ', 'x', '1 s', 'null', 'undefined', '-']) {
        t.regex(`${read([`--${flag}=${wrong}`])}`, new RegExp(`^(--)?${flag} ${wrong} is not `));
      }
    }
  });

  test(`--${flag} stands before scopes as the table of settings allows`, (t) => {
    const given = [`--${flag}`, `${right}`];
    const mixed = read([...given, 'scope']);
    t.is(typeof mixed, row.first ? 'string' : 'object', `${mixed}`);
    const other = flag === 'port' ? '--log-level=info' : '--port=0';
    for (const behind of [[], ['scope'], ['--', 'scope']]) {
      const late = read([other, ...given, ...behind]);
      t.is(typeof late, row.first ? 'string' : 'object', `${late}`);
      t.is(typeof read([...given, other, ...behind]), 'object');
    }
    t.regex(`${read([...given, '--'])}`, flag === 'task-id' ? /object/ : /^no scope follows --/);
    for (const scopes of [['scope'], ['-p', `--${flag}`, '--']]) {
      const command = read([...given, '--', ...scopes]);
      t.true(typeof command === 'object' && command.kind === 'run', `${command}`);
      t.deepEqual((command as Command & { kind: 'run' }).scopes, scopes);
    }
  });
}

function checkEmpty(
  t: ExecutionContext,
  said: Command | string,
  spelling: string,
  row: Flag,
): void {
  if (row.empty === 'not given') {
    t.deepEqual(said, read([]));
    t.is(row.restricts, undefined);
    return;
  }
  // An option that the API has, too, is called by its long name.
  const names = [spelling, `--${row.flag}`];
  t.true(
    names.some((name) => `${said}`.startsWith(`${name} is empty: `)),
    `${said}`,
  );
}

test('a secret may begin with a dash', (t) => {
  for (const token of ['-p', '-port-and-more-of-a-token', '--begins-with-two', '-8080']) {
    const command = read([`--access-token`, token]);
    const isOption = token === '-p';
    t.is(typeof command, isOption ? 'string' : 'object', `${token}: ${command}`);
  }
});

// === Real starts of the command ===

/** As generic-worker passes a variable that is not set. */
for (const [key, { flag, restricts, by }] of FLAGS) {
  if (restricts !== undefined && TEXT[key as FlagKey] !== undefined) {
    test(`the command does not start with an empty --${flag}`, async (t) => {
      const others = SHUT_FLAGS.filter((other) => !other.startsWith(`--${flag}=`));
      for (const empty of [[`--${flag}`, ''], [`--${flag}=`]]) {
        const { code, stdout, stderr } = await runCommand(t, [...others, ...empty], ENOUGH);
        t.is(code, 64, `${by}: ${stderr}`);
        t.is(stdout, '');
        t.regex(stderr, new RegExp(`^taskcluster-proxy: --${flag} is empty: .*\n$`));
      }
    });
  }
}

/** Variables that are empty count as not given, each as if it were not there. */
test.serial('with empty variables the proxy serves no more than without them', async (t) => {
  const empty = Object.fromEntries(
    ROWS.flatMap(([, { environment = [] }]) => environment).map((name) => [name, '']),
  );
  const without = await runCommand(t, [...SHUT_FLAGS, 'a:b'], empty);
  t.is(without.code, 64);
  t.regex(without.stderr, /^taskcluster-proxy: Root URL must be passed/);
  const { urls } = await startCommand(t, [...SHUT_FLAGS, 'a:b'], { ...empty, ...ENOUGH });
  t.deepEqual(await exposureOf(t, urls), SHUT_EXPOSURE);
});

test.serial('a task id restricts the proxy, and an invalid one does not start it', async (t) => {
  const queue = createServer((_, response) => response.end('{"scopes":["a:b"]}'));
  t.teardown(() => queue.close());
  await once(queue.listen(0, '127.0.0.1'), 'listening');
  const { port } = queue.address() as AddressInfo;
  const env = { ...ENOUGH, TASKCLUSTER_ROOT_URL: `http://127.0.0.1:${port}` };
  const restricted = await startCommand(t, [...SHUT_FLAGS, '--task-id', TASK_ID], env);
  t.deepEqual(await exposureOf(t, restricted.urls), SHUT_EXPOSURE);
  const free = await startCommand(t, SHUT_FLAGS, env);
  t.is((await exposureOf(t, free.urls)).scopes, ALL_SCOPES);
  for (const wrong of ['', ' ', '*', TASK_ID.slice(1), `${TASK_ID}/x`]) {
    const { code, stderr } = await runCommand(t, [...SHUT_FLAGS, '--task-id', wrong], env);
    t.is(code, 64, stderr);
  }
});
