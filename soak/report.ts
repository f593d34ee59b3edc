// What a run tells: how it is to be made again, what happened, and what must not have.
import type { Ledger } from './ledger.js';

/** What a soak is given. */
export interface Run {
  readonly minutes: number;
  /** The longest pause of a client between two exchanges, in milliseconds. */
  readonly pause: number;
  readonly seed: number;
  /**
   * Whether what fails in fair weather is a fault. On a machine that is busy with other things, what a storm
   * has left behind may be met any time after it.
   */
  readonly judgesFair: boolean;
  /** For its logs. */
  readonly directory: string;
  readonly progress: (words: string) => void;
}

/** What happened to one of those that were soaked. */
export interface Figures {
  readonly name: string;
  readonly ledger: Ledger;
}

export function faultsOf(figures: readonly Figures[]): string[] {
  return figures.flatMap(({ ledger }) => ledger.faults);
}

/** A table in Markdown, one column for each. */
export function table(figures: readonly Figures[]): string {
  const names = new Set(figures.flatMap(({ ledger }) => [...ledger.counts.keys()]));
  const rows = [...names]
    .sort()
    .map((name) => [name, ...figures.map(({ ledger }) => ledger.count(name).toLocaleString('en'))]);
  const head = ['', ...figures.map(({ name }) => name)];
  return [head, head.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}
