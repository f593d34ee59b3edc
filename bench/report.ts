// A run as JSON: every value of every round, what they come to, and where and how they were measured.

import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os';
import { FIGURES } from './figures.js';
import type { Options } from './options.js';
import type { Peer } from './peers/peer.js';
import type { Results, Values } from './results.js';
import { type Row, rows } from './table.js';

export interface Report {
  /** ISO 8601. */
  readonly date: string;
  readonly machine: Machine;
  readonly rounds: number;
  /** How long load lasted where time bounded it. */
  readonly seconds: number;
  readonly peers: readonly Pick<Peer, 'name' | 'version' | 'settings'>[];
  /** What a reader of the figures should know. */
  readonly notes: readonly string[];
  readonly table: readonly Row[];
  /** By figure, then by peer: medians, in seconds and bytes. */
  readonly medians: Record<string, Record<string, number>>;
  /** By figure, then by peer: one for each round. */
  readonly values: Values;
}

export interface Machine {
  readonly cpu: string;
  /** The cores that this process may use. */
  readonly cores: number;
  readonly memoryGib: number;
  readonly system: string;
  readonly kernel: string;
  readonly node: string;
}

export function makeReport(results: Results, peers: readonly Peer[], options: Options): Report {
  const names = peers.map(({ name }) => name);
  return {
    date: new Date().toISOString(),
    machine: machine(),
    rounds: options.rounds,
    seconds: options.seconds,
    peers: peers.map(({ name, version, settings }) => ({ name, version, settings })),
    notes: results.notes,
    table: rows(results.median, names),
    medians: medians(results, [...names, 'node']),
    values: results.values,
  };
}

function medians(results: Results, peers: readonly string[]): Report['medians'] {
  const keys = new Set([...FIGURES.map(({ key }) => key), ...Object.keys(results.values)]);
  const entries = [...keys].map((key) => {
    const known = peers.flatMap((peer) => {
      const value = results.median(key, peer);
      return value === undefined ? [] : [[peer, value] as const];
    });
    return [key, Object.fromEntries(known)] as const;
  });
  return Object.fromEntries(entries.filter(([, known]) => Object.keys(known).length > 0));
}

function machine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? arch(),
    cores: availableParallelism(),
    memoryGib: Math.round(totalmem() / 2 ** 30),
    system: systemName(),
    kernel: release(),
    node: process.version,
  };
}

function systemName(): string {
  try {
    const text = readFileSync('/etc/os-release', 'utf8');
    return /^PRETTY_NAME="?([^"\n]*)/m.exec(text)?.[1] ?? 'Linux';
  } catch {
    return 'Linux';
  }
}
