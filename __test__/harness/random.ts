// Pseudo-random choices, the same for the same seed.

/** mulberry32. */
export class Random {
  #state: number;

  /** @param salt - Tells streams of choices of one seed apart. */
  constructor(seed: number, salt = 0) {
    this.#state = (seed + salt * 0x9e3779b9) | 0;
  }

  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** Characters, or `%`-escapes and the like, of an alphabet. */
  text(alphabet: readonly string[], longest: number, shortest = 0): string {
    const length = shortest + this.below(longest - shortest + 1);
    return Array.from({ length }, () => this.pick(alphabet)).join('');
  }
}
