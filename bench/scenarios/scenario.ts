// What a scenario is: one thing that is done to every peer in turn, and the figures that come of it.
import type { Running } from '../peers/peer.js';
import type { Scheme, Upstream } from '../upstream.js';

export interface Scenario {
  /** As `--only` names it. */
  readonly name: string;
  /** What is done, for the line of progress. */
  readonly about: string;
  readonly scheme: Scheme;
  /** Each measurement has a proxy of its own, because what came before would show in its memory. */
  readonly isFresh: boolean;
  /** Whether the upstream alone is measured too. */
  readonly hasDirect: boolean;
  /** Why it is left out here, in a sentence. */
  missing?(settings: Settings): string | undefined;
  /** Once after the start of a peer, not measured. */
  warmUp?(running: Running, settings: Settings): Promise<void>;
  /** One measurement: figures by their keys. */
  measure(running: Running, settings: Settings): Promise<Record<string, number>>;
}

export interface Settings {
  readonly upstream: Upstream;
  /** How long load lasts, where a scenario is bounded by time: whole seconds. */
  readonly seconds: number;
  /** Also what takes many minutes. */
  readonly isLong: boolean;
}

export const url = ({ port }: Running, target: string) => `http://127.0.0.1:${port}${target}`;
