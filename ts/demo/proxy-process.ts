/**
 * Starts `taskcluster-proxy` as generic-worker does: port, root URL, address and scopes as
 * arguments, credentials in the environment, ready when its port takes a connection; credentials
 * are renewed by `PUT /credentials`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
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
  /** Resolves when it has ended, with the last that it said. */
  readonly ended: Promise<string>;
  /** From now on, hears each line that the proxy logs. */
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
  const port = await freePort(options.port);
  const { clientId, accessToken, certificate } = options.credentials;
  const child = spawn(
    process.execPath,
    [
      COMMAND,
      '--port',
      String(port),
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
      stdio: ['ignore', 'ignore', 'pipe'],
      // A group of its own: Ctrl-C is for us, and we then stop it in good order.
      detached: process.platform !== 'win32',
    },
  );
  const guard = guardAgainstOrphan(child);
  const proxy = new RunningProxy(`http://${HOST}:${port}`, child);
  void proxy.ended.then(() => guard?.kill('SIGKILL'));
  await proxy.ready(port);
  return proxy;
}

class RunningProxy implements ProxyProcess {
  readonly url: string;
  readonly ended: Promise<string>;
  onLog: (line: string) => void = () => undefined;
  readonly #child: ChildProcess;
  #hasEnded = false;

  constructor(url: string, child: ChildProcess) {
    this.url = url;
    this.#child = child;
    let last = '';
    if (child.stderr !== null) {
      createInterface(child.stderr).on('line', (line) => {
        last = line;
        this.onLog(line);
      });
    }
    this.ended = once(child, 'close').then(([code, signal]: unknown[]) => {
      this.#hasEnded = true;
      return `taskcluster-proxy ended with ${signal ?? code}: ${last}`;
    });
  }

  async ready(port: number): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT;
    while (!(await accepts(port))) {
      if (this.#hasEnded) {
        throw new Error(await this.ended);
      }
      if (Date.now() > deadline) {
        this.#child.kill('SIGKILL');
        throw new Error(`taskcluster-proxy does not accept connections on port ${port}`);
      }
      await pause(20);
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
 * Ends the child when this process ends in a way that it cannot handle, such as SIGKILL: a shell
 * waits for the end of a pipe whose other end only we hold. Windows has no such shell.
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

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, HOST);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** A port that nobody listens on: this one, or any. Rejects as listening does. */
async function freePort(port = 0): Promise<number> {
  const server = createServer().listen(port, HOST);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (typeof address !== 'object' || address === null) {
    throw new Error('the system gave no free port');
  }
  return address.port;
}
