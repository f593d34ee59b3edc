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
 * The core serves requests on its own threads; they never enter JavaScript.
 *
 * @module taskcluster-proxy
 */
import { OptionsError } from './check.js';
import { native } from './native.js';
import type { ProxyOptions } from './options.js';
import { type Proxy as RunningProxy, start } from './proxy.js';

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
export { ListenError, type Proxy, StoppedError } from './proxy.js';

/** The version of this package. */
export const version: string = native.version();

/** The git revision that the binary was built from; `unknown` for a build outside a checkout. */
export const revision: string = native.revision();

/**
 * Closes this process to debuggers, core dumps and the other processes of its user, as far as the
 * platform can; meant for a process that only runs a proxy. It cannot be undone.
 *
 * Linux: not dumpable, no core file. macOS: no debugger, no core file. FreeBSD: no tracing, no core
 * file. Windows: the owner may only wait for the process and end it. Everywhere but on Windows
 * SIGUSR1 no longer opens Node's inspector.
 */
export function hardenProcess(): void {
  native.hardenProcess();
}

/**
 * Starts a proxy in this process. All listeners accept when the promise resolves, and the process
 * lives until {@link Proxy.stop}.
 *
 * @throws {@link OptionsError} An option is missing or wrong, or asks for what the platform cannot.
 * @throws {@link CredentialsError} The credentials cannot be used.
 * @throws {@link ListenError} A listener could not be opened.
 */
export async function startProxy(options: ProxyOptions, ...others: never[]): Promise<RunningProxy> {
  if (others.length > 0) {
    throw new OptionsError('startProxy is given more than one value: pass one object of options');
  }
  return start(options, { name: (key) => key, warned: false });
}
