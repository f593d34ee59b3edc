/**
 * Starts `taskcluster-proxy` as generic-worker does: port, root URL, address and scopes as
 * arguments, credentials in the environment; credentials are renewed by `PUT /credentials`. The proxy is
 * ready when it prints its address: a port that takes connections may belong to another process.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Credentials } from '../index.js';

export interface ProxyProcessOptions {
  readonly rootUrl: string;
  readonly credentials: Credentials;
  readonly authorizedScopes: readonly string[];
  /** A free one when absent or 0. */
  readonly port?: number | undefined;
}

/** A running proxy. */
export interface ProxyProcess {
  readonly url: string;
  /** Resolves with its last output when it has ended. */
  readonly ended: Promise<string>;
  /** Receives each further line of the proxy's log. */
  onLog: (line: string) => void;
  /** `PUT /credentials`. */
  updateCredentials(credentials: Credentials): Promise<void>;
  stop(): Promise<void>;
}

const HOST = '127.0.0.1';
const READY_TIMEOUT = 60_000;
const COMMAND = fileURLToPath(new URL('../cli/taskcluster-proxy.cjs', import.meta.url));

/** Starts the proxy and waits until it takes connections. */
export async function startProxyProcess(options: ProxyProcessOptions): Promise<ProxyProcess> {
  const { clientId, accessToken, certificate } = options.credentials;
  const child = spawn(
    process.execPath,
    [
      COMMAND,
      '--port',
      String(options.port ?? 0),
      '--root-url',
      options.rootUrl,
      '--ip-address',
      HOST,
      ...options.authorizedScopes,
    ],
    {
      env: {
        ...process.env,
        TASKCLUSTER_CLIENT_ID: clientId,
        TASKCLUSTER_ACCESS_TOKEN: accessToken,
        TASKCLUSTER_CERTIFICATE: certificate ?? '',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A separate process group: Ctrl-C reaches only the demo, which then stops the proxy in order.
      detached: process.platform !== 'win32',
    },
  );
  const guard = guardAgainstOrphan(child);
  const proxy = new RunningProxy(child);
  void proxy.ended.then(() => guard?.kill('SIGKILL'));
  await proxy.ready();
  return proxy;
}

type Child = ChildProcessByStdio<null, Readable, Readable>;

class RunningProxy implements ProxyProcess {
  url = '';
  readonly ended: Promise<string>;
  onLog: (line: string) => void = () => undefined;
  readonly #child: Child;
  #hasEnded = false;

  constructor(child: Child) {
    this.#child = child;
    let last = '';
    createInterface(child.stderr).on('line', (line) => {
      last = line;
      this.onLog(line);
    });
    this.ended = once(child, 'close').then(([code, signal]: unknown[]) => {
      this.#hasEnded = true;
      return `taskcluster-proxy ended with ${signal ?? code}: ${last}`;
    });
  }

  /** Waits until the proxy prints its address on its standard output. */
  async ready(): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), READY_TIMEOUT);
    for await (const line of createInterface(this.#child.stdout)) {
      const [, url] = /^Listening on (\S+)$/.exec(line) ?? [];
      if (url !== undefined) {
        this.url = url;
        break;
      }
    }
    clearTimeout(timer);
    // An unread pipe would hide the end of the child.
    this.#child.stdout.resume();
    if (this.url === '') {
      throw new Error(await this.ended);
    }
  }

  async updateCredentials(credentials: Credentials): Promise<void> {
    const response = await fetch(`${this.url}/credentials`, {
      method: 'PUT',
      body: JSON.stringify(credentials),
    });
    if (response.status !== 200) {
      throw new Error(`PUT /credentials: ${response.status} ${await response.text()}`);
    }
  }

  async stop(): Promise<void> {
    if (!this.#hasEnded) {
      this.#child.kill('SIGKILL');
    }
    await this.ended;
  }
}

/**
 * Ends the child when this process ends by a signal that it cannot handle, such as SIGKILL: a shell waits
 * for the end of a pipe, and only this process has the other end. Windows has no such shell.
 */
function guardAgainstOrphan({ pid }: ChildProcess): ChildProcess | undefined {
  if (process.platform === 'win32' || pid === undefined) {
    return undefined;
  }
  const guard = spawn('/bin/sh', ['-c', 'read -r _; kill -9 "$1"', 'sh', String(pid)], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', () => undefined).unref();
  return guard;
}
