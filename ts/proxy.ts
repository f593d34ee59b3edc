/**
 * Starts, updates and stops a proxy in this process. `options.ts` and `credentials.ts` check options and
 * credentials, the core checks the rest.
 */
import { OptionsError } from './check.js';
import {
  type Credentials,
  CredentialsError,
  checkPassed,
  parseCredentials,
} from './credentials.js';
import {
  type NativeCounters as Counters,
  type NativeProxy,
  type NativeVerdict,
  native,
} from './native.js';
import { type Duration, decide, type NameOf, type ProxyOptions, readDuration } from './options.js';
import { API_KEYS, type Row, SETTINGS } from './settings.js';

/** A running proxy. */
export interface Proxy {
  /** URL of each listener with its actual port, such as `http://127.0.0.1:54321`. */
  readonly addresses: readonly string[];
  counters(): Counters;
  /**
   * Replaces the credential set, as `PUT /credentials` does; resolves once the new set is in force.
   * Authorised scopes stay.
   *
   * @throws {@link CredentialsError} The old set stays in force.
   * @throws {@link StoppedError} The proxy has been stopped.
   */
  updateCredentials(credentials: Credentials): Promise<void>;
  /** Continues the audit log in a new file at its path, after the old file was moved away. */
  reopenAuditLog(): void;
  /**
   * Stops accepting, lets running requests finish within `grace` (default `30s`), and resolves when all
   * have ended. Further calls wait for the same end.
   *
   * @throws {@link OptionsError} `grace` is not a duration.
   */
  stop(grace?: Duration): Promise<void>;
}

/** A listener could not be opened. */
export class ListenError extends Error {
  override readonly name = 'ListenError';
  /** `ERR_PORT_IN_USE` where another process has the port, else `ERR_LISTEN`. */
  readonly code: 'ERR_PORT_IN_USE' | 'ERR_LISTEN';

  constructor(code: ListenError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

/** The proxy has been stopped. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError';
  readonly code = 'ERR_STOPPED';

  constructor() {
    super('the proxy has been stopped: start another one');
  }
}

/** The default of {@link Proxy.stop}. */
const GRACE = '30s';

/** What differs between a start by the API and one by the command line. */
interface Manner {
  /** The name of a setting in an error. */
  readonly name: NameOf;
  /** {@link native.lookup} has already logged the warnings of the start. */
  readonly warned: boolean;
}

/** Starts a proxy. Throws the errors of `startProxy` of the API. */
export async function start(options: ProxyOptions, { name, warned }: Manner): Promise<Proxy> {
  const settings = decide(options, name);
  const { rootUrl } = options;
  if (rootUrl === undefined) {
    throw new OptionsError(`${name('rootUrl')} is missing: pass the root URL of the deployment`);
  }
  const credentials = checkPassed(options.credentials);
  try {
    const decided = { ...settings, rootUrl, credentials, warned };
    return new RunningProxy(await native.startProxy(decided, judge));
  } catch (error) {
    throw typed(error as Error & { code?: string }, name);
  }
}

/** Validates the body of a `PUT /credentials` for the core. */
function judge(body: Uint8Array): NativeVerdict {
  try {
    return { credentials: parseCredentials(body) };
  } catch (error) {
    if (error instanceof CredentialsError) {
      return { reason: error.message };
    }
    throw error;
  }
}

function typed(error: Error & { code?: string }, name: NameOf): Error {
  switch (error.code) {
    case 'ERR_OPTIONS':
      return new OptionsError(renamed(error.message, name));
    case 'ERR_CREDENTIALS':
      return new CredentialsError(error.message);
    case 'ERR_PORT_IN_USE':
    case 'ERR_LISTEN':
      return new ListenError(error.code, error.message);
    default:
      return error;
  }
}

/** Renames the flags in the core's errors. */
function renamed(message: string, name: NameOf): string {
  return message.replace(/--[a-z]+(-[a-z]+)*/g, (flag) => {
    const key = API_KEYS.find((known) => `--${(SETTINGS[known] as Row).flag}` === flag);
    return key === undefined ? flag : name(key);
  });
}

/** Running proxies: a reference keeps the garbage collector from stopping them. */
const running = new Set<RunningProxy>();

class RunningProxy implements Proxy {
  readonly addresses: readonly string[];
  readonly #native: NativeProxy;
  #stopped: Promise<void> | undefined;

  constructor(proxy: NativeProxy) {
    this.#native = proxy;
    this.addresses = proxy.addresses().map((address) => `http://${address}`);
    running.add(this);
  }

  counters(): Counters {
    return this.#native.counters();
  }

  async updateCredentials(credentials: Credentials): Promise<void> {
    const checked = checkPassed(credentials);
    if (this.#stopped !== undefined) {
      throw new StoppedError();
    }
    await this.#native.updateCredentials(checked);
  }

  reopenAuditLog(): void {
    this.#native.reopenAuditLog();
  }

  async stop(grace: Duration = GRACE): Promise<void> {
    const milliseconds = readDuration(grace, 'grace');
    this.#stopped ??= this.#native.stop(milliseconds);
    await this.#stopped;
    running.delete(this);
  }
}
