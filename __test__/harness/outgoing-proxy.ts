// A proxy of the kind that `HTTP_PROXY` and `HTTPS_PROXY` name: it opens tunnels by CONNECT and
// forwards absolute-form requests. Names resolve here, to ports of this machine, so a test can own
// any name there is.
import { once } from 'node:events';
import net from 'node:net';
import type { ExecutionContext } from 'ava';
import { ByteReader, type Head, readHead } from './wire.js';

export interface OutgoingProxy {
  readonly url: string;
  readonly port: number;
  /** Heads of the requests that came, in their order. */
  readonly heads: Head[];
}

export interface OutgoingProxyOptions {
  /** Port of this machine by authority (`host:port`); others get 502. */
  routes: Record<string, number>;
  /** Answers every request with this status line instead. */
  refuseWith?: string;
}

export async function startOutgoingProxy(
  t: Pick<ExecutionContext, 'teardown'>,
  options: OutgoingProxyOptions,
): Promise<OutgoingProxy> {
  const heads: Head[] = [];
  const open = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
    socket.on('error', () => {});
    serve(socket, options, heads).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of open) {
      socket.destroy();
    }
  });
  const { port } = server.address() as net.AddressInfo;
  return { url: `http://127.0.0.1:${port}`, port, heads };
}

async function serve(
  socket: net.Socket,
  { routes, refuseWith }: OutgoingProxyOptions,
  heads: Head[],
): Promise<void> {
  const reader = new ByteReader(socket);
  const head = await readHead(reader);
  if (head === null) {
    return;
  }
  heads.push(head);
  const [method = '', target = ''] = head.startLine.split(' ');
  const tunnel = method === 'CONNECT';
  const authority = tunnel ? target : authorityOf(target);
  const port = routes[authority];
  if (refuseWith !== undefined || port === undefined) {
    socket.end(`HTTP/1.1 ${refuseWith ?? '502 No Such Host'}\r\nContent-Length: 0\r\n\r\n`);
    return;
  }
  const upstream = net.connect(port, '127.0.0.1');
  upstream.on('error', () => socket.destroy());
  socket.once('close', () => upstream.destroy());
  await once(upstream, 'connect');
  if (tunnel) {
    socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
  } else {
    upstream.write(originForm(head), 'latin1');
  }
  upstream.pipe(socket);
  for (let part = await reader.some(); part !== null; part = await reader.some()) {
    upstream.write(part);
  }
  upstream.end();
}

function authorityOf(target: string): string {
  const authority = /^http:\/\/([^/?]*)/.exec(target)?.[1] ?? '';
  return authority.includes(':') ? authority : `${authority}:80`;
}

function originForm(head: Head): string {
  return head.raw.replace(/^(\S+) http:\/\/[^/? ]*/, '$1 ');
}
