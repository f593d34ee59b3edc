// HAProxy as a reverse proxy that signs nothing.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { unusedPort } from '../../__test__/harness/port.js';
import { isTls } from '../endpoints.js';
import { findProgram, Program } from '../program.js';
import type { Destination, Peer } from './peer.js';

/** Nothing where it is not installed. */
export function haproxy(): Peer | undefined {
  const program = findProgram('haproxy');
  if (program === undefined) {
    return undefined;
  }
  return {
    name: 'HAProxy',
    version:
      /version (\S+)/.exec(spawnSync(program, ['-v'], { encoding: 'utf8' }).stdout)?.[1] ?? '',
    settings:
      'mode http, http-reuse always, as many threads as cores; its HTTP log on stderr, which is a ' +
      'file, since it knows no other way to one; the TLS upstream verified, sessions reused',
    start: (to) => start(program, to),
  };
}

async function start(program: string, to: Destination) {
  const { directory } = to;
  const port = await unusedPort();
  const file = path.join(directory, 'haproxy.cfg');
  mkdirSync(directory, { recursive: true });
  writeFileSync(file, configuration(port, to));
  const log = path.join(directory, 'haproxy.log');
  const running = new Program([program, '-db', '-q', '-f', file], { log });
  await running.listensOn(port);
  return { port, pid: running.pid, stop: () => running.stop() };
}

function configuration(port: number, { upstream, endpoint }: Destination): string {
  const secure = `ssl verify required ca-file ${upstream.authority} sni str(localhost) verifyhost localhost`;
  return `
global
  maxconn 12000
  nbthread ${availableParallelism()}
  no strict-limits
  log stderr format raw daemon
defaults
  mode http
  log global
  option httplog
  option http-keep-alive
  http-reuse always
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  timeout http-request 30s
listen bench
  bind 127.0.0.1:${port}
  server deployment 127.0.0.1:${upstream.ports[endpoint]} ${isTls(endpoint) ? secure : ''}
`;
}
