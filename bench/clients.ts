// Clients by the thousand, in this process: connections that idle after a first answer, streams from a
// slow upstream, and streams to a client that stops reading.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { BenchError } from './program.js';

/** How many are being opened at a time; it bounds how many connections to the upstream there are. */
const AT_ONCE = 64;

/** A program that reads a body to its end before it passes on the first byte never passes it on. */
const PATIENCE_MS = 10_000;

/** How many descriptors a process of this user may have open. */
export function descriptorLimit(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8');
  const hard = /^Max open files\s+\d+\s+(\d+|unlimited)/m.exec(limits)?.[1];
  return hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}

/** Each has had one answer, and stays. */
export async function openIdle(port: number, target: string, count: number): Promise<Socket[]> {
  return openMany(count, async () => {
    const socket = await request(port, target);
    await wholeAnswer(socket);
    return socket;
  });
}

/** Each has had the first bytes of an answer that is read as it comes. */
export async function openStreams(port: number, target: string, count: number): Promise<Socket[]> {
  return openMany(count, async () => {
    const socket = await request(port, target);
    await once(socket, 'data', { signal: AbortSignal.timeout(PATIENCE_MS) });
    socket.resume();
    return socket;
  });
}

/** Each has had the first bytes of an answer, and reads no more of it. */
export async function openStopped(port: number, target: string, count: number): Promise<Socket[]> {
  return openMany(count, async () => {
    const socket = await request(port, target);
    await once(socket, 'data', { signal: AbortSignal.timeout(PATIENCE_MS) });
    return socket.pause();
  });
}

/** Closes them without the wait for their ports that an orderly close would bring. */
export function closeAll(sockets: readonly Socket[]): void {
  for (const socket of sockets) {
    socket.resetAndDestroy();
  }
}

async function openMany(count: number, open: () => Promise<Socket>): Promise<Socket[]> {
  const sockets: Socket[] = [];
  let started = 0;
  const worker = async () => {
    while (started < count) {
      started += 1;
      try {
        sockets.push(await open());
      } catch (error) {
        started = count;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
  const failure = ends.find((end) => end.status === 'rejected');
  if (failure !== undefined) {
    closeAll(sockets);
    throw new BenchError(`${sockets.length} of ${count} connections opened: ${failure.reason}`);
  }
  return sockets;
}

async function request(port: number, target: string): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  // The error shows in that the socket is destroyed.
  socket.on('error', () => {});
  socket.write(`GET ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  return socket;
}

/** For answers with a Content-Length. */
function wholeAnswer(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = '';
    const read = (bytes: Buffer) => {
      text += bytes.toString('latin1');
      const [head = '', body] = text.split('\r\n\r\n', 2);
      const length = Number(/^content-length: *(\d+)/im.exec(head)?.[1]);
      if (body !== undefined && body.length >= length) {
        socket.off('data', read).off('close', fail);
        resolve();
      }
    };
    const fail = () => reject(new Error(`closed after: ${text.slice(0, 200)}`));
    socket.on('data', read).on('close', fail);
  });
}
