// The command line for generated inputs: it is read from left to right, options end at the first scope, the
// proxy serves nothing that no flag asks for, and no secret stays in the process list. `settings.test.ts`
// has the table of mistakes, `cli.test.ts` the command itself.
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { OptionsError } from 'taskcluster-proxy';
import { type Command, maskSecrets, parseLine, readCommand } from '../../dist/cli/arguments.js';
import { FLAGS, type Flag, type Key } from '../../dist/settings.js';
import { ENOUGH } from '../harness/command.js';
import { holds } from '../harness/property.js';

type Run = Command & { kind: 'run' };

const BY_SPELLING = new Map<string, readonly [Key, Flag]>(
  FLAGS.flatMap(([key, flag]) => [
    [`--${flag.flag}`, [key, flag] as const],
    ...(flag.short === undefined ? [] : [[`-${flag.short}`, [key, flag] as const] as const]),
  ]),
);

/** A right value of every flag that takes one. */
const RIGHT: { readonly [Each in Key]?: readonly string[] } = {
  taskId: ['fN1SbArXTPSVFNUvaOlinQ'],
  rootUrl: ['http://127.0.0.1:1'],
  clientId: ['project/tester', 'tester'],
  accessToken: ['not-a-secret', '-begins-so', '--and-so', 'x=y'],
  certificate: ['{}'],
  readyFile: ['/tmp/ready', 'a=b'],
  grace: ['1s', '0'],
  port: ['0', '8080', '+80'],
  ipAddresses: ['127.0.0.1', '::1'],
  allowedUser: ['daemon', 'another user'],
  allowedNetwork: ['10.1.2.0/24'],
  hosts: ['public.example.com', '*'],
  retryFirst: ['1s'],
  retryCap: ['1.5m'],
  retryFor: ['0', '15m'],
  replayLimit: ['1KiB'],
  replayTotal: ['0'],
  headerTimeout: ['500ms'],
  responseTimeout: ['1h'],
  credentialsUpdate: ['drain', 'immediate'],
  drainTimeout: ['5s'],
  logFormat: ['json'],
  logLevel: ['error', 'debug'],
};

const spelling = fc.constantFrom(...BY_SPELLING.keys());

const word = fc.oneof(
  fc.constantFrom(
    'a:b',
    'queue:get-artifact:*',
    '*',
    'help',
    '',
    ' ',
    '-',
    '--',
    '-0',
    '-8',
    'true',
  ),
  fc.constantFrom('--alowed-user', '--no-allowed-user', '--=', '--=x', '-z', '-pp', '---port'),
  fc.constantFrom('constructor', '--constructor', '__proto__', '--__proto__=x'),
  spelling,
  fc.string({ unit: 'binary' }),
);

/** A flag as it can be written: in one argument or in two, with a value of its own or any. */
const written = fc.oneof(
  ...[...BY_SPELLING].map(([spelling, [key, flag]]): fc.Arbitrary<string[]> => {
    if (flag.kind === 'switch') {
      return fc.oneof(
        { weight: 6, arbitrary: fc.constant<string[]>([spelling]) },
        { weight: 1, arbitrary: word.map((word) => [`${spelling}=${word}`]) },
      );
    }
    const right: fc.Arbitrary<string> = fc.constantFrom(...(RIGHT[key] ?? ['']));
    const value = fc.oneof({ weight: 4, arbitrary: right }, { weight: 1, arbitrary: word });
    const apart = value.map((value) => [spelling, value]);
    const joined = spelling.startsWith('--')
      ? value.map((value) => [`${spelling}=${value}`])
      : right.map((value) => [`${spelling}${value}`]);
    return fc.oneof(apart, joined);
  }),
);

const scopes = fc.array(word, { maxLength: 4 });

/** Flags, then perhaps `--`, then scopes; now and then anything. */
const line = fc
  .tuple(
    fc.array(fc.oneof({ weight: 12, arbitrary: written }, { weight: 1, arbitrary: scopes })),
    fc.constantFrom([], ['--']),
    scopes,
  )
  .map(([flags, dashes, scopes]) => [...flags.flat(), ...dashes, ...scopes])
  // Short switches that share an argument; `-h` is the only one, and then nothing is served.
  .filter((args) => !args.some((argument) => /^-h./.test(argument)));

// === The rules ===

interface Read {
  readonly flags: [key: Key, value: string | undefined][];
  readonly scopes: readonly string[];
  readonly apart: boolean;
}

/** From left to right; null where there is an argument that is neither an option nor a scope. */
function readNaively(args: readonly string[]): Read | null {
  const flags: Read['flags'] = [];
  for (let at = 0; at < args.length; at += 1) {
    const argument = args[at] ?? '';
    if (argument === '--') {
      return { flags, scopes: args.slice(at + 1), apart: true };
    }
    if (!argument.startsWith('-') || argument === '-') {
      const scopes = args.slice(at);
      return scopes.some((scope) => scope.startsWith('-')) ? null : { flags, scopes, apart: false };
    }
    const known = optionOf(argument);
    if (known === null) {
      return null;
    }
    const [[key, { kind }], joined] = known;
    if (kind === 'switch' || joined !== undefined) {
      flags.push([key, joined]);
    } else if (at + 1 < args.length) {
      at += 1;
      flags.push([key, args[at]]);
    } else {
      return null;
    }
  }
  return { flags, scopes: [], apart: false };
}

/** The flag that an argument is, and the value that it brings along. */
function optionOf(argument: string): [readonly [Key, Flag], string | undefined] | null {
  const whole = BY_SPELLING.get(argument);
  if (whole !== undefined) {
    return [whole, undefined];
  }
  const isLong = argument.startsWith('--');
  const end = isLong ? argument.indexOf('=') : 2;
  const found = end < 0 ? undefined : BY_SPELLING.get(argument.slice(0, end));
  const isSwitch = found?.[1].kind === 'switch';
  return found === undefined || isSwitch ? null : [found, argument.slice(isLong ? end + 1 : 2)];
}

function read(args: readonly string[]): Command | OptionsError {
  try {
    return readCommand(parseLine(args), ENOUGH);
  } catch (error) {
    assert.ok(error instanceof OptionsError, `${error}`);
    return error;
  }
}

// === What holds ===

test('a command line is read from left to right, and options end at the first scope', async (t) => {
  await holds(t, 2000, line, (args) => {
    const { flags, scopes, apart, fault } = parseLine(args);
    const expected = readNaively(args);
    assert.equal(fault === undefined, expected !== null, `${fault}`);
    if (expected !== null) {
      assert.deepEqual(
        { flags: flags.map(({ key, value }) => [key, value]), scopes, apart },
        expected,
      );
      assert.deepEqual(scopes, scopes.length === 0 ? [] : args.slice(-scopes.length));
    }
  });
});

test('the scopes of a command line change none of its options', async (t) => {
  const filled = scopes.map((all) => all.filter((scope) => scope !== ''));
  await holds(t, 1000, fc.tuple(line, filled), ([args, others]) => {
    const { scopes, apart } = parseLine(args);
    const said = read(args);
    if (scopes.length > 0 && 'kind' in said && said.kind === 'run') {
      const before = args.slice(0, -scopes.length - (apart ? 1 : 0));
      const more = read([...before, ...(others.length === 0 ? [] : ['--']), ...others]);
      assert.ok('kind' in more && more.kind === 'run', `${more}`);
      assert.deepEqual({ ...more, scopes: [] }, { ...said, scopes: [] });
      assert.deepEqual([said.scopes, more.scopes], [scopes, others]);
    }
  });
});

/** The settings that serve less where they are given, and those that serve more. */
const RESTRICTS = {
  given: ['allowedUser', 'ipAddresses'],
  leftOut: ['allowCrossSite', 'hosts', 'allowedNetwork'],
};

test('the command restricts or widens what is served exactly as the flags say', async (t) => {
  await holds(t, 2000, line, (args) => {
    const said = read(args);
    if (!('kind' in said) || said.kind !== 'run') {
      return;
    }
    const { flags = [], scopes = [] } = readNaively(args) ?? {};
    const given = (key: Key) => flags.filter(([each]) => each === key).map(([, value]) => value);
    const options = said.options as unknown as Record<string, unknown>;
    for (const key of [...RESTRICTS.given, ...RESTRICTS.leftOut] as Key[]) {
      const values = given(key);
      assert.equal(key in options, values.length > 0, key);
      assert.ok(
        values.every((value) => value !== ''),
        key,
      );
      if (key in options && options[key] !== true) {
        assert.deepEqual([options[key]].flat(), values, key);
      }
    }
    assert.deepEqual([said.taskId].filter(Boolean), given('taskId'));
    assert.deepEqual(said.scopes, scopes);
    assert.ok(!scopes.includes(''));
    const isWatched = given('allowedUser').length > 0 && given('outliveParent').length === 0;
    assert.equal(said.endsWithLauncher, isWatched || given('endWithParent').length > 0);
  });
});

test('a parsed command line, written again, parses to the same', async (t) => {
  await holds(t, 1000, line, (args) => {
    const said = read(args);
    if ('kind' in said && said.kind === 'run') {
      assert.deepEqual(read(writtenDown(said)), said);
    }
  });
});

function writtenDown({
  options,
  scopes,
  taskId,
  readyFile,
  grace,
  endsWithLauncher,
}: Run): string[] {
  const { credentials, ...rest } = options;
  const settings: Record<string, unknown> = {
    ...rest,
    ...credentials,
    taskId,
    readyFile,
    grace: `${grace}ms`,
    endWithParent: endsWithLauncher && options.allowedUser === undefined,
    outliveParent: !endsWithLauncher && options.allowedUser !== undefined,
  };
  const order = [...FLAGS].sort(([, one], [, other]) => Number(!one.first) - Number(!other.first));
  const flags = order.flatMap(([key, { flag, kind }]) => {
    const values = [settings[key] ?? []].flat();
    return kind === 'switch'
      ? values.filter((value) => value === true).map(() => `--${flag}`)
      : values.map((value) => `--${flag}=${value}`);
  });
  return [...flags, ...(scopes.length === 0 ? [] : ['--']), ...scopes];
}

test('no secret stays in the list of processes', async (t) => {
  const secret = fc.stringMatching(/^[A-Za-z0-9_-]{22}$/).map((random) => `s3cr3t${random}`);
  const spelling = fc.constantFrom('--access-token', '--certificate');
  const flag = fc
    .tuple(spelling, secret, fc.boolean())
    .map(([spelling, value, isJoined]) =>
      isJoined ? [`${spelling}=${value}`] : [spelling, value],
    );
  const pieces = fc.array(fc.oneof(flag, written, fc.constant(['--'])), { maxLength: 6 });
  await holds(t, 1000, fc.tuple(pieces, scopes), ([pieces, scopes]) => {
    const args = [...pieces.flat(), ...scopes];
    const line = parseLine(args);
    const masked = maskSecrets(args, line);
    const isScope = (argument: string) => line.scopes.includes(argument);
    const left = masked.filter((argument) => argument.includes('s3cr3t') && !isScope(argument));
    assert.deepEqual(left, []);
    assert.ok(line.fault === undefined || masked.length === 0);
    assert.doesNotMatch(line.fault?.message ?? '', /s3cr3t/);
  });
});
