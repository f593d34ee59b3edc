// What the audit log costs: the CPU of a small GET with it and without, of two proxies that take turns. Of ours
// alone; each writes its ordinary log, too.
import path from 'node:path';
import { runWrk } from '../load.js';
import { cpuSince, readCpu } from '../measure.js';
import type { Running } from '../peers/peer.js';
import { TARGETS } from '../upstream.js';
import { type Bench, destination, processOf, type Scenario, tellRound, url } from './scenario.js';
import { missingWrk } from './small-requests.js';

const ABOUT = 'CPU of a small GET with an audit log and without';
const CONNECTIONS = 64;
const WARM_UP_SECONDS = 1;

export const audit: Scenario = {
  name: 'audit',
  about: ABOUT,
  missing: (bench) => (bench.ours ? missingWrk() : 'ours is not measured'),
  run,
};

async function run(bench: Bench): Promise<void> {
  const started: Running[] = [];
  try {
    const file = path.join(bench.directory, 'audit.jsonl');
    started.push(await start(bench, 'with', ['--audit-log', file]));
    started.push(await start(bench, 'without', []));
    for (const running of started) {
      await runWrk(url(running, TARGETS.small), CONNECTIONS, WARM_UP_SECONDS);
    }
    for (let round = 0; round < bench.rounds; round += 1) {
      tellRound(bench, ABOUT, round, 'ours');
      // Each is first as often as the other: what came before shows in the next measurement.
      const order = round % 2 === 0 ? started : [...started].reverse();
      const costs = new Map<Running, number>();
      for (const running of order) {
        costs.set(running, await cpuOfGet(bench, running));
      }
      const [logged = Number.NaN, plain = Number.NaN] = started.map((each) => costs.get(each));
      bench.results.add('ours', { 'audit.cpu': logged, 'audit.more': logged / plain - 1 });
    }
  } finally {
    await Promise.all(started.map((running) => running.stop()));
  }
}

async function cpuOfGet(bench: Bench, running: Running): Promise<number> {
  const pid = processOf(running);
  const before = readCpu(pid);
  const load = await runWrk(url(running, TARGETS.small), CONNECTIONS, bench.seconds);
  return cpuSince(pid, before) / load.requests;
}

function start({ ours, ...bench }: Bench, name: string, flags: string[]): Promise<Running> {
  if (!ours) {
    throw new Error('left out where ours is not measured');
  }
  return ours.start(destination({ ...bench, ours }, 'plain', `audit-${name}`), { flags });
}
