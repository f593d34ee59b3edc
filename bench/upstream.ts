// The upstream that every peer forwards to: one nginx, over plain HTTP, and over TLS with a certificate
// of the bench's own authority, there with and without HTTP/2 beside HTTP/1.1. It serves a small answer and a file of 16 GiB without
// blocks on disk, by sendfile. A relay before it makes the way there long.
import { closeSync, ftruncateSync, openSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Authority } from '../__test__/harness/authority.js';
import { unusedPort } from '../__test__/harness/port.js';
import { type Endpoint, isTls } from './endpoints.js';
import type { LoadProgram } from './load.js';
import { Program } from './program.js';

/** All targets are of this shape, which the Go program's routes take too. */
export const TARGETS = {
  small: '/api/queue/v1/small',
  /** Answered as the small one, where the request's body has its length. */
  post: '/api/queue/v1/post',
  gib: '/api/queue/v1/gib',
  long: '/api/queue/v1/long',
  /** 64 MiB. */
  sixteenth: '/api/queue/v1/sixteenth',
  /** 200 MiB. */
  part: '/api/queue/v1/part',
  /** 64 KiB a second. */
  slow: '/api/queue/v1/slow',
  sink: '/api/queue/v1/sink',
} as const;

/** About as long as the answer of Taskcluster's `queue.status`. */
const SMALL_BODY = JSON.stringify({ status: 'x'.repeat(1_000) });

/** 300 bytes, as a call of an API sends them. */
export const POST_BODY = JSON.stringify({ reason: 'x'.repeat(287) });

export const PART_BYTES = 200 * 2 ** 20;

const FILES = {
  gib: 2 ** 30,
  long: 16 * 2 ** 30,
  sixteenth: 2 ** 26,
  part: PART_BYTES,
} as const;

/** The delay of the relay, in each direction. */
const DELAY_MS = 25;

export interface Upstream {
  /** Its ports on 127.0.0.1; the name for all is `localhost`. */
  readonly ports: Record<Endpoint, number>;
  /** PEM of the authority that signed its certificate. */
  readonly authority: string;
  stop(): Promise<void>;
}

export function rootUrl(upstream: Upstream, endpoint: Endpoint): string {
  return `${isTls(endpoint) ? 'https' : 'http'}://localhost:${upstream.ports[endpoint]}`;
}

/** @param nginx - The program's path. */
export async function startUpstream(
  nginx: string,
  load: LoadProgram,
  directory: string,
): Promise<Upstream> {
  const ports = {
    plain: await unusedPort(),
    tls: await unusedPort(),
    alpn: await unusedPort(),
    far: await unusedPort(),
  };
  const authority = await Authority.create();
  const leaf = await authority.issue(['localhost', '127.0.0.1']);
  writeFileSync(path.join(directory, 'upstream.pem'), leaf.cert);
  writeFileSync(path.join(directory, 'upstream.key'), leaf.key);
  for (const [name, bytes] of Object.entries(FILES)) {
    makeSparse(path.join(directory, name), bytes);
  }
  const sink = await unusedPort();
  const file = path.join(directory, 'upstream.conf');
  writeFileSync(file, configuration(directory, ports, sink));
  const log = path.join(directory, 'upstream.log');
  const programs: Program[] = [];
  const start = async (command: readonly string[], port: number) => {
    const program = new Program(command, { log });
    programs.push(program);
    await program.listensOn(port);
  };
  await start([load.file, 'sink', '--target', `127.0.0.1:${sink}`], sink);
  await start([nginx, '-p', directory, '-c', file, '-e', 'stderr'], ports.tls);
  const ends = ['--listen', `127.0.0.1:${ports.far}`, '--target', `127.0.0.1:${ports.alpn}`];
  await start([load.file, 'relay', ...ends, '--milliseconds', String(DELAY_MS)], ports.far);
  const stop = async () => {
    await Promise.all(programs.map((program) => program.stop()));
  };
  return { ports, authority: authority.writeRoot(directory), stop };
}

function makeSparse(file: string, bytes: number): void {
  const descriptor = openSync(file, 'w');
  ftruncateSync(descriptor, bytes);
  closeSync(descriptor);
}

function configuration(directory: string, ports: Record<Endpoint, number>, sink: number): string {
  return `
daemon off;
${userLine()}
worker_processes auto;
worker_rlimit_nofile 16384;
pid ${directory}/upstream.pid;
error_log stderr warn;
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  ${temporaryPaths(directory)}
  server {
    listen 127.0.0.1:${ports.plain} backlog=4096;
    listen 127.0.0.1:${ports.tls} ssl backlog=4096;
    listen 127.0.0.1:${ports.alpn} ssl http2 backlog=4096;
    ssl_certificate ${directory}/upstream.pem;
    ssl_certificate_key ${directory}/upstream.key;
    ssl_session_cache shared:sessions:8m;
    location = ${TARGETS.small} { default_type application/json; return 200 '${SMALL_BODY}'; }
    location = ${TARGETS.post} {
      default_type application/json;
      if ($content_length != ${POST_BODY.length}) { return 400; }
      return 200 '${SMALL_BODY}';
    }
    default_type application/octet-stream;
    location = ${TARGETS.gib} { alias ${directory}/gib; }
    location = ${TARGETS.long} { alias ${directory}/long; }
    location = ${TARGETS.sixteenth} { alias ${directory}/sixteenth; }
    location = ${TARGETS.part} { alias ${directory}/part; }
    location = ${TARGETS.slow} { alias ${directory}/gib; limit_rate 64k; }
    location = ${TARGETS.sink} {
      client_max_body_size 0;
      proxy_pass http://127.0.0.1:${sink};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_request_buffering off;
    }
  }
}
`;
}

/** Without it, root's nginx runs as the user `nobody`, who cannot read the bench's directory. */
export function userLine(): string {
  return process.geteuid?.() === 0 ? 'user root;' : '';
}

export function temporaryPaths(directory: string): string {
  return ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((kind) => `${kind}_temp_path ${directory}/temporary-${kind};`)
    .join('\n  ');
}
