/**
 * The options of a proxy: one table, from which the command's flags, its help, the defaults of the
 * API and the checks of both derive. What an address, a root URL, a user or a network may be is the
 * core's to judge.
 */
import type { NativeOptions } from './native.js';

/** Milliseconds, or text such as `500ms`, `30s`, `15m`, `1h`. */
export type Duration = number | string;

/** Bytes, or text such as `64KiB`, `10MiB`. */
export type Size = number | string;

/** An option that is missing, malformed or out of range; the sentence names it and the remedy. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError';
  readonly code = 'ERR_OPTIONS';
}

/** What of `startProxy` can be left out, beside the credentials and their restriction. */
export interface Settings {
  /** Port of every listener, 0 to 65535; 0 takes a free one. Default: 8080. */
  port?: number;
  /** IPv4 and IPv6 addresses to listen on. Default: all interfaces. */
  ipAddresses?: readonly string[];
  /** Serve connections of this OS user and root alone. Refused where the platform cannot tell. */
  allowedUser?: string;
  /** Also serve peers in this CIDR that this network namespace cannot see; beside `allowedUser`. */
  allowedNetwork?: string;
  /** Serve requests that a web page of another origin made. Default: false. */
  allowCrossSite?: boolean;
  /** Names beside the private ones that a request's `Host` may hold; `*` for all. */
  hosts?: readonly string[];
  /** Pause before the second try of a request. Default: `500ms`. */
  retryFirst?: Duration;
  /** Longest pause between tries. Default: `60s`. */
  retryCap?: Duration;
  /** For how long a request is tried again; 0 for a single try. Default: `15m`. */
  retryFor?: Duration;
  /** How much of one request's body is kept for another try. Default: `10MiB`. */
  replayLimit?: Size;
  /** How much of all requests' bodies is kept. Default: `64MiB`. */
  replayTotal?: Size;
  /** How long a request's head may take to come in. Default: `30s`. */
  headerTimeout?: Duration;
  /** How long upstream may take to begin its answer. Default: `10m`. */
  responseTimeout?: Duration;
  /** Whether an update of the credentials waits for running requests. Default: `drain`. */
  credentialsUpdate?: 'drain' | 'immediate';
  /** For how long it waits. Default: `5s`. */
  drainTimeout?: Duration;
  /** One line of text or one JSON object for each log entry on stderr. Default: `text`. */
  logFormat?: NativeOptions['logFormat'];
  /** The least level that is logged; every request is `info`. Default: `info`. */
  logLevel?: NativeOptions['logLevel'];
}

/** One row of the table. */
export type Row = {
  /** Long name on the command line, without dashes. */
  readonly flag: string;
  readonly short?: string;
  /** One sentence of help. */
  readonly help: string;
} & (
  | { readonly kind: 'switch' }
  | ({
      /** What stands for the value in the help. */
      readonly value: string;
    } & (
      | { readonly kind: 'text' | 'texts' }
      | { readonly kind: 'port'; readonly default: number }
      | { readonly kind: 'duration' | 'size'; readonly default: string }
      | { readonly kind: 'choice'; readonly choices: readonly string[]; readonly default: string }
    ))
);

/** The table: everything that can be set beside credentials and scopes. */
export const SETTINGS = {
  port: {
    flag: 'port',
    short: 'p',
    kind: 'port',
    value: 'port',
    default: 8080,
    help: 'Port to listen on; 0 takes a free one',
  },
  ipAddresses: {
    flag: 'ip-address',
    short: 'i',
    kind: 'texts',
    value: 'address',
    help: 'IPv4 or IPv6 address to listen on, all interfaces when not given; may be repeated',
  },
  allowedUser: {
    flag: 'allowed-user',
    kind: 'text',
    value: 'username',
    help: 'Only serve connections of this OS user and of root',
  },
  allowedNetwork: {
    flag: 'allowed-network',
    kind: 'text',
    value: 'cidr',
    help:
      'With --allowed-user: also serve peers in this network that the kernel cannot look up, ' +
      'such as containers behind a bridge',
  },
  allowCrossSite: {
    flag: 'allow-cross-site',
    kind: 'switch',
    help: 'Serve requests that web pages of other origins make',
  },
  hosts: {
    flag: 'host',
    kind: 'texts',
    value: 'name',
    help: 'Public name by which clients may call the proxy, * for any; may be repeated',
  },
  retryFirst: {
    flag: 'retry-first',
    kind: 'duration',
    value: 'duration',
    default: '500ms',
    help: 'Pause before the second try of a request',
  },
  retryCap: {
    flag: 'retry-cap',
    kind: 'duration',
    value: 'duration',
    default: '60s',
    help: 'Longest pause between tries',
  },
  retryFor: {
    flag: 'retry-for',
    kind: 'duration',
    value: 'duration',
    default: '15m',
    help: 'How long a request is tried again; 0 for a single try',
  },
  replayLimit: {
    flag: 'replay-limit',
    kind: 'size',
    value: 'size',
    default: '10MiB',
    help: "How much of a request's body is kept for another try",
  },
  replayTotal: {
    flag: 'replay-total',
    kind: 'size',
    value: 'size',
    default: '64MiB',
    help: "How much of all requests' bodies is kept",
  },
  headerTimeout: {
    flag: 'header-timeout',
    kind: 'duration',
    value: 'duration',
    default: '30s',
    help: "How long a request's head may take to come in",
  },
  responseTimeout: {
    flag: 'response-timeout',
    kind: 'duration',
    value: 'duration',
    default: '10m',
    help: 'How long upstream may take to begin its answer',
  },
  credentialsUpdate: {
    flag: 'credentials-update',
    kind: 'choice',
    value: 'how',
    choices: ['drain', 'immediate'],
    default: 'drain',
    help: 'Whether new credentials wait for running requests',
  },
  drainTimeout: {
    flag: 'drain-timeout',
    kind: 'duration',
    value: 'duration',
    default: '5s',
    help: 'How long new credentials wait for running requests',
  },
  logFormat: {
    flag: 'log-format',
    kind: 'choice',
    value: 'format',
    choices: ['text', 'json'],
    default: 'text',
    help: 'Form of the log on stderr',
  },
  logLevel: {
    flag: 'log-level',
    kind: 'choice',
    value: 'level',
    choices: ['error', 'warn', 'info', 'debug'],
    default: 'info',
    help: 'Least level that is logged; every request is info',
  },
} as const satisfies Record<keyof Settings, Row>;

/** Settings as the core takes them. */
type Decided = Omit<NativeOptions, 'rootUrl' | 'credentials' | 'authorizedScopes'>;

/** How an error calls a setting: by its key in the API, by its flag on the command line. */
export type NameOf = (key: keyof Settings) => string;

/**
 * Checks settings and fills in the defaults.
 *
 * @throws {@link OptionsError}
 */
export function decide(settings: Settings, name: NameOf = (key) => key): Decided {
  const duration = (key: KeyOfKind<'duration'>) =>
    readDuration(settings[key] ?? SETTINGS[key].default, name(key));
  const size = (key: KeyOfKind<'size'>) =>
    readSize(settings[key] ?? SETTINGS[key].default, name(key));
  const drainTimeout = duration('drainTimeout');
  const update = choose('credentialsUpdate', settings, name);
  return {
    port: checkPort(settings.port ?? SETTINGS.port.default),
    ipAddresses: [...(settings.ipAddresses ?? [])],
    allowedUser: settings.allowedUser || undefined,
    allowedNetwork: settings.allowedNetwork || undefined,
    allowCrossSite: settings.allowCrossSite ?? false,
    hosts: [...(settings.hosts ?? [])],
    retryFirst: duration('retryFirst'),
    retryCap: duration('retryCap'),
    retryFor: duration('retryFor'),
    replayLimit: size('replayLimit'),
    replayTotal: size('replayTotal'),
    headerTimeout: duration('headerTimeout'),
    responseTimeout: duration('responseTimeout'),
    drainTimeout: update === 'drain' ? drainTimeout : undefined,
    logFormat: choose('logFormat', settings, name),
    logLevel: choose('logLevel', settings, name),
  };
}

type KeyOfKind<K extends Row['kind']> = {
  [Key in keyof typeof SETTINGS]: (typeof SETTINGS)[Key]['kind'] extends K ? Key : never;
}[keyof typeof SETTINGS];

function checkPort(port: number): number {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new OptionsError(`port ${port} is not in range [0,65535]`);
  }
  return port;
}

/** A port as the command line has it: decimal digits, as Go reads them. */
export function readPort(text: string): number {
  if (!/^\+?0*[0-9]{1,5}$/.test(text)) {
    throw new OptionsError(`port ${text} is not in range [0,65535]`);
  }
  return checkPort(Number(text));
}

/** A year: the clock arithmetic of every platform bears it. */
const LONGEST = 365 * 24 * 3_600_000;

const MILLISECONDS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** @returns Milliseconds, rounded up so that little never becomes nothing. */
export function readDuration(value: Duration, name: string): number {
  const [, digits, unit] = /^([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)$/.exec(`${value}`) ?? [];
  const amount =
    typeof value === 'number' || value === '0'
      ? Number(value)
      : Number(digits) * (MILLISECONDS[unit ?? ''] ?? Number.NaN);
  if (!(amount >= 0 && amount <= LONGEST)) {
    throw new OptionsError(
      `${name} ${value} is not a duration of at most a year: write it as 500ms, 30s, 15m or 1h`,
    );
  }
  return Math.ceil(amount);
}

const BYTES: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** @returns Bytes, rounded down to whole ones. */
export function readSize(value: Size, name: string): number {
  const [, digits, unit] = /^([0-9]+(?:\.[0-9]+)?)(B|KiB|MiB|GiB)$/.exec(`${value}`) ?? [];
  const amount =
    typeof value === 'number' || value === '0'
      ? Number(value)
      : Number(digits) * (BYTES[unit ?? ''] ?? Number.NaN);
  if (!(amount >= 0 && amount <= Number.MAX_SAFE_INTEGER)) {
    throw new OptionsError(
      `${name} ${value} is not a size: write it as 512B, 64KiB, 10MiB or 1GiB`,
    );
  }
  return Math.floor(amount);
}

function choose<K extends KeyOfKind<'choice'>>(
  key: K,
  settings: Settings,
  name: NameOf,
): NonNullable<Settings[K]> {
  const { choices, default: fallback } = SETTINGS[key];
  const value: string = settings[key] ?? fallback;
  const choice = choices.find((known) => known === value);
  if (choice === undefined) {
    throw new OptionsError(`${name(key)} ${value} is not one of ${choices.join(', ')}`);
  }
  return choice as NonNullable<Settings[K]>;
}
