// nginx as an independent upstream: TLS, HTTP/2 and static files.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import type { Leaf } from './authority.js';
import { endsWith } from './child.js';
import { gate, within } from './deadline.js';
import { freshDirectory } from './directory.js';
import { unusedPort } from './port.js';
import { pathOf } from './tools.js';

export interface NginxOptions {
  leaf: Leaf;
  /** Requests are passed on to this upstream, targets as they came. */
  passTo?: string;
  /** Files under this directory are served by their path instead. */
  root?: string;
  http2?: boolean;
  /** How many requests nginx serves on a connection before it closes it. */
  keepaliveRequests?: number;
  /** As `ssl_protocols` takes them. */
  protocols?: string;
}

export interface Nginx {
  readonly port: number;
  /** `https://localhost:port` */
  readonly url: string;
}

export async function startNginx(
  t: Pick<ExecutionContext, 'teardown'>,
  options: NginxOptions,
): Promise<Nginx> {
  const directory = freshDirectory(t);
  const port = await unusedPort();
  writeFileSync(path.join(directory, 'leaf.pem'), options.leaf.cert);
  writeFileSync(path.join(directory, 'leaf.key'), options.leaf.key);
  writeFileSync(path.join(directory, 'nginx.conf'), configuration(directory, port, options));
  const child = spawn(pathOf('nginx'), ['-p', directory, '-c', 'nginx.conf', '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = endsWith(t, child);
  // nginx logs its event method once its listeners are open.
  const started = gate();
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    if (log.includes('event method')) {
      started.open();
    }
  });
  void exited.then(() => started.fail(new Error(`nginx ended:\n${log}`)));
  await within(started.opened, 'the start of nginx');
  return { port, url: `https://localhost:${port}` };
}

function configuration(directory: string, port: number, options: NginxOptions): string {
  const location = options.root
    ? `root ${options.root};`
    : `proxy_pass ${options.passTo};
       proxy_http_version 1.1;
       proxy_set_header Host $http_host;
       proxy_set_header Connection "";
       proxy_pass_request_headers on;
       proxy_buffering off;
       proxy_request_buffering off;`;
  return `
daemon off;
master_process off;
pid ${directory}/nginx.pid;
error_log stderr notice;
events { worker_connections 512; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path ${directory}/body;
  proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/fastcgi;
  uwsgi_temp_path ${directory}/uwsgi;
  scgi_temp_path ${directory}/scgi;
  large_client_header_buffers 4 64k;
  merge_slashes off;
  server {
    listen 127.0.0.1:${port} ssl${options.http2 ? ' http2' : ''};
    ssl_certificate ${directory}/leaf.pem;
    ssl_certificate_key ${directory}/leaf.key;
    ssl_protocols ${options.protocols ?? 'TLSv1.2 TLSv1.3'};
    keepalive_requests ${options.keepaliveRequests ?? 1000};
    location / {
      ${location}
    }
  }
}
`;
}
