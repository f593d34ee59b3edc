// What a scenario is: one thing that is done to every peer in turn, and the figures that come of it.
// Here too is how peers take turns; what is done stands in the files beside this one.
import path from 'node:path';
import type { Endpoint } from '../endpoints.js';
import type { LoadProgram } from '../load.js';
import type { OurPeer } from '../peers/ours.js';
import type { Destination, Peer, Running } from '../peers/peer.js';
import { BenchError } from '../program.js';
import type { Results } from '../results.js';
import type { Upstream } from '../upstream.js';

export interface Scenario {
  /** As `--only` names it. */
  readonly name: string;
  /** What is done, for the line of progress. */
  readonly about: string;
  /** Why it is left out here, in a clause. */
  missing?(bench: Bench): string | undefined;
  run(bench: Bench): Promise<void>;
}

/** What a scenario works with. */
export interface Bench {
  readonly upstream: Upstream;
  readonly load: LoadProgram;
  readonly peers: readonly Peer[];
  /** Nothing where it is not among the peers. */
  readonly ours: OurPeer | undefined;
  readonly results: Results;
  readonly rounds: number;
  /** How long load lasts, where time bounds it: whole seconds. */
  readonly seconds: number;
  /** For files, gone after the run. */
  readonly directory: string;
  progress(words: string): void;
  /** Something that a reader of the figures should know, in a sentence. */
  note(sentence: string): void;
}

export type Figures = Record<string, number>;

export interface Turns {
  readonly name: string;
  readonly about: string;
  readonly endpoint: Endpoint;
  /** Those that take part; all but `direct` when absent. */
  takes?(peer: Peer): boolean;
  /** Each measurement has a proxy of its own, because what came before would show in its memory. */
  readonly isFresh?: boolean;
  missing?(bench: Bench): string | undefined;
  /** Once after the start of a peer, not measured. */
  warmUp?(running: Running, bench: Bench): Promise<void>;
  /** One measurement: figures by their keys. */
  measure(running: Running, bench: Bench): Promise<Figures>;
}

/** A scenario in which the peers take turns, round after round. */
export function inTurn(turns: Turns): Scenario {
  const { name, about, missing } = turns;
  return { name, about, ...(missing && { missing }), run: (bench) => takeTurns(turns, bench) };
}

async function takeTurns(turns: Turns, bench: Bench): Promise<void> {
  const { takes = ({ name }: Peer) => name !== 'direct', isFresh = false } = turns;
  const peers = new Set(bench.peers.filter(takes));
  const started = new Map<Peer, Running>();
  const stop = async (peer: Peer) => {
    await started.get(peer)?.stop();
    started.delete(peer);
  };
  try {
    for (let round = 0; round < bench.rounds; round += 1) {
      for (const peer of rotated([...peers], round)) {
        tellRound(bench, turns.about, round, peer.name);
        try {
          const running = started.get(peer) ?? (await start(turns, peer, bench, started));
          bench.results.add(peer.name, await turns.measure(running, bench));
        } catch (error) {
          peers.delete(peer);
          tellFailure(bench, turns.about, peer, error);
        }
        if (isFresh || !peers.has(peer)) {
          await stop(peer);
        }
      }
    }
  } finally {
    await Promise.all([...started.keys()].map(stop));
  }
}

/** Notes that one peer has failed, so that a run of minutes is not lost for it. */
function tellFailure(bench: Bench, about: string, { name }: Peer, error: unknown): void {
  if (!(error instanceof BenchError)) {
    throw error;
  }
  if (name === bench.ours?.name) {
    process.exitCode = 1;
  }
  bench.note(`Failed: ${about}, ${name}: ${error.message.trim()}`);
}

export function tellRound(bench: Bench, about: string, round: number, peer: string): void {
  bench.progress(`${about}: round ${round + 1} of ${bench.rounds}, ${peer}`);
}

/** Another is first in each round, so that none always follows the same. */
function rotated(peers: readonly Peer[], round: number): Peer[] {
  const first = round % Math.max(peers.length, 1);
  return [...peers.slice(first), ...peers.slice(0, first)];
}

async function start(
  turns: Turns,
  peer: Peer,
  bench: Bench,
  started: Map<Peer, Running>,
): Promise<Running> {
  const running = await peer.start(
    destination(bench, turns.endpoint, `${turns.name}-${peer.name}`),
  );
  started.set(peer, running);
  await turns.warmUp?.(running, bench);
  return running;
}

/** @param name - Of the directory for configuration and logs. */
export function destination(bench: Bench, endpoint: Endpoint, name: string): Destination {
  return { upstream: bench.upstream, endpoint, directory: path.join(bench.directory, name) };
}

export const url = ({ port }: Pick<Running, 'port'>, target: string) =>
  `http://127.0.0.1:${port}${target}`;

/** The process of a peer that takes part for what it costs. */
export function processOf({ pid }: Running): number {
  if (pid === undefined) {
    throw new Error('the upstream itself has no process of a proxy');
  }
  return pid;
}
