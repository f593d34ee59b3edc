// Clients that put load on a peer, as programs of their own, so that their CPU time is counted apart.
// wrk sends small requests as fast as they are answered, curl stands for a user without a proxy, and
// bench/load does the rest.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { BenchError, findProgram } from './program.js';

export interface Load {
  /** Requests that were answered with 2xx. */
  readonly requests: number;
  readonly perSecond: number;
}

export function findWrk(): string | undefined {
  return findProgram('wrk');
}

/**
 * As many requests as `connections` can carry, each sent when the one before it is answered.
 *
 * @param seconds - Whole seconds.
 * @param script - A file of Lua that says what is sent; GETs without one.
 */
export async function runWrk(
  url: string,
  connections: number,
  seconds: number,
  script?: string,
): Promise<Load> {
  const wrk = findWrk();
  if (wrk === undefined) {
    throw new BenchError('wrk is not installed');
  }
  const how = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s'];
  const args = [...how, ...(script === undefined ? [] : ['-s', script]), url];
  const child = spawn(wrk, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [told] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  const failures = /Non-2xx.*|Socket errors.*[1-9].*/.exec(told)?.[0];
  const requests = Number(/(\d+) requests in/.exec(told)?.[1]);
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(told)?.[1]);
  if (failures !== undefined || !(requests > 0)) {
    throw new BenchError(`not every request to ${url} was answered with 2xx:\n${told}`);
  }
  return { requests, perSecond };
}

export function findCurl(): string | undefined {
  return findProgram('curl');
}

/**
 * One whole answer of `length` bytes, by what curl chooses of what it is offered.
 *
 * @param authority - PEM that it trusts.
 */
export async function runCurl(url: string, authority: string, length: number): Promise<Transfer> {
  const how = ['-q', '--silent', '--show-error', '--fail', '--cacert', authority];
  const tell = ['--output', '/dev/null', '--write-out', '%{size_download} %{time_total}'];
  const child = spawn(findCurl() ?? 'curl', [...how, ...tell, '--noproxy', '*', url], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit');
  const [told, problem] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  const [bytes = Number.NaN, seconds = Number.NaN] = told.split(' ').map(Number);
  if (child.exitCode !== 0 || bytes !== length) {
    throw new BenchError(`curl ${url} got ${bytes} of ${length} bytes: ${problem}`);
  }
  return { seconds };
}

interface Target {
  port: number;
  /** The request target. */
  path: string;
}

interface Rate extends Target {
  /** Requests a second. */
  rate: number;
  seconds: number;
  connections: number;
  /** Each request has a connection of its own. */
  isFresh?: boolean;
  /** The user who makes the connections. */
  uid?: number;
}

interface Downloads extends Target {
  connections: number;
  /** Bytes of all answers together. */
  bytes: number;
}

/** In seconds. */
export interface Latencies {
  readonly requests: number;
  readonly p50: number;
  readonly p99: number;
}

export interface Transfer {
  readonly seconds: number;
}

/** The clients of bench/load; its own documentation says what each does. */
export class LoadProgram {
  readonly file: string;

  /** @param file - Its path. */
  constructor(file: string) {
    this.file = file;
  }

  rate({ rate, seconds, connections, isFresh = false, uid, ...target }: Rate): Promise<Latencies> {
    const how = ['--rate', rate, '--seconds', seconds, '--connections', connections];
    return this.#run('rate', target, [...how, ...(isFresh ? ['--fresh'] : [])], uid);
  }

  connections({ count, ...target }: Target & { count: number }): Promise<{ seconds: number }> {
    return this.#run('connections', target, ['--count', count]);
  }

  /** @returns the time until the last of `connections` answers at once was whole. */
  async down({ connections, bytes, ...target }: Downloads): Promise<Transfer> {
    const how = ['--connections', connections];
    const done = await this.#run<Transfer & { bytes: number }>('down', target, how);
    if (done.bytes !== bytes) {
      throw new BenchError(`${done.bytes} of ${bytes} bytes came down from port ${target.port}`);
    }
    return done;
  }

  /** @returns seconds from a request to the first byte of the answer's body: the median of `count`. */
  first({ count, ...target }: Target & { count: number }): Promise<{ first: number }> {
    return this.#run('first', target, ['--count', count]);
  }

  up({ bytes, ...target }: Target & { bytes: number }): Promise<Transfer> {
    return this.#run('up', target, ['--bytes', bytes]);
  }

  /** Connections of `uid` as fast as they can be made. */
  flood(port: number, seconds: number, uid: number): Promise<{ connections: number }> {
    const how = ['--seconds', seconds, '--connections', 8];
    return this.#run('flood', { port, path: '/' }, how, uid);
  }

  async #run<T>(
    mode: string,
    target: Target,
    more: readonly (string | number)[],
    uid?: number,
  ): Promise<T> {
    const where = ['--target', `127.0.0.1:${target.port}`, '--path', target.path];
    const child = spawn(this.file, [mode, ...where, ...more.map(String)], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(uid === undefined ? {} : { uid, gid: uid }),
    });
    const ended = once(child, 'exit');
    const [told, problem] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
    if (child.exitCode !== 0) {
      throw new BenchError(`load ${mode} from port ${target.port} failed: ${problem}`);
    }
    return JSON.parse(told) as T;
  }
}

/** @param directory - Where other users may run it. */
export function buildLoadProgram(directory: string): LoadProgram {
  const args = ['build', '--release', '-p', 'taskcluster-proxy-load'];
  const format = ['--message-format', 'json-render-diagnostics'];
  const built = spawnSync('cargo', [...args, ...format], {
    cwd: path.resolve(import.meta.dirname, '..'),
    encoding: 'utf8',
  });
  const file = /"executable":"([^"]+)"/.exec(built.stdout ?? '')?.[1];
  if (file === undefined) {
    throw new BenchError(`bench/load cannot be built: ${built.error ?? built.stderr}`);
  }
  const copy = path.join(directory, 'load');
  copyFileSync(file, copy);
  chmodSync(copy, 0o755);
  return new LoadProgram(copy);
}
