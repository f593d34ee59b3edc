// What is shown of a run, and what each figure may be at most. Figures are kept in seconds and bytes;
// a unit is for the eye.

export type Unit = 'us' | 'ms' | 's' | 'KiB' | 'MiB' | 'per second';

const UNITS: Record<Unit, number> = {
  us: 1e-6,
  ms: 1e-3,
  s: 1,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  'per second': 1,
};

/** The median of a figure for a peer; nothing where it was not measured. */
export type Medians = (figure: string, peer: string) => number | undefined;

export interface Limit {
  /** As the table says it. */
  readonly text: string;
  /** The most that ours may be; nothing where that was not measured. */
  bound(medians: Medians): number | undefined;
  /** What the ratio is taken to; none where the bound is a number of its own. */
  reference?(medians: Medians): number | undefined;
}

export interface Figure {
  readonly key: string;
  readonly label: string;
  readonly unit: Unit;
  readonly limits: readonly Limit[];
}

/** `factor` times what `peer` has, of this figure or of another. */
function times(factor: number, peer: string, key: string, what = peer): Limit {
  const reference = (medians: Medians) => medians(key, peer);
  return {
    text: `${factor} of ${what}`,
    reference,
    bound: (medians) => scaled(reference(medians), factor),
  };
}

function scaled(value: number | undefined, factor: number, more = 0): number | undefined {
  return value === undefined ? undefined : value * factor + more;
}

function cpuOfGet(key: string, label: string, more: readonly Limit[]): Figure {
  const limits = [times(1, 'nginx', key), ...more];
  return { key, label: `CPU per small GET, ${label}`, unit: 'us', limits };
}

const SAME_AT_64 = times(1.25, 'ours', 'get-64.cpu', 'ours at 64');

export const FIGURES: readonly Figure[] = [
  cpuOfGet('get-64.cpu', '64 connections, plain upstream', [
    times(1, 'HAProxy', 'get-64.cpu'),
    times(0.15, 'go', 'get-64.cpu'),
  ]),
  cpuOfGet('get-8.cpu', '8 connections', [SAME_AT_64]),
  cpuOfGet('get-1000.cpu', '1,000 connections', [SAME_AT_64]),
  cpuOfGet('get-64-tls.cpu', '64 connections, TLS upstream', []),
];

/** A value in its unit, with three digits that count. */
export function format(value: number | undefined, unit: Unit): string {
  if (value === undefined || !Number.isFinite(value)) {
    return '';
  }
  const scaled = value / UNITS[unit];
  return Math.abs(scaled) >= 100 ? scaled.toFixed(0) : scaled.toPrecision(3);
}
