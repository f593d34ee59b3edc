// Memory of open connections: idle ones, slow streams, and answers that the client has stopped reading.
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { closeAll, descriptorLimit, openIdle, openStopped, openStreams } from '../clients.js';
import { ENDPOINTS } from '../endpoints.js';
import { countDescriptors, readMemory, resetPeak } from '../measure.js';
import type { Running } from '../peers/peer.js';
import { BenchError } from '../program.js';
import { TARGETS } from '../upstream.js';
import { type Bench, inTurn, processOf, type Scenario } from './scenario.js';

const IDLE = 10_000;
const STREAMS = 1_000;
const STOPPED = 300;
const WARM_UP_REQUESTS = 100;

/** Beside the connections: everything else that a process has open. */
const OTHER_DESCRIPTORS = 500;

/** Time for the process to give back memory that it does not need. */
const SETTLE_MS = 1_000;

/** Time in which each stream, also one that gets 64 KiB a second, fills what is kept for it. */
const FLOW_MS = 3_000;

export const held: readonly Scenario[] = [
  inTurn({
    name: 'idle',
    about: `memory of ${IDLE} idle connections`,
    endpoint: 'plain',
    isFresh: true,
    missing: (bench) => {
      if (idleCount() < IDLE) {
        bench.note(
          `There were ${idleCount()} idle connections instead of ${IDLE}: a process may have ` +
            `${descriptorLimit()} descriptors on this machine (ulimit -Hn), and a proxy keeps one ` +
            'more for each connection.',
        );
      }
      return undefined;
    },
    warmUp,
    measure: async (running) => {
      const pid = processOf(running);
      const count = idleCount();
      const before = readMemory(pid).resident;
      const sockets = await openIdle(running.port, TARGETS.small, count);
      await sleep(SETTLE_MS);
      const after = readMemory(pid).resident;
      endAll(sockets);
      return { 'idle.memory': (after - before) / count };
    },
  }),
  inTurn({
    name: 'streams',
    about: `memory of ${STREAMS} slow streams`,
    endpoint: 'plain',
    isFresh: true,
    missing: () => missingDescriptors(2 * STREAMS + OTHER_DESCRIPTORS),
    warmUp,
    measure: async (running) => {
      const pid = processOf(running);
      const before = readMemory(pid).resident;
      resetPeak(pid);
      const sockets = await openStreams(running.port, TARGETS.slow, STREAMS);
      await sleep(FLOW_MS);
      const { peak } = readMemory(pid);
      endAll(sockets);
      return { 'streams.memory': (peak - before) / STREAMS };
    },
  }),
  inTurn({
    name: 'stopped',
    about: `memory of ${STOPPED} clients that stop reading, ${ENDPOINTS.alpn}`,
    endpoint: 'alpn',
    isFresh: true,
    missing: () => missingDescriptors(2 * STOPPED + OTHER_DESCRIPTORS),
    warmUp,
    measure: async (running) => {
      const pid = processOf(running);
      const before = readMemory(pid).resident;
      const others = countDescriptors(pid);
      const sockets = await openStopped(running.port, TARGETS.gib, STOPPED);
      await sleep(FLOW_MS);
      const after = readMemory(pid).resident;
      const kept = countDescriptors(pid) - others;
      closeAll(sockets);
      // A client that does not read does not notice an end either.
      if (kept < STOPPED) {
        throw new BenchError(`only ${kept} descriptors were kept for ${STOPPED} clients`);
      }
      return { 'stopped.memory': (after - before) / STOPPED };
    },
  }),
];

/** A proxy may need a second descriptor for each connection: that of its request to upstream. */
function idleCount(): number {
  return Math.min(IDLE, Math.floor((descriptorLimit() - OTHER_DESCRIPTORS) / 2));
}

function missingDescriptors(needed: number): string | undefined {
  const limit = descriptorLimit();
  return limit >= needed
    ? undefined
    : `a process may have ${limit} descriptors here (ulimit -Hn), and ${needed} are needed`;
}

async function warmUp({ port }: Running, { load }: Bench): Promise<void> {
  await load.connections({ port, path: TARGETS.small, count: WARM_UP_REQUESTS });
}

/** All of them must have been held until now, or what was measured is not what it says. */
function endAll(sockets: readonly Socket[]): void {
  const lost = sockets.filter((socket) => socket.destroyed).length;
  closeAll(sockets);
  if (lost > 0) {
    throw new BenchError(`${lost} of ${sockets.length} connections were closed meanwhile`);
  }
}
