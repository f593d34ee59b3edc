// nginx as a reverse proxy that signs nothing, configured for speed.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { unusedPort } from '../../__test__/harness/port.js';
import { isTls } from '../endpoints.js';
import { findProgram, Program } from '../program.js';
import { TARGETS, temporaryPaths, userLine } from '../upstream.js';
import type { Destination, Peer } from './peer.js';

/** Nothing where it is not installed. */
export function nginx(): Peer | undefined {
  const program = findProgram('nginx');
  if (program === undefined) {
    return undefined;
  }
  return {
    name: 'nginx',
    version: spawnSync(program, ['-v'], { encoding: 'utf8' }).stderr.trim().replace(/^.*\//, ''),
    settings:
      'proxy_pass with HTTP/1.1 and up to 1,024 kept connections for each of as many workers as ' +
      'cores; request bodies in its default buffers, but a GiB unbuffered, since it would go through ' +
      'a file; answers in its default buffers and never in a file; ' +
      'access_log to a file through a buffer of 64 KiB; the TLS upstream verified, sessions reused',
    start: (to) => start(program, to),
  };
}

async function start(program: string, to: Destination) {
  const { directory } = to;
  const port = await unusedPort();
  const file = path.join(directory, 'nginx.conf');
  mkdirSync(directory, { recursive: true });
  writeFileSync(file, configuration(port, to));
  const command = [program, '-p', directory, '-c', file, '-e', 'stderr'];
  const running = new Program(command, { log: path.join(directory, 'nginx.log') });
  await running.listensOn(port);
  return { port, pid: running.pid, stop: () => running.stop() };
}

function configuration(port: number, { upstream, endpoint, directory }: Destination): string {
  const secure = `
    proxy_ssl_trusted_certificate ${upstream.authority};
    proxy_ssl_verify on;
    proxy_ssl_session_reuse on;
    proxy_ssl_server_name on;
    proxy_ssl_name localhost;`;
  const deployment = `${isTls(endpoint) ? 'https' : 'http'}://deployment`;
  return `
daemon off;
${userLine()}
worker_processes auto;
worker_rlimit_nofile 20000;
pid ${directory}/nginx.pid;
error_log stderr warn;
events { worker_connections 16384; }
http {
  access_log ${directory}/access.log combined buffer=64k flush=1s;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 0;
  ${temporaryPaths(directory)}
  upstream deployment {
    server 127.0.0.1:${upstream.ports[endpoint]};
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
  }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    proxy_http_version 1.1;
    proxy_set_header Host localhost:${upstream.ports[endpoint]};
    proxy_set_header Connection "";
    proxy_max_temp_file_size 0;${isTls(endpoint) ? secure : ''}
    location / { proxy_pass ${deployment}; }
    location = ${TARGETS.sink} {
      proxy_pass ${deployment};
      proxy_request_buffering off;
    }
  }
}
`;
}
