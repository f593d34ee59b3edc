// What happened in a run, counted, and what must not have happened, in sentences.

/** How many faults are kept; more of them say nothing new. */
const KEPT = 50;

export class Ledger {
  readonly counts = new Map<string, number>();
  readonly faults: string[] = [];
  readonly #began = Date.now();

  add(what: string, by = 1): void {
    this.counts.set(what, this.count(what) + by);
  }

  /** Keeps the highest. */
  most(what: string, value: number): void {
    this.counts.set(what, Math.max(this.count(what), value));
  }

  count(what: string): number {
    return this.counts.get(what) ?? 0;
  }

  fault(sentence: string): void {
    this.add('faults');
    if (this.faults.length < KEPT) {
      const seconds = ((Date.now() - this.#began) / 1000).toFixed(1);
      this.faults.push(`after ${seconds} s: ${sentence}`);
    }
  }
}
