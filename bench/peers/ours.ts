// The proxy of this repository: its command with an addon built for release, signing with permanent
// credentials, its log of every request in a file.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { unusedPort } from '../../__test__/harness/port.js';
import { BenchError, Program } from '../program.js';
import { rootUrl } from '../upstream.js';
import type { Destination, Peer } from './peer.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const STAGE = path.join(ROOT, 'build/bench');
const { TASKCLUSTER_PROXY_COMMAND } = process.env;
const COMMAND = 'dist/cli/taskcluster-proxy.cjs';

export const CREDENTIALS = {
  TASKCLUSTER_CLIENT_ID: 'project/bench',
  TASKCLUSTER_ACCESS_TOKEN: 'a-token-of-forty-four-characters-is-what-tc-has',
};

/** What the scenarios may vary. */
export interface OurOptions {
  flags?: string[];
}

export interface OurPeer extends Peer {
  /** What runs it, without flags. */
  readonly command: readonly string[];
  start(to: Destination, options?: OurOptions): ReturnType<Peer['start']>;
}

/**
 * A checkout's addon may be one without optimisations, so that the bench builds its own beside a
 * copy of the command; Cargo knows whether there is anything to do.
 * `TASKCLUSTER_PROXY_COMMAND` names another build of the command.
 */
export function ours(progress: (words: string) => void): OurPeer {
  const file = TASKCLUSTER_PROXY_COMMAND ?? stage(progress);
  const command = [process.execPath, file];
  const told = spawnSync(process.execPath, [file, '--version'], { encoding: 'utf8' });
  if (told.status !== 0) {
    throw new BenchError(`${file} --version failed:\n${told.stderr}`);
  }
  return {
    name: 'ours',
    command,
    version: told.stdout.trim().replace(/^Taskcluster proxy /, ''),
    settings:
      'default options but for the address it listens on; it signs every request, and logs it to ' +
      'a file; the TLS upstream verified',
    start: (to, options) => start(command, to, options),
  };
}

function stage(progress: (words: string) => void): string {
  progress('building the addon for release');
  mkdirSync(path.join(STAGE, path.dirname(COMMAND)), { recursive: true });
  const build = ['build', '--release', '--platform', '--no-js', '--dts', 'addon.d.ts'];
  const to = ['--manifest-path', 'crates/addon/Cargo.toml', '--output-dir', 'build/bench'];
  run(path.join(ROOT, 'node_modules/.bin/napi'), [...build, ...to]);
  run(process.execPath, [path.join(ROOT, 'tools/bundle.mjs')]);
  copyFileSync(path.join(ROOT, COMMAND), path.join(STAGE, COMMAND));
  writeFileSync(path.join(STAGE, 'package.json'), '{}\n');
  return path.join(STAGE, COMMAND);
}

function run(program: string, args: string[]): void {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8' });
  if (status !== 0) {
    throw new BenchError(`${program} ${args.join(' ')} failed:\n${stdout}${stderr}`);
  }
}

async function start(command: readonly string[], to: Destination, { flags = [] }: OurOptions = {}) {
  const { directory, upstream, endpoint } = to;
  mkdirSync(directory, { recursive: true });
  const port = await unusedPort();
  const where = ['--port', String(port), '--ip-address', '127.0.0.1'];
  const root = ['--root-url', rootUrl(upstream, endpoint)];
  // Those that a task's scopes could set stand first.
  const running = new Program([...command, ...flags, ...where, ...root], {
    log: path.join(directory, 'ours.log'),
    env: { ...CREDENTIALS, SSL_CERT_FILE: upstream.authority },
  });
  await running.listensOn(port);
  return { port, pid: running.pid, stop: () => running.stop() };
}
