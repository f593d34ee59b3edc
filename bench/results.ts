// What was measured: every value of every round, and their medians.

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** By figure, then by peer: one value for each round. */
export type Values = Record<string, Record<string, number[]>>;

export class Results {
  readonly values: Values = {};
  /** What a reader of the figures should know. */
  readonly notes: string[] = [];

  add(peer: string, figures: Record<string, number>): void {
    for (const [key, value] of Object.entries(figures)) {
      this.values[key] ??= {};
      this.values[key][peer] ??= [];
      this.values[key][peer].push(value);
    }
  }

  readonly median = (figure: string, peer: string): number | undefined => {
    if (figure === 'latency.added') {
      return this.#added(peer);
    }
    const values = this.values[figure]?.[peer];
    return values === undefined ? undefined : median(values);
  };

  /** What a proxy adds to the latency of the upstream itself; 0, where that had the worse p99. */
  #added(peer: string): number | undefined {
    const [all, direct] = [peer, 'direct'].map((name) => this.median('latency.p99', name));
    const isKnown = all !== undefined && direct !== undefined && peer !== 'direct';
    return isKnown ? Math.max(0, all - direct) : undefined;
  }
}
