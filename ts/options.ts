/**
 * The options of a proxy, and their conversion to the options of the core. `check.ts` checks names and
 * kinds; this module reads durations, sizes, ports and choices and fills in defaults; the core checks
 * addresses, root URLs, users, hosts and networks.
 */
import { checkValue, OptionsError, refuseUnknown } from './check.js';
import type { Credentials } from './credentials.js';
import type { NativeOptions } from './native.js';
import { API_KEYS, type ApiKey, type KeyOfKind, type Row, SETTINGS } from './settings.js';

/** Milliseconds, or text such as `500ms`, `30s`, `15m`, `1h`. */
export type Duration = number | string;

/** Bytes, or text such as `64KiB`, `10MiB`. */
export type Size = number | string;

/** The optional settings of `startProxy`, beside the credentials and their restriction. */
export interface Settings {
  /** Port of every listener, 0 to 65535; 0 takes a free one. Default: 8080. */
  port?: number;
  /** IPv4 and IPv6 addresses to listen on. Default: all interfaces. */
  ipAddresses?: readonly string[];
  /** Serve only connections of this OS user and root. Refused on platforms that cannot check the user. */
  allowedUser?: string;
  /** Also serve peers in these CIDRs that this network namespace cannot see; beside `allowedUser`. */
  allowedNetwork?: string | readonly string[];
  /** Serve requests that a web page of another origin made. Default: false. */
  allowCrossSite?: boolean;
  /** Names beside the private ones that a request's `Host` may hold; `*` for all. */
  hosts?: readonly string[];
  /**
   * Hosts that requests are signed for beside the deployment: names, `*.example.com`, `*`, or `none`
   * alone. Default: any that is neither this machine nor on its link.
   */
  upstreamHosts?: readonly string[];
  /** Pause before the second try of a request. Default: `500ms`. */
  retryFirst?: Duration;
  /** Longest pause between tries. Default: `60s`. */
  retryCap?: Duration;
  /** For how long a request is tried again; 0 for a single try. Default: `15m`. */
  retryFor?: Duration;
  /** Bytes of one request's body that are kept for another try. Default: `10MiB`. */
  replayLimit?: Size;
  /** Bytes of all requests' bodies that are kept. Default: `64MiB`. */
  replayTotal?: Size;
  /** How long a request's head may take to come in. Default: `30s`. */
  headerTimeout?: Duration;
  /** How long upstream may take to begin its answer. Default: `10m`. */
  responseTimeout?: Duration;
  /** Offer HTTP/2 to https upstreams, beside HTTP/1.1. Default: false. */
  upstreamHttp2?: boolean;
  /** Whether an update of the credentials waits for running requests. Default: `drain`. */
  credentialsUpdate?: 'drain' | 'immediate';
  /** For how long it waits. Default: `5s`. */
  drainTimeout?: Duration;
  /**
   * Absolute path of a file to which each request adds a JSON line. After moving the file away, call
   * {@link Proxy.reopenAuditLog}.
   */
  auditLog?: string;
  /** Sign nothing while the audit log cannot be written. Default: false. */
  auditRequired?: boolean;
  /** One line of text or one JSON object for each log entry on stderr. Default: `text`. */
  logFormat?: NativeOptions['logFormat'];
  /** The least level that is logged; every request is `info`. Default: `info`. */
  logLevel?: NativeOptions['logLevel'];
}

/** Everything that a proxy can be started with. */
export interface ProxyOptions extends Settings {
  /** Root URL of the deployment: http or https, no user, path, query or fragment. */
  rootUrl: string;
  /** The credential set in force until {@link Proxy.updateCredentials} or a `PUT /credentials`. */
  credentials: Credentials;
  /**
   * `authorizedScopes` of every signature. Absent: no restriction. An empty list is the empty
   * restriction: it grants nothing.
   */
  authorizedScopes?: readonly string[];
}

/** Options as the core takes them, without the root URL and the credentials. */
type Decided = Omit<NativeOptions, 'rootUrl' | 'credentials' | 'warned'>;

/** The name of a setting in an error: its key in the API, its flag on the command line. */
export type NameOf = (key: ApiKey) => string;

/**
 * Checks options of any origin and fills in the defaults. Root URL and credentials may be absent.
 *
 * @throws {@link OptionsError}
 */
export function decide(options: unknown, name: NameOf = (key) => key): Decided {
  const given = checkOptions(options, name);
  const duration = (key: KeyOfKind<'duration'>) =>
    readDuration(given[key] ?? SETTINGS[key].default, name(key));
  const size = (key: KeyOfKind<'size'>) => readSize(given[key] ?? SETTINGS[key].default, name(key));
  const drainTimeout = duration('drainTimeout');
  const update = choose('credentialsUpdate', given, name);
  return {
    authorizedScopes: given.authorizedScopes,
    port: checkPort(given.port ?? SETTINGS.port.default),
    ipAddresses: given.ipAddresses ?? [],
    allowedUser: given.allowedUser,
    allowedNetworks: given.allowedNetwork ?? [],
    allowCrossSite: given.allowCrossSite ?? false,
    hosts: given.hosts ?? [],
    upstreamHosts: given.upstreamHosts ?? [],
    retryFirst: duration('retryFirst'),
    retryCap: duration('retryCap'),
    retryFor: duration('retryFor'),
    replayLimit: size('replayLimit'),
    replayTotal: size('replayTotal'),
    headerTimeout: duration('headerTimeout'),
    responseTimeout: duration('responseTimeout'),
    upstreamHttp2: given.upstreamHttp2 ?? false,
    drainTimeout: update === 'drain' ? drainTimeout : undefined,
    audit: auditOf(given, name),
    logFormat: choose('logFormat', given, name),
    logLevel: choose('logLevel', given, name),
  };
}

function auditOf(given: Checked, name: NameOf): NativeOptions['audit'] {
  const { auditLog: path, auditRequired: required = false } = given;
  if (path === undefined) {
    if (required) {
      throw new OptionsError(`${name('auditRequired')} needs ${name('auditLog')} beside it`);
    }
    return undefined;
  }
  return { path, required };
}

/** Returns options with the names and kinds of the table; a single value becomes an array. */
type Checked = {
  [Key in ApiKey]?: Key extends KeyOfKind<'text'>
    ? (typeof SETTINGS)[Key] extends { many: string }
      ? string[]
      : string
    : ProxyOptions[Key];
};

function checkOptions(options: unknown, name: NameOf): Checked {
  refuseUnknown(options, API_KEYS, 'startProxy');
  const checked: Record<string, unknown> = {};
  for (const key of API_KEYS.filter((known) => known in options)) {
    const row: Row = SETTINGS[key];
    const value = options[key];
    // An unset variable must not lift a restriction.
    if (value !== undefined || row.restricts === 'by being given') {
      checked[key] = checkValue(value, row, name(key));
    }
  }
  return checked as Checked;
}

// === Ports, durations, sizes, choices ===

function checkPort(port: number): number {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new OptionsError(`port ${port} is not in range [0,65535]`);
  }
  return port;
}

/** Reads a port of the command line: decimal digits, as Go reads them. */
export function readPort(text: string): number {
  if (!/^\+?0*[0-9]{1,5}$/.test(text)) {
    throw new OptionsError(`port ${text} is not in range [0,65535]`);
  }
  return checkPort(Number(text));
}

// `ms` and `bytes` accept slips: to `ms` a text without unit is milliseconds, and `bytes` reads `5MiB` as 5.

/** A year, which the clock arithmetic of every platform supports. */
const LONGEST = 365 * 24 * 3_600_000;

const MILLISECONDS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** @returns Milliseconds, rounded up so that a short duration never becomes 0. */
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

/** @returns Bytes, rounded down. */
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
  given: Checked,
  name: NameOf,
): NonNullable<Settings[K]> {
  const { choices, default: fallback } = SETTINGS[key];
  const value: string = given[key] ?? fallback;
  const choice = choices.find((known) => known === value);
  if (choice === undefined) {
    throw new OptionsError(`${name(key)} ${value} is not one of ${choices.join(', ')}`);
  }
  return choice as NonNullable<Settings[K]>;
}
