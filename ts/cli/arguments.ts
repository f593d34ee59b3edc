/**
 * The command line of taskcluster-proxy: flags, environment and positional scopes become the
 * options of the API. Name for name that of the Go program, and what is new.
 *
 * What flags there are stands in two tables, {@link SETTINGS} and {@link FLAGS}; the help derives
 * from them. Nothing here needs the addon.
 */
import { CommanderError, Option, Command as Parser } from 'commander';

import type { ProxyOptions } from '../index.js';
import {
  decide,
  OptionsError,
  type Row,
  readDuration,
  readPort,
  SETTINGS,
  type Settings,
} from '../options.js';

/** What the command line asks for. */
export type Command =
  | { kind: 'help' | 'version' | 'shortVersion' }
  | {
      kind: 'run';
      /** Without `authorizedScopes`: those are `scopes` and the task's. */
      options: ProxyOptions;
      scopes: string[];
      taskId: string | undefined;
      readyFile: string | undefined;
      /** Milliseconds. */
      grace: number;
    };

/** A row of the command's own table. */
type Flag = Row & {
  /** Its value must not stand in the process list. */
  readonly secret?: true;
  /** Variables that are read where the flag is not given; the first is the proper one. */
  readonly environment?: readonly string[];
};

/** The flags that no setting of the API stands behind. */
const FLAGS = {
  help: { flag: 'help', short: 'h', kind: 'switch', help: 'Show this help' },
  version: { flag: 'version', kind: 'switch', help: 'Show version and git revision' },
  shortVersion: { flag: 'short-version', kind: 'switch', help: 'Show the version alone' },
  taskId: {
    flag: 'task-id',
    short: 't',
    kind: 'text',
    value: 'taskId',
    help: "Restrict the credentials to this task's scopes and those given",
  },
  rootUrl: {
    flag: 'root-url',
    kind: 'text',
    value: 'rootUrl',
    environment: ['TASKCLUSTER_ROOT_URL'],
    help: 'Root URL of the Taskcluster deployment',
  },
  clientId: {
    flag: 'client-id',
    kind: 'text',
    value: 'clientId',
    environment: ['TASKCLUSTER_CLIENT_ID'],
    help: 'Client id to sign with',
  },
  accessToken: {
    flag: 'access-token',
    kind: 'text',
    value: 'accessToken',
    secret: true,
    environment: ['TASKCLUSTER_ACCESS_TOKEN'],
    help: 'Access token to sign with',
  },
  certificate: {
    flag: 'certificate',
    kind: 'text',
    value: 'certificate',
    secret: true,
    // Spelt both ways: old documentation has the second.
    environment: ['TASKCLUSTER_CERTIFICATE', 'TASKCLUSTER_CERITIFICATE'],
    help: 'Certificate of temporary credentials',
  },
  readyFile: {
    flag: 'ready-file',
    kind: 'text',
    value: 'path',
    help: 'Write a JSON file with pid, addresses and version once all listeners accept',
  },
  grace: {
    flag: 'grace',
    kind: 'duration',
    value: 'duration',
    default: '30s',
    help: 'How long running requests may take to finish after SIGTERM or SIGINT',
  },
} as const satisfies Record<string, Flag>;

type Key = keyof typeof FLAGS | keyof typeof SETTINGS;

const TABLE: ReadonlyArray<readonly [Key, Flag]> = Object.entries({ ...FLAGS, ...SETTINGS }).map(
  ([key, flag]) => [key as Key, flag],
);

/** How an error calls a setting. */
export function flagName(key: keyof Settings): string {
  return `--${SETTINGS[key].flag}`;
}

/** One flag as it was written. */
interface Written {
  readonly key: Key;
  readonly flag: Flag;
  /** With its dashes. */
  readonly spelling: string;
  /** Absent for a switch. */
  readonly value: string | undefined;
}

/** A command line in its parts, in the order in which they were written. */
export interface Line {
  readonly flags: readonly Written[];
  readonly scopes: readonly string[];
  /** What cannot be read. */
  readonly fault: OptionsError | undefined;
}

/** Takes a command line apart and judges no value. Flags may stand before and behind scopes. */
export function parseLine(args: readonly string[]): Line {
  const flags: Written[] = [];
  try {
    const { operands, unknown } = parser((flag) => flags.push(flag)).parseOptions([...args]);
    return { flags, scopes: operands, fault: unknown[0] ? unknownFlag(unknown[0]) : undefined };
  } catch (error) {
    return { flags, scopes: [], fault: misused(error) };
  }
}

/** Each spelling is an option by itself, so that an error can name the flag as it was written. */
function parser(write: (flag: Written) => void): Parser {
  const command = new Parser().exitOverride().configureOutput({ outputError: () => {} });
  for (const [key, flag] of TABLE) {
    for (const spelling of [`--${flag.flag}`, ...(flag.short ? [`-${flag.short}`] : [])]) {
      const form = flag.kind === 'switch' ? spelling : `${spelling} <${flag.value}>`;
      const read = (value: string | undefined) => write({ key, flag, spelling, value });
      command.addOption(new Option(form).argParser(read));
    }
  }
  // While no option is a digit, Commander takes -1 for an argument, which here is a scope.
  const refuse = () => {
    throw unknownFlag(A_DIGIT);
  };
  return command.addOption(new Option(A_DIGIT).argParser(refuse));
}

const A_DIGIT = '-0';

/** Of `argument` no more than the flag is repeated: what follows it may be a secret. */
function unknownFlag(argument: string): OptionsError {
  const [spelling = argument] = /^(--.[^=]*|-[^-])/u.exec(argument) ?? [];
  return new OptionsError(
    TABLE.some(([, { flag }]) => spelling === `--${flag}`)
      ? `${spelling} takes no value: leave out what follows the =`
      : `${spelling} is not an option: see taskcluster-proxy --help`,
  );
}

/** Commander's one complaint at this stage: `error: option '--name <value>' argument missing`. */
function misused(error: unknown): OptionsError {
  if (error instanceof CommanderError) {
    const [, form = ''] = /'(.*)'/.exec(error.message) ?? [];
    return new OptionsError(`${form.replace(/ .*/, '')} needs a value: write ${form}`);
  }
  return error as OptionsError;
}

/**
 * The command line without its secrets, to stand in the process list.
 */
export function maskSecrets(args: readonly string[], { flags }: Line): string[] {
  const masks = new Map<string, string>();
  for (const { flag, spelling, value } of flags) {
    if (flag.secret && value) {
      masks.set(value, '***').set(`${spelling}=${value}`, `${spelling}=***`);
    }
  }
  return args.map((argument) => masks.get(argument) ?? argument);
}

/**
 * Judges the command line and, for what it leaves out, the environment. A flag whose value is empty
 * counts as not given, except where that would lift a restriction.
 *
 * @throws {@link OptionsError} The sentence is for the user.
 */
export function readCommand(
  line: Line,
  environment: Readonly<Record<string, string | undefined>>,
): Command {
  const given = readFlags(line);
  for (const kind of ['help', 'version', 'shortVersion'] as const) {
    if (given.has(kind)) {
      return { kind };
    }
  }
  const settings = readSettings(given);
  const value = (key: keyof typeof FLAGS) => given.get(key)?.[0] || undefined;
  const required = (
    key: keyof typeof FLAGS & ('rootUrl' | 'clientId' | 'accessToken'),
    what: string,
  ) => value(key) ?? fromEnvironment(key, environment) ?? missing(key, what);
  return {
    kind: 'run',
    options: {
      ...settings,
      rootUrl: required('rootUrl', 'Root URL'),
      credentials: {
        clientId: required('clientId', 'Client ID'),
        accessToken: required('accessToken', 'Access token'),
        certificate: value('certificate') ?? fromEnvironment('certificate', environment),
      },
    },
    scopes: [...line.scopes],
    taskId: readTaskId(given.get('taskId')?.[0]),
    readyFile: value('readyFile'),
    grace: readDuration(given.get('grace')?.[0] ?? FLAGS.grace.default, '--grace'),
  };
}

function readFlags({ flags, fault }: Line): Map<Key, string[]> {
  if (fault !== undefined) {
    throw fault;
  }
  const given = new Map<Key, string[]>();
  for (const { key, flag, spelling, value = '' } of flags) {
    if (given.has(key) && flag.kind !== 'texts') {
      throw new OptionsError(`${spelling} is given more than once: leave all but one out`);
    }
    given.set(key, [...(given.get(key) ?? []), value]);
  }
  return given;
}

/** Settings as the API takes them; durations, sizes and choices stay text and are judged there. */
function readSettings(given: ReadonlyMap<Key, string[]>): Settings {
  const settings: Record<string, unknown> = {};
  for (const [key, row] of Object.entries<Row>(SETTINGS)) {
    const values = given.get(key as Key);
    const [first = ''] = values ?? [];
    if (values === undefined) {
      continue;
    }
    switch (row.kind) {
      case 'switch':
        settings[key] = true;
        break;
      case 'port':
        settings[key] = readPort(first);
        break;
      case 'texts':
        settings[key] = values.filter((value) => value !== '');
        break;
      default:
        settings[key] = first;
    }
  }
  decide(settings, flagName);
  return settings;
}

function fromEnvironment(
  key: keyof typeof FLAGS,
  environment: Readonly<Record<string, string | undefined>>,
): string | undefined {
  const { environment: names = [] }: Flag = FLAGS[key];
  return names.map((name) => environment[name]).find((value) => value);
}

function missing(key: keyof typeof FLAGS, what: string): never {
  const { flag, environment = [] }: Flag = FLAGS[key];
  throw new OptionsError(
    `${what} must be passed via environment variable ${environment[0]} or command line option --${flag}`,
  );
}

/** 22 characters of URL-safe base64 that a version 4 UUID can make, as Taskcluster's schemas say. */
const SLUGID = /^[A-Za-z0-9_-]{8}[Q-T][A-Za-z0-9_-][CGKOSWaeimquy26-][A-Za-z0-9_-]{10}[AQgw]$/;

/** An empty task id is refused rather than ignored: ignoring it would lift the restriction. */
function readTaskId(taskId: string | undefined): string | undefined {
  if (taskId !== undefined && !SLUGID.test(taskId)) {
    throw new OptionsError(`'${taskId}' is not a task id: pass the 22 characters of a slugid`);
  }
  return taskId;
}

/** The variables that hold secrets, to be deleted once read. */
export const SECRET_VARIABLES: readonly string[] = TABLE.flatMap(([, flag]) =>
  flag.secret ? (flag.environment ?? []) : [],
);

const USAGE = `Taskcluster authentication proxy: signs a task's requests with its credentials and
forwards them to the deployment. It signs with all scopes of the credentials, or
with those of a task and those given as arguments only.

  Usage:
    taskcluster-proxy [options] [<scope>...]
    taskcluster-proxy -h|--help
    taskcluster-proxy --version
    taskcluster-proxy --short-version

  Options:
`;

/** The text of `--help`. */
export function help(): string {
  const rows = TABLE.map(([, flag]) => {
    const short = flag.short === undefined ? '' : `-${flag.short} `;
    const value = flag.kind === 'switch' ? '' : ` <${flag.value}>`;
    return [`${short}--${flag.flag}${value}`, describe(flag)] as const;
  });
  const width = Math.max(...rows.map(([name]) => name.length)) + 2;
  const lines = rows.map(([name, text]) => {
    const [first = '', ...more] = wrap(text, 100 - 4 - width);
    const rest = more.map((line) => `\n${' '.repeat(4 + width)}${line}`).join('');
    return `    ${name.padEnd(width)}${first}${rest}\n`;
  });
  return USAGE + lines.join('');
}

function describe(flag: Flag): string {
  const notes = [
    ...(flag.kind === 'choice' ? [flag.choices.join(' or ')] : []),
    ...(flag.environment?.slice(0, 1) ?? []).map((name) => `environment: ${name}`),
    ...('default' in flag ? [`default: ${flag.default}`] : []),
  ];
  return `${flag.help}.${notes.length > 0 ? ` [${notes.join('; ')}]` : ''}`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  return [...lines, line];
}
