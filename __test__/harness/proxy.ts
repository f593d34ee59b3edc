// The proxy under test: the command itself, started as a worker starts it, in a separate process with
// only the environment that the test gives.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { COMMAND } from './command.js';
import { Connection, type RawResponse } from './connection.js';
import { copyForOthers } from './copy.js';
import { gate, within } from './deadline.js';
import { type CredentialSet, permanentCredentials } from './signature.js';
import type { Fields } from './wire.js';

const ROOT = path.resolve(import.meta.dirname, '../..');

export interface ProxyOptions {
  rootUrl: string;
  credentials?: CredentialSet;
  /** Positional scopes. */
  scopes?: string[];
  /** Flags beside those that the harness gives. */
  flags?: string[];
  env?: Record<string, string>;
  /** What it listens on; none means everywhere. */
  addresses?: string[];
  /** The user it runs as, where the test is root. */
  uid?: number;
  /** How many descriptors it may open. */
  descriptors?: number;
  /** A descriptor of this process that it has as its fourth, number 3. */
  fourth?: number;
  /** The file that it finds at /etc/hosts, where the test is root on Linux. */
  hosts?: string;
}

export interface RequestParts {
  fields?: Fields;
  body?: string | Buffer;
}

export class RunningProxy {
  /** What it wrote to stderr so far. */
  log = '';
  readonly child: ChildProcess;
  readonly addresses: string[] = [];
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly connections = new Set<Connection>();
  #watchers: { pattern: RegExp; seen: (line: string) => void }[] = [];

  constructor(child: ChildProcess) {
    this.child = child;
    this.exited = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.log += text;
      for (const { pattern, seen } of this.#watchers) {
        const found = pattern.exec(this.log);
        if (found) {
          seen(found[0]);
        }
      }
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** The first address it listens on. */
  get url(): string {
    return this.addresses[0] ?? '';
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** A connection that is destroyed after the test, if not before. */
  async connect(): Promise<Connection> {
    const connection = await Connection.open(this.port);
    this.connections.add(connection);
    connection.socket.once('close', () => this.connections.delete(connection));
    return connection;
  }

  /** These bytes over a connection of their own, which is closed after the answer. */
  exchange(bytes: string | Buffer): Promise<RawResponse> {
    const answer = this.#exchange(bytes);
    // Tests let several run before they look at any.
    answer.catch(() => {});
    return answer;
  }

  /** One request with Host and Content-Length over a connection of its own. */
  request(method: string, target: string, parts: RequestParts = {}): Promise<RawResponse> {
    return this.exchange(requestBytes(method, target, parts));
  }

  get(target: string, fields: Fields = []): Promise<RawResponse> {
    return this.request('GET', target, { fields });
  }

  updateCredentials(body: CredentialSet | string | Buffer): Promise<RawResponse> {
    const bytes = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    return this.request('PUT', '/credentials', { body: bytes });
  }

  /** The first part of the log that matches, as soon as it is there. */
  logged(pattern: RegExp): Promise<string> {
    const found = pattern.exec(this.log);
    if (found) {
      return Promise.resolve(found[0]);
    }
    const seen = gate<string>();
    this.#watchers.push({ pattern, seen: seen.open });
    return within(seen.opened, `${pattern} in the log`);
  }

  /** How many requests run, without the one that asks. */
  async running(): Promise<number> {
    const { body } = await this.get('/__metrics__');
    return Number(/^taskcluster_proxy_running_requests (\d+)$/m.exec(`${body}`)?.[1]) - 1;
  }

  /** Highest resident memory since it started, in bytes (Linux). */
  peakMemory(): number {
    return this.#memory('VmHWM');
  }

  /** Resident memory. */
  memory(): number {
    return this.#memory('VmRSS');
  }

  #memory(name: string): number {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024;
  }

  async #exchange(bytes: string | Buffer): Promise<RawResponse> {
    const connection = await this.connect();
    try {
      return await connection.exchange(bytes);
    } finally {
      connection.destroy();
    }
  }
}

export async function startProxy(
  t: Pick<ExecutionContext, 'teardown'>,
  {
    rootUrl,
    credentials = permanentCredentials(),
    scopes = [],
    flags = [],
    env = {},
    addresses = ['127.0.0.1'],
    uid,
    descriptors,
    fourth,
    hosts,
  }: ProxyOptions,
): Promise<RunningProxy> {
  const listening = addresses.flatMap((address) => ['--ip-address', address]);
  const given = ['--port', '0', ...listening, '--root-url', rootUrl];
  const file = uid === undefined ? COMMAND : copyForOthers(t);
  const node = [process.execPath, file, ...flags, ...given, ...scopes];
  const mounted = ['unshare', '--mount', 'sh', '-c', 'mount --bind "$0" /etc/hosts && exec "$@"'];
  const command = hosts === undefined ? node : [...mounted, hosts, ...node];
  const [program = '', ...args] =
    descriptors === undefined
      ? command
      : ['sh', '-c', `ulimit -n ${descriptors}; exec "$@"`, 'sh', ...command];
  const child = spawn(program, args, {
    cwd: ROOT,
    env: { ...environment(credentials), ...env },
    stdio: ['ignore', 'pipe', 'pipe', ...(fourth === undefined ? [] : [fourth])],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const proxy = new RunningProxy(child);
  t.teardown(async () => {
    for (const connection of proxy.connections) {
      connection.destroy();
    }
    child.kill('SIGKILL');
    await proxy.exited;
  });
  await within(listens(proxy), 'the line `Listening on`');
  return proxy;
}

export function requestBytes(
  method: string,
  target: string,
  { fields = [], body }: RequestParts = {},
): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body) : (body ?? Buffer.alloc(0));
  const length: Fields = body === undefined ? [] : [['Content-Length', String(bytes.length)]];
  const lines = [['Host', 'taskcluster'], ...length, ...fields]
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('');
  const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines}\r\n`, 'latin1');
  return Buffer.concat([head, bytes]);
}

function environment({ clientId, accessToken, certificate }: CredentialSet) {
  const { PATH = '' } = process.env;
  return {
    PATH,
    TASKCLUSTER_CLIENT_ID: clientId,
    TASKCLUSTER_ACCESS_TOKEN: accessToken,
    ...(certificate === undefined ? {} : { TASKCLUSTER_CERTIFICATE: certificate }),
  };
}

/** One line per listener; the test gives one address, so the first line is the last. */
async function listens(proxy: RunningProxy): Promise<void> {
  const { child, addresses } = proxy;
  const line = gate();
  let text = '';
  child.stdout?.setEncoding('utf8').on('data', (part: string) => {
    text += part;
    const found = /^Listening on (http:\/\/\S+)\n/m.exec(text)?.[1];
    if (found && addresses.length === 0) {
      addresses.push(found);
      line.open();
    }
  });
  void proxy.exited.then(({ code }) => {
    line.fail(new Error(`the proxy ended with ${code} before it listened:\n${proxy.log}`));
  });
  await line.opened;
}
