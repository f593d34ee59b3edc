/**
 * The API of taskcluster-proxy: a proxy in this process, and Hawk as Taskcluster uses it.
 *
 * ```ts
 * import { startProxy } from 'taskcluster-proxy';
 *
 * const proxy = await startProxy({
 *   rootUrl: 'https://tc.example.com',
 *   credentials: { clientId: 'project/builder', accessToken: '...' },
 *   authorizedScopes: ['queue:create-artifact:*'],
 *   ipAddresses: ['127.0.0.1'],
 *   port: 0,
 * });
 * await fetch(`${proxy.addresses[0]}/queue/v1/ping`);
 * await proxy.stop();
 * ```
 *
 * Requests are served on threads of their own and never enter JavaScript.
 *
 * @module taskcluster-proxy
 */
import { OptionsError } from './check.js';
import {
  type Credentials,
  CredentialsError,
  checkCredentials,
  parseCredentials,
} from './credentials.js';
import {
  type NativeCounters as Counters,
  type NativeProxy,
  type NativeVerdict,
  native,
} from './native.js';
import { type Duration, decide, type ProxyOptions, readDuration } from './options.js';

export { OptionsError } from './check.js';
export { type Credentials, CredentialsError } from './credentials.js';
export {
  type BewitOptions,
  checkBewit,
  createTemporaryCredentials,
  HawkError,
  type HawkRequest,
  makeBewit,
  type SignOptions,
  signHeader,
  type TemporaryCredentials,
  type TemporaryOptions,
  type Verified,
  type VerifyOptions,
  verifyHeader,
} from './hawk.js';
export { MissingBinaryError, type NativeCounters as Counters } from './native.js';
export type {
  Duration,
  ProxyOptions,
  Settings,
  Size,
} from './options.js';

/** A running proxy. */
export interface Proxy {
  /** URL of each listener with its true port, such as `http://127.0.0.1:54321`. */
  readonly addresses: readonly string[];
  counters(): Counters;
  /**
   * Puts another set in force, as `PUT /credentials` does; resolves once it is. Authorised scopes
   * stay.
   *
   * @throws {@link CredentialsError} The set in force stays.
   * @throws {@link StoppedError} The proxy has been stopped.
   */
  updateCredentials(credentials: Credentials): Promise<void>;
  /**
   * Stops accepting, lets running requests finish within `grace` (default `30s`), and resolves when
   * nothing runs any more. Further calls wait for the same end.
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

/** The version of this package. */
export const version: string = native.version();

/** The git revision that the binary was built from; `unknown` for a build outside a checkout. */
export const revision: string = native.revision();

/**
 * Closes this process to debuggers, core dumps and the other processes of its user, as far as the
 * platform can; meant for a process that is nothing but a proxy. There is no way back.
 *
 * Linux: not dumpable, no core file. macOS: no debugger, no core file. FreeBSD: no tracing, no core
 * file. Windows: the owner may only wait for the process and end it. Everywhere but on Windows
 * SIGUSR1 no longer opens Node's inspector.
 */
export function hardenProcess(): void {
  native.hardenProcess();
}

/** The default of {@link Proxy.stop}. */
const GRACE = '30s';

/**
 * Starts a proxy in this process. All listeners accept when the promise resolves, and the process
 * lives until {@link Proxy.stop}.
 *
 * @throws {@link OptionsError} An option is missing or wrong, or asks for what the platform cannot.
 * @throws {@link CredentialsError} The credentials cannot be used.
 * @throws {@link ListenError} A listener could not be opened.
 */
export async function startProxy(options: ProxyOptions): Promise<Proxy> {
  const settings = decide(options);
  const { rootUrl } = options;
  if (rootUrl === undefined) {
    throw new OptionsError('rootUrl is missing: pass the root URL of the deployment');
  }
  const decided = { ...settings, rootUrl, credentials: checkCredentials(options.credentials) };
  try {
    return new RunningProxy(await native.startProxy(decided, judge));
  } catch (error) {
    throw typed(error as Error & { code?: string });
  }
}

/** What the core asks about the body of a `PUT /credentials`. */
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

function typed(error: Error & { code?: string }): Error {
  switch (error.code) {
    case 'ERR_OPTIONS':
      return new OptionsError(error.message);
    case 'ERR_CREDENTIALS':
      return new CredentialsError(error.message);
    case 'ERR_PORT_IN_USE':
    case 'ERR_LISTEN':
      return new ListenError(error.code, error.message);
    default:
      return error;
  }
}

/** Keeps proxies that run from the garbage collector, which would stop those nobody refers to. */
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
    const checked = checkCredentials(credentials);
    if (this.#stopped !== undefined) {
      throw new StoppedError();
    }
    await this.#native.updateCredentials(checked);
  }

  async stop(grace: Duration = GRACE): Promise<void> {
    const milliseconds = readDuration(grace, 'grace');
    this.#stopped ??= this.#native.stop(milliseconds);
    await this.#stopped;
    running.delete(this);
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
