// Ports of loopback for programs that cannot choose one themselves: which are free, and which are in use.
import { once } from 'node:events';
import net from 'node:net';
import { until } from './deadline.js';

const HOST = '127.0.0.1';

/**
 * Below the ephemeral ports of every system (Linux from 32768, others from 49152), so that no other process
 * gets one of these by chance between the check and the start of the program.
 */
const FIRST = 10_000;
const LAST = 32_000;

/** A port on which no process listens. */
export async function unusedPort(): Promise<number> {
  for (;;) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    const server = net.createServer().listen(port, HOST);
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** Whether a process listens on a port. */
export async function accepts(port: number): Promise<boolean> {
  const socket = net.connect(port, HOST);
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Resolves once `port` accepts, which is all that a launcher looks at. */
export function listens(port: number): Promise<void> {
  return until(() => accepts(port), 'a listener');
}

/** Resolves once `port` accepts no more. */
export function closes(port: number): Promise<void> {
  return until(async () => !(await accepts(port)), 'the end of accepting');
}
