// Another network namespace, as a container has: its sockets cannot be looked up from here.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import type { ExecutionContext } from 'ava';
import { within } from './deadline.js';

export interface Namespace {
  readonly name: string;
  /** This side's address, which is one of the machine's own. */
  readonly host: string;
  readonly guest: string;
  /** The guest's device. */
  readonly device: string;
}

/** Runs ip(8); whether it did what it was to do. */
export function ip(line: string): boolean {
  const run = spawnSync('ip', line.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] });
  return run.status === 0;
}

let made = 0;

/** A network namespace with a pair of devices to this one, or null where none can be made. */
export function makeNamespace(t: Pick<ExecutionContext, 'teardown'>): Namespace | null {
  made += 1;
  const id = `${process.pid % 100_000}n${made}`;
  const subnet = `10.${210 + (made % 40)}.${process.pid % 256}`;
  const [name, outer, device] = [`tc${id}`, `to${id}`, `ti${id}`];
  const [host, guest] = [`${subnet}.1`, `${subnet}.2`];
  if (!ip(`netns add ${name}`)) {
    return null;
  }
  t.teardown(() => ip(`netns del ${name}`));
  const done = [
    `link add ${outer} type veth peer name ${device} netns ${name}`,
    `addr add ${host}/24 dev ${outer}`,
    `link set ${outer} up`,
    `-n ${name} addr add ${guest}/24 dev ${device}`,
    `-n ${name} link set ${device} up`,
    `-n ${name} link set lo up`,
  ].every(ip);
  return done ? { name, host, guest, device } : null;
}

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

  constructor(t: Pick<ExecutionContext, 'teardown'>, { name, host }: Namespace, port: number) {
    const node = [process.execPath, '-e', NETCAT, host, String(port)];
    this.child = spawn('ip', ['netns', 'exec', name, ...node], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.closed = once(this.child, 'exit');
    this.child.stdin?.on('error', () => {});
    this.child.stdout?.setEncoding('latin1').on('data', (text: string) => {
      this.received += text;
    });
    t.teardown(() => this.child.kill('SIGKILL'));
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
