// Long bodies, down and up: CPU for each GiB, memory while they pass, the time to their first byte; and
// many downloads at once. The proxy is a new one each time, warmed by small GETs.
import { ENDPOINTS, type Endpoint, suffix } from '../endpoints.js';
import { busiestSince, cpuSince, readCpu, readMemory, resetPeak } from '../measure.js';
import type { Peer, Running } from '../peers/peer.js';
import { TARGETS } from '../upstream.js';
import { type Bench, type Figures, inTurn, processOf, type Scenario } from './scenario.js';

const GIB = 2 ** 30;
const LONG_GIB = 16;
const AT_ONCE = 16;
const WARM_UP_REQUESTS = 100;

/** Answers in each measurement that are left after their first byte. */
const FIRST_BYTES = 5;

export const transfers: readonly Scenario[] = [
  transfer('down', 'plain'),
  transfer('down', 'tls'),
  transfer('down', 'alpn'),
  transfer('up', 'plain'),
  transfer('up', 'tls'),
  transfer('up', 'alpn'),
  downloads('alpn'),
];

export const longTransfers: readonly Scenario[] = [longTransfer('down'), longTransfer('up')];

type Direction = 'down' | 'up';

function transfer(direction: Direction, endpoint: Endpoint): Scenario {
  const name = `${direction}${suffix(endpoint)}`;
  const hasDirect = direction === 'down' && endpoint === 'plain';
  return inTurn({
    name,
    about: `1 GiB ${direction}, ${ENDPOINTS[endpoint]}`,
    endpoint,
    isFresh: true,
    takes: (peer) => hasDirect || peer.name !== 'direct',
    warmUp,
    measure: (running, bench) => {
      const path = direction === 'down' ? TARGETS.gib : TARGETS.sink;
      return measure(running, bench, { name, direction, path, bytes: GIB });
    },
  });
}

/** A GiB in all. */
function downloads(endpoint: Endpoint): Scenario {
  const name = `down-${AT_ONCE}`;
  return inTurn({
    name,
    about: `${AT_ONCE} downloads at once, ${ENDPOINTS[endpoint]}`,
    endpoint,
    isFresh: true,
    warmUp,
    measure: async (running, { load }) => {
      const pid = processOf(running);
      const { port } = running;
      const before = readCpu(pid);
      const given = { port, path: TARGETS.sixteenth, connections: AT_ONCE, bytes: GIB };
      const { seconds } = await load.down(given);
      return {
        [`${name}.cpu`]: cpuSince(pid, before),
        [`${name}.busiest`]: busiestSince(pid, before),
        [`${name}.rate`]: GIB / seconds,
      };
    },
  });
}

/** A program that reads bodies into memory whole could not be asked for this. */
function longTransfer(direction: Direction): Scenario {
  const name = `${direction}-long`;
  return inTurn({
    name,
    about: `${LONG_GIB} GiB ${direction}, plain upstream`,
    endpoint: 'plain',
    isFresh: true,
    takes: ({ name: peer }: Peer) => ['ours', 'nginx', 'HAProxy'].includes(peer),
    warmUp,
    measure: (running, bench) => {
      const path = direction === 'down' ? TARGETS.long : TARGETS.sink;
      const bytes = LONG_GIB * GIB;
      return measure(running, bench, { name, direction, path, bytes });
    },
  });
}

async function warmUp({ port }: Running, { load }: Bench): Promise<void> {
  await load.connections({ port, path: TARGETS.small, count: WARM_UP_REQUESTS });
}

interface Part {
  name: string;
  direction: Direction;
  path: string;
  bytes: number;
}

async function measure({ pid, port }: Running, { load }: Bench, part: Part): Promise<Figures> {
  const { name, direction, path, bytes } = part;
  const before = pid === undefined ? undefined : { cpu: readCpu(pid), memory: readMemory(pid) };
  if (pid !== undefined) {
    resetPeak(pid);
  }
  const isDown = direction === 'down';
  const done = await (isDown
    ? load.down({ port, path, connections: 1, bytes })
    : load.up({ port, path, bytes }));
  const figures: Figures = { [`${name}.seconds`]: done.seconds };
  if (pid !== undefined && before !== undefined) {
    figures[`${name}.cpu`] = (cpuSince(pid, before.cpu) / bytes) * GIB;
    figures[`${name}.memory`] = readMemory(pid).peak - before.memory.resident;
  }
  if (isDown) {
    const { first } = await load.first({ port, path, count: FIRST_BYTES });
    figures[`${name}.first`] = first;
  }
  return figures;
}
