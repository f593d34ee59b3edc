/**
 * The command line of taskcluster-proxy: it turns flags, environment and positional scopes into the
 * options of the API. All names of the Go program are kept.
 *
 * The table of settings defines the flags. Nothing here needs the addon.
 */
import { CommanderError, Option, Command as Parser } from 'commander';
import { checkValue, OptionsError } from '../check.js';
import { nearest } from '../nearest.js';
import { decide, type ProxyOptions, readDuration, readPort } from '../options.js';
import {
  API_KEYS,
  type ApiKey,
  FLAGS,
  type Flag,
  type Key,
  type KeyBy,
  ROWS,
  type Row,
  SETTINGS,
} from '../settings.js';

/** The parsed command line. */
export type Command =
  | { kind: 'help' | 'version' | 'shortVersion' }
  | {
      kind: 'run';
      /** Without `authorizedScopes`: these are `scopes` and the task's scopes. */
      options: ProxyOptions;
      scopes: string[];
      taskId: string | undefined;
      readyFile: string | undefined;
      /** Milliseconds. */
      grace: number;
      /** Whether the proxy ends when the process that started it ends. */
      endsWithLauncher: boolean;
    };

/** Every spelling of an option, with its dashes. */
const SPELLINGS: readonly string[] = FLAGS.flatMap(([, flag]) => spellings(flag));

function spellings({ flag, short }: Flag): string[] {
  return short === undefined ? [`--${flag}`] : [`--${flag}`, `-${short}`];
}

/** The name of a setting in an error. */
export function flagName(key: ApiKey): string {
  const { flag, value }: Row = SETTINGS[key];
  return flag === undefined ? `<${value}>` : `--${flag}`;
}

/** One flag as written. */
interface Written {
  readonly key: Key;
  readonly flag: Flag;
  /** With its dashes. */
  readonly spelling: string;
  /** Absent for a switch. */
  readonly value: string | undefined;
}

/** The parts of a command line, in the order of the arguments. */
export interface Line {
  readonly flags: readonly Written[];
  readonly scopes: readonly string[];
  /** Whether `--` precedes the scopes. */
  readonly apart: boolean;
  /** The error of a command line that cannot be read. */
  readonly fault: OptionsError | undefined;
}

/**
 * Splits a command line into its parts and checks no value. Options end at the first scope: a scope of a
 * task must never set an option.
 */
export function parseLine(args: readonly string[]): Line {
  const flags: Written[] = [];
  try {
    const { operands, unknown } = parser((flag) => flags.push(flag)).parseOptions([...args]);
    const apart = standsApart(args, operands.length, flags.at(-1));
    const [fault] = [
      ...unknown.slice(0, 1).map(unknownFlag),
      ...(apart ? [] : operands.flatMap((operand) => noScope(operand) ?? [])),
    ];
    return { flags, scopes: operands, apart, fault };
  } catch (error) {
    return { flags, scopes: [], apart: false, fault: misused(error) };
  }
}

/** Declares each spelling as its own option, so that an error can name the flag as written. */
function parser(write: (flag: Written) => void): Parser {
  const command = new Parser().exitOverride().configureOutput({ outputError: () => {} });
  for (const [key, flag] of FLAGS) {
    for (const spelling of spellings(flag)) {
      const form = flag.kind === 'switch' ? spelling : `${spelling} <${flag.value}>`;
      const read = (value: string | undefined) => write({ key, flag, spelling, value });
      command.addOption(new Option(form).argParser(read));
    }
  }
  // While no option is a digit, Commander takes -1 for an argument, which here is a scope.
  const refuse = () => {
    throw unknownFlag(A_DIGIT);
  };
  return command.passThroughOptions().addOption(new Option(A_DIGIT).argParser(refuse));
}

/** Whether the argument before the operands is the `--` that ends the options, and not a flag's value. */
function standsApart(args: readonly string[], operands: number, last?: Written): boolean {
  const [spelling, end] = args.slice(0, args.length - operands).slice(-2);
  const [before, dashes] = end === undefined ? [undefined, spelling] : [spelling, end];
  return dashes === '--' && !(last?.value === '--' && last.spelling === before);
}

const A_DIGIT = '-0';

/** The error repeats only the flag of `argument`: the rest may be a secret. */
function spellingOf(argument: string): string {
  const [spelling = argument] = /^(--.[^=]*|-[^-])/u.exec(argument) ?? [];
  return spelling;
}

function unknownFlag(argument: string): OptionsError {
  const spelling = spellingOf(argument);
  if (SPELLINGS.includes(spelling)) {
    return new OptionsError(`${spelling} takes no value: leave out what follows the =`);
  }
  const name = spelling.startsWith('--') ? nearest(spelling, SPELLINGS) : undefined;
  return new OptionsError(
    `${spelling} is not an option: ${name === undefined ? 'see taskcluster-proxy --help' : `did you mean ${name}?`}`,
  );
}

/** Refuses a scope that looks like an option: taken as a scope it restricts nothing. */
function noScope(operand: string): OptionsError | undefined {
  return operand.startsWith('-') ? behindScope(operand) : misspelt(operand);
}

/** `allowed-user=task`, `—allowed-user`: an option without dashes, or with typographic ones. */
function misspelt(operand: string): OptionsError | undefined {
  const [, dashes, name, value] = /^(\p{Pd}*)([a-z]+(?:-[a-z]+)*)(=.*)?$/su.exec(operand) ?? [];
  const isFlag = FLAGS.some(([, { flag }]) => flag === name);
  return isFlag && (dashes !== '' || name?.includes('-') || value !== undefined)
    ? new OptionsError(
        `${dashes}${name} is no scope: write --${name}, or -- before the scopes if it is one`,
      )
    : undefined;
}

function behindScope(argument: string): OptionsError {
  if (argument === '--') {
    return new OptionsError('-- follows a scope: write it before the first one');
  }
  const spelling = spellingOf(argument);
  return new OptionsError(
    `${spelling} follows a scope, where options end: write it before the first scope, or -- ` +
      'before the scopes if it is one',
  );
}

/** Commander's only error at this stage: `error: option '--name <value>' argument missing`. */
function misused(error: unknown): OptionsError {
  if (error instanceof CommanderError) {
    const [, form = ''] = /'(.*)'/.exec(error.message) ?? [];
    return new OptionsError(`${form.replace(/ .*/, '')} needs a value: write ${form}`);
  }
  return error as OptionsError;
}

/**
 * The command line without its secrets, for the process list; empty for one that cannot be read.
 */
export function maskSecrets(args: readonly string[], { flags, fault }: Line): string[] {
  if (fault !== undefined) {
    return [];
  }
  const masks = new Map<string, string>();
  for (const { flag, spelling, value } of flags) {
    if (flag.secret && value) {
      masks.set(value, '***').set(`${spelling}=${value}`, `${spelling}=***`);
    }
  }
  return args.map((argument) => masks.get(argument) ?? argument);
}

/**
 * Checks the command line and, for options that are not given, the environment.
 *
 * @throws {@link OptionsError} The message is for the user.
 */
export function readCommand(line: Line, environment: Environment): Command {
  const given = readFlags(line);
  for (const kind of ['help', 'version', 'shortVersion'] as const) {
    if (given.has(kind)) {
      return { kind };
    }
  }
  const settings = readSettings(given, line.scopes);
  decide(settings, flagName);
  refuseMixed(line);
  refuseNoScope(given, line);
  const value = (key: CommandKey) => given.get(key)?.[0] || fromEnvironment(key, environment);
  const required = (key: CommandKey, what: string) => value(key) ?? missing(key, what);
  const { authorizedScopes: _, ...options } = settings;
  const fixedPort = readFixedPort(given, environment);
  return {
    kind: 'run',
    options: {
      ...options,
      ...(fixedPort !== undefined && { port: fixedPort }),
      rootUrl: required('rootUrl', 'Root URL'),
      credentials: {
        clientId: required('clientId', 'Client ID'),
        accessToken: required('accessToken', 'Access token'),
        certificate: value('certificate'),
      },
    },
    scopes: [...line.scopes],
    taskId: readTaskId(given.get('taskId')?.[0]),
    readyFile: value('readyFile'),
    grace: readDuration(given.get('grace')?.[0] ?? SETTINGS.grace.default, '--grace'),
    endsWithLauncher: readEndsWithLauncher(given),
  };
}

/**
 * An image fixes its port by a variable. A flag in the image would precede all arguments of the launcher,
 * which could then write no flag first.
 */
function readFixedPort(given: Given, environment: Environment): number | undefined {
  const [variable] = SETTINGS.fixedPort.environment;
  const fixed = fromEnvironment('fixedPort', environment);
  if (fixed === undefined) {
    return undefined;
  }
  if (given.has('port')) {
    throw new OptionsError(
      `--port is given, and ${variable} fixes the port: leave --port out, or change the variable`,
    );
  }
  try {
    return readPort(fixed);
  } catch (error) {
    throw new OptionsError(`${variable}: ${(error as Error).message}`);
  }
}

/** A crashed launcher must not leave a signing port to the next task that runs with the same user id. */
function readEndsWithLauncher(given: Given): boolean {
  const [ends, outlives] = [given.has('endWithParent'), given.has('outliveParent')];
  if (ends && outlives) {
    throw new OptionsError(
      '--end-with-parent and --outlive-parent contradict each other: leave one out',
    );
  }
  return ends || (given.has('allowedUser') && !outlives);
}

type CommandKey = KeyBy<'command' | 'API and command'>;

type Environment = Readonly<Record<string, string | undefined>>;

/** The values of each given flag. */
type Given = ReadonlyMap<Key, readonly string[]>;

function readFlags({ flags, fault }: Line): Given {
  if (fault !== undefined) {
    throw fault;
  }
  const given = new Map<Key, string[]>();
  for (const { key, flag, spelling, value = '' } of flags) {
    if (given.has(key) && flag.many === undefined) {
      throw new OptionsError(`${spelling} is given more than once: leave all but one out`);
    }
    refuseOption(value, spelling, flag);
    if (flag.by === 'command' && flag.kind !== 'switch') {
      checkValue(value, flag, spelling);
    }
    given.set(key, [...(given.get(key) ?? []), value]);
  }
  return given;
}

/**
 * Refuses a value that is an option. An unset, unquoted shell variable vanishes from the command line, and
 * its flag takes the next flag as its value, which may be a restriction.
 */
function refuseOption(value: string, spelling: string, { value: form, dashes }: Flag): void {
  // A value with one dash and a letter may be a secret.
  const option = dashes && !value.startsWith('--') ? value : spellingOf(value);
  const isOption = SPELLINGS.includes(option) || value === '--';
  if (isOption || (value.startsWith('--') && !dashes)) {
    throw new OptionsError(
      `${spelling} needs a value, and ${spellingOf(value)} follows it: write ${spelling} <${form}>`,
    );
  }
}

/**
 * Refuses an option that may be a scope of the task. The launcher writes these scopes last, and one of
 * them may be a `--`.
 */
function refuseMixed({ flags, apart, scopes }: Line): void {
  const first = flags.findLast(({ flag }) => flag.first);
  const other = flags.find(({ flag }) => !flag.first);
  if (first && other && flags.indexOf(other) < flags.indexOf(first)) {
    throw new OptionsError(
      `${first.spelling} follows ${other.spelling}, where a scope could pass for it: write it first`,
    );
  }
  if (first && !other && !apart && scopes.length > 0) {
    throw new OptionsError(
      `${first.spelling} precedes scopes that could pass for options: write -- before the first scope`,
    );
  }
}

/** An empty list of scopes behind `--` must not lift the restriction. */
function refuseNoScope(given: Given, { apart, scopes }: Line): void {
  if (apart && scopes.length === 0 && !given.has('taskId')) {
    throw new OptionsError(
      'no scope follows --: write one, or leave -- out to sign with all scopes of the credentials',
    );
  }
}

/** Options as the API takes them; durations, sizes and choices stay text, which the API checks. */
function readSettings(given: Given, scopes: readonly string[]): Partial<ProxyOptions> {
  const settings: Record<string, unknown> = scopes.length === 0 ? {} : { authorizedScopes: scopes };
  for (const key of API_KEYS) {
    const values = given.get(key);
    if (values !== undefined) {
      settings[key] = readValue(values, SETTINGS[key]);
    }
  }
  return settings;
}

function readValue(values: readonly string[], { kind, many }: Row): unknown {
  const [first = ''] = values;
  switch (kind) {
    case 'switch':
      return true;
    case 'port':
      return first === '' ? first : readPort(first);
    default:
      return many === undefined ? first : values;
  }
}

function fromEnvironment(
  key: CommandKey | KeyBy<'environment'>,
  environment: Environment,
): string | undefined {
  const { environment: names = [] }: Row = SETTINGS[key];
  return names.map((name) => environment[name]).find((value) => value);
}

function missing(key: CommandKey, what: string): never {
  const { flag, environment = [] }: Row = SETTINGS[key];
  throw new OptionsError(
    `${what} must be passed via environment variable ${environment[0]} or command line option --${flag}`,
  );
}

/** A version 4 UUID in 22 characters of URL-safe base64, as in Taskcluster's schemas. */
const SLUGID = /^[A-Za-z0-9_-]{8}[Q-T][A-Za-z0-9_-][CGKOSWaeimquy26-][A-Za-z0-9_-]{10}[AQgw]$/;

/** Refuses an empty task id: ignoring it would lift the restriction. */
function readTaskId(taskId: string | undefined): string | undefined {
  if (taskId !== undefined && !SLUGID.test(taskId)) {
    throw new OptionsError(`'${taskId}' is not a task id: pass the 22 characters of a slugid`);
  }
  return taskId;
}

/** The variables that hold secrets; the command deletes them after reading. */
export const SECRET_VARIABLES: readonly string[] = ROWS.flatMap(([, row]) =>
  row.secret ? (row.environment ?? []) : [],
);
