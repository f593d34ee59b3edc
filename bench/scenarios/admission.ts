// What it costs to serve one user of the machine alone: CPU of a look-up among 10,000 sockets, and how
// the allowed user fares while another connects as fast as he can and is refused. Of ours alone, on
// Linux, as root, who acts as both.
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { closeAll, descriptorLimit } from '../clients.js';
import { cpuSince, readCpu } from '../measure.js';
import type { Running } from '../peers/peer.js';
import { TARGETS } from '../upstream.js';
import { type Bench, destination, processOf, type Scenario, tellRound } from './scenario.js';

/** Users of the system that every Linux has. */
const ALLOWED = 'daemon';
const OTHER = 'bin';

const SOCKETS = 10_000;
const OTHER_DESCRIPTORS = 500;

/** Connections to each of the two proxies in a round; each has one look-up at most. */
const CONNECTIONS = 3_000;

/** New connections of the allowed user, a second. */
const RATE = 200;

export const admission: readonly Scenario[] = [
  {
    name: 'admission-check',
    about: `CPU of an admission check with ${SOCKETS} sockets`,
    missing: (bench) => missingRights(bench) ?? missingDescriptors(),
    run: checks,
  },
  {
    name: 'admission-flood',
    about: 'the allowed user while another connects as fast as he can',
    missing: missingRights,
    run: flood,
  },
];

function missingRights({ ours }: Bench): string | undefined {
  if (!ours) {
    return 'ours is not measured';
  }
  const isRoot = process.geteuid?.() === 0;
  return isRoot ? undefined : 'only root can act as other users';
}

function missingDescriptors(): string | undefined {
  const limit = descriptorLimit();
  return limit >= SOCKETS + OTHER_DESCRIPTORS
    ? undefined
    : `a process may have ${limit} descriptors here (ulimit -Hn)`;
}

/** The difference between a proxy that checks and one that does not, for connections of root. */
async function checks(bench: Bench): Promise<void> {
  const bystanders = await openBystanders(SOCKETS / 2);
  const started: Running[] = [];
  try {
    started.push(await startOurs(bench, 'check', ['--allowed-user', ALLOWED]));
    started.push(await startOurs(bench, 'no-check', []));
    for (const { port } of started) {
      await bench.load.connections({ port, path: TARGETS.small, count: CONNECTIONS });
    }
    for (let round = 0; round < bench.rounds; round += 1) {
      tellRound(bench, `CPU of an admission check with ${SOCKETS} sockets`, round, 'ours');
      const costs: number[] = [];
      for (const running of started) {
        costs.push(await cpuOfConnection(bench, running));
      }
      const [checked = Number.NaN, unchecked = Number.NaN] = costs;
      bench.results.add('ours', {
        'admission.check': checked - unchecked,
        'admission.connection': checked,
      });
    }
  } finally {
    await Promise.all(started.map((running) => running.stop()));
    bystanders.close();
  }
}

async function cpuOfConnection({ load }: Bench, running: Running): Promise<number> {
  const pid = processOf(running);
  const before = readCpu(pid);
  await load.connections({ port: running.port, path: TARGETS.small, count: CONNECTIONS });
  return cpuSince(pid, before) / CONNECTIONS;
}

async function flood(bench: Bench): Promise<void> {
  const { load, seconds } = bench;
  const running = await startOurs(bench, 'flood', ['--allowed-user', ALLOWED]);
  const given = { port: running.port, path: TARGETS.small, rate: RATE, connections: 16 };
  const allowed = { ...given, isFresh: true, uid: userId(ALLOWED) };
  try {
    for (let round = 0; round < bench.rounds; round += 1) {
      tellRound(bench, 'the allowed user while another connects', round, 'ours');
      const alone = await load.rate({ ...allowed, seconds: 1 });
      const attack = load.flood(running.port, seconds + 1, userId(OTHER));
      const [beside, { connections }] = await Promise.all([
        load.rate({ ...allowed, seconds }),
        attack,
      ]);
      bench.results.add('ours', {
        'admission.alone': alone.p99,
        'admission.flood': beside.p99,
        'admission.refused': connections / (seconds + 1),
      });
    }
  } finally {
    await running.stop();
  }
}

function startOurs(bench: Bench, name: string, flags: string[]): Promise<Running> {
  const { ours } = bench;
  if (!ours) {
    throw new Error('left out where ours is not measured');
  }
  return ours.start(destination(bench, 'plain', `admission-${name}`), { flags });
}

/** Connections of this process with itself, which the kernel finds among all others. */
async function openBystanders(count: number): Promise<{ close(): void }> {
  const accepted: Socket[] = [];
  const server = createServer((socket) => {
    accepted.push(socket.on('error', () => {}));
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4_096 });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const made: Socket[] = [];
  for (let each = 0; each < count; each += 1) {
    const socket = connect(port, '127.0.0.1').on('error', () => {});
    await once(socket, 'connect');
    made.push(socket);
  }
  return {
    close: () => {
      closeAll([...made, ...accepted]);
      server.close();
    },
  };
}

function userId(name: string): number {
  const row = new RegExp(`^${name}:[^:]*:(\\d+):`, 'm').exec(readFileSync('/etc/passwd', 'utf8'));
  return Number(row?.[1]);
}
