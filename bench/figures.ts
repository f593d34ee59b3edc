// What is shown of a run, and what each figure may be at most, or must be at least. Figures are kept in
// seconds and bytes; a unit is for the eye.
import { ENDPOINTS, type Endpoint, suffix } from './endpoints.js';

export type Unit = 'us' | 'ms' | 's' | 'KiB' | 'MiB' | 'MiB/s' | '%' | 'per second';

const UNITS: Record<Unit, number> = {
  us: 1e-6,
  ms: 1e-3,
  s: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  'MiB/s': 2 ** 20,
  '%': 0.01,
  'per second': 1,
};

/** The median of a figure for a peer; nothing where it was not measured. */
export type Medians = (figure: string, peer: string) => number | undefined;

export interface Limit {
  /** The side of the bound on which ours has to stay. */
  readonly side: 'at most' | 'at least';
  /** The bound as the table says it, behind its side. */
  readonly text: string;
  /** The most or the least that ours may be; nothing where that was not measured. */
  bound(medians: Medians): number | undefined;
  /** What ours is divided by for the ratio; none where the bound is a number of its own. */
  reference?(medians: Medians): number | undefined;
}

export interface Figure {
  readonly key: string;
  readonly label: string;
  readonly unit: Unit;
  readonly limits: readonly Limit[];
  /** Whether the figure as a share of nginx's tells something, and stands in the chart. */
  readonly isCharted?: boolean;
}

/** `factor` times what `peer` has, of this figure or of another. */
function times(factor: number, peer: string, key: string, what = peer): Limit {
  const reference = (medians: Medians) => medians(key, peer);
  return {
    side: 'at most',
    text: factor === 1 ? `that of ${what}` : `${factor} of ${what}`,
    reference,
    bound: (medians) => {
      const value = reference(medians);
      return value === undefined ? undefined : value * factor;
    },
  };
}

/** `factor` times what `peer` has of the same figure, and `more` of it. */
function and(limit: Limit, more: number, text: string): Limit {
  return {
    ...limit,
    text: `${limit.text} plus ${text}`,
    bound: (medians) => {
      const bound = limit.bound(medians);
      return bound === undefined ? undefined : bound + more;
    },
  };
}

function atLeast(limit: Limit): Limit {
  return { ...limit, side: 'at least' };
}

function alone(most: number, text: string): Limit {
  return { side: 'at most', text, bound: () => most };
}

const SAME_AT_64 = times(1.25, 'ours', 'get-64.cpu', 'ours at 64');

function cpuOfGet(connections: number, endpoint: Endpoint, ...more: Limit[]): Figure {
  return cpuOf('small GET', `get-${connections}`, connections, endpoint, more);
}

function cpuOfPost(connections: number, endpoint: Endpoint): Figure {
  return cpuOf('POST of 300 B', `post-${connections}`, connections, endpoint, []);
}

function cpuOf(
  request: string,
  name: string,
  connections: number,
  endpoint: Endpoint,
  more: readonly Limit[],
): Figure {
  const key = `${name}${suffix(endpoint)}.cpu`;
  const upstream = endpoint === 'plain' ? '' : `, ${ENDPOINTS[endpoint]}`;
  return {
    key,
    label: `CPU per ${request}, ${connections.toLocaleString('en')} connections${upstream}`,
    unit: 'us',
    limits: [times(1, 'nginx', key), ...more],
    isCharted: true,
  };
}

function cpuOfGib(direction: string, endpoint: Endpoint, factor: number): Figure {
  const key = `${direction}${suffix(endpoint)}.cpu`;
  const limits = [times(factor, 'nginx', key)];
  return {
    key,
    label: `CPU per GiB ${direction}, ${ENDPOINTS[endpoint]}`,
    unit: 's',
    limits,
    isCharted: true,
  };
}

function growth(name: string, label: string, mebibytes: number): Figure {
  const limits = [alone(mebibytes * 2 ** 20, `${mebibytes} MiB`)];
  const key = `${name}.memory`;
  return { key, label: `memory growth while ${label}`, unit: 'MiB', limits };
}

export const FIGURES: readonly Figure[] = [
  cpuOfGet(64, 'plain', times(1, 'HAProxy', 'get-64.cpu'), times(0.15, 'go', 'get-64.cpu')),
  cpuOfGet(8, 'plain', SAME_AT_64),
  cpuOfGet(1_000, 'plain', SAME_AT_64),
  cpuOfGet(64, 'tls'),
  cpuOfGet(64, 'alpn'),
  cpuOfPost(64, 'plain'),
  cpuOfPost(64, 'tls'),
  cpuOfPost(64, 'alpn'),
  {
    key: 'latency.added',
    label: "p99 added at half of nginx's top load",
    unit: 'us',
    limits: [times(1, 'nginx', 'latency.added')],
    isCharted: true,
  },
  cpuOfGib('down', 'plain', 0.5),
  cpuOfGib('down', 'tls', 0.7),
  cpuOfGib('down', 'alpn', 0.7),
  cpuOfGib('up', 'plain', 0.35),
  cpuOfGib('up', 'tls', 0.7),
  cpuOfGib('up', 'alpn', 0.7),
  {
    key: 'down.first',
    label: 'first byte of 1 GiB',
    unit: 'us',
    limits: [and(times(1.2, 'direct', 'down.first'), 1e-3, '1 ms')],
  },
  {
    key: 'down-16.cpu',
    label: `CPU per GiB, 16 downloads at once, ${ENDPOINTS.alpn}`,
    unit: 's',
    limits: [times(0.7, 'nginx', 'down-16.cpu')],
    isCharted: true,
  },
  {
    key: 'down-16.rate',
    label: `rate of 16 downloads at once, ${ENDPOINTS.alpn}`,
    unit: 'MiB/s',
    limits: [atLeast(times(1, 'nginx', 'down-16.rate'))],
  },
  {
    key: 'down-16.busiest',
    label: 'share of the busiest thread in their CPU',
    unit: '%',
    limits: [alone(0.75, '75 %')],
  },
  {
    key: 'distance.rate',
    label: '200 MiB down, TLS upstream that offers h2, 50 ms away',
    unit: 'MiB/s',
    limits: [atLeast(times(0.85, 'direct', 'distance.rate', 'curl directly'))],
  },
  growth('down', '1 GiB passes down', 8),
  growth('down-tls', `1 GiB passes down, ${ENDPOINTS.tls}`, 8),
  growth('down-alpn', `1 GiB passes down, ${ENDPOINTS.alpn}`, 8),
  growth('down-long', '16 GiB pass down', 8),
  growth('up', '1 GiB passes up', 16),
  growth('up-tls', `1 GiB passes up, ${ENDPOINTS.tls}`, 16),
  growth('up-alpn', `1 GiB passes up, ${ENDPOINTS.alpn}`, 16),
  growth('up-long', '16 GiB pass up', 16),
  {
    key: 'idle.memory',
    label: 'memory per idle connection at 10,000',
    unit: 'KiB',
    limits: [alone(16 * 2 ** 10, '16 KiB')],
  },
  {
    key: 'streams.memory',
    label: 'memory per stream at 1,000 slow streams',
    unit: 'KiB',
    limits: [alone(64 * 2 ** 10, '64 KiB')],
  },
  {
    key: 'stopped.memory',
    label: `memory per client that stops reading, ${ENDPOINTS.alpn}`,
    unit: 'KiB',
    limits: [alone(64 * 2 ** 10, '64 KiB')],
  },
  {
    key: 'start.listening',
    label: 'start to listening',
    unit: 'ms',
    limits: [times(1.3, 'node', 'start.empty', '`node -e 0`')],
  },
  {
    key: 'start.memory',
    label: 'resident memory when idle',
    unit: 'MiB',
    limits: [and(times(1, 'node', 'start.memory', 'a bare Node server'), 8 * 2 ** 20, '8 MiB')],
  },
  {
    key: 'admission.check',
    label: 'CPU of an admission check with 10,000 sockets',
    unit: 'us',
    limits: [alone(50e-6, '50 us')],
  },
  {
    key: 'admission.flood',
    label: 'p99 of the allowed user while another floods',
    unit: 'ms',
    limits: [alone(50e-3, '50 ms')],
  },
  {
    key: 'audit.more',
    label: 'more CPU per small GET with an audit log',
    unit: '%',
    limits: [alone(0.05, '5 %')],
  },
];

/** A value in its unit, with three significant digits; from 100 on, as a whole number. */
export function format(value: number | undefined, unit: Unit): string {
  if (value === undefined || !Number.isFinite(value)) {
    return '';
  }
  const scaled = value / UNITS[unit];
  return Math.abs(scaled) >= 100 ? scaled.toFixed(0) : scaled.toPrecision(3);
}
