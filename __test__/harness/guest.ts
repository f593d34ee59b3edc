// A client in another network namespace: its socket cannot be looked up from here.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { ExecutionContext } from 'ava';
import { endsWith } from './child.js';
import { within } from './deadline.js';
import type { Namespace } from './namespace.js';

/** Sends what it reads, shuts down writing at the end of that, and writes what comes. */
const NETCAT = `
  const socket = require('node:net').connect({
    host: process.argv[1],
    port: Number(process.argv[2]),
    allowHalfOpen: true,
  });
  process.stdin.pipe(socket).pipe(process.stdout);
  process.on('SIGUSR2', () => socket.resetAndDestroy());
  socket.on('error', () => {});
`;

/** A client in the namespace, connected to a port of this side. */
export class Guest {
  readonly child: ChildProcess;
  /** What it has received. */
  received = '';
  readonly closed: Promise<unknown>;

  constructor(t: Pick<ExecutionContext, 'teardown'>, { name, v4 }: Namespace, port: number) {
    const node = [process.execPath, '-e', NETCAT, v4.host, String(port)];
    this.child = spawn('ip', ['netns', 'exec', name, ...node], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.closed = once(this.child, 'exit');
    this.child.stdin?.on('error', () => {});
    this.child.stdout?.setEncoding('latin1').on('data', (text: string) => {
      this.received += text;
    });
    endsWith(t, this.child);
  }

  send(bytes: string | Buffer): void {
    this.child.stdin?.write(bytes);
  }

  /** Shuts down writing and keeps reading. */
  end(): void {
    this.child.stdin?.end();
  }

  /** Ends its process: the kernel sends a FIN. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await within(this.closed, 'the end of the guest');
  }

  /** Closes with RST. */
  reset(): void {
    this.child.kill('SIGUSR2');
  }
}
