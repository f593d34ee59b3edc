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
    const withLog = await start(bench, 'with', ['--audit-log', file]);
    started.push(withLog);
    const without = await start(bench, 'without', []);
    started.push(without);
    for (const running of started) {
      await runWrk(url(running, TARGETS.small), CONNECTIONS, WARM_UP_SECONDS);
    }
    for (let round = 0; round < bench.rounds; round += 1) {
      tellRound(bench, ABOUT, round, 'ours');
      const logged = new Cost(withLog);
      const plain = new Cost(without);
      // Each is first and last as often as the other: the machine changes meanwhile by more than the log costs.
      const [outer, inner] = round % 2 === 0 ? [logged, plain] : [plain, logged];
      for (const cost of [outer, inner, inner, outer]) {
        await cost.measure(bench);
      }
      bench.results.add('ours', {
        'audit.cpu': logged.ofRequest,
        'audit.more': logged.ofRequest / plain.ofRequest - 1,
      });
    }
  } finally {
    await Promise.all(started.map((running) => running.stop()));
  }
}

/** CPU and requests of one proxy in one round. */
class Cost {
  readonly #running: Running;
  #cpu = 0;
  #requests = 0;

  constructor(running: Running) {
    this.#running = running;
  }

  get ofRequest(): number {
    return this.#cpu / this.#requests;
  }

  async measure(bench: Bench): Promise<void> {
    const pid = processOf(this.#running);
    const before = readCpu(pid);
    const load = await runWrk(url(this.#running, TARGETS.small), CONNECTIONS, bench.seconds);
    this.#cpu += cpuSince(pid, before);
    this.#requests += load.requests;
  }
}

function start({ ours, ...bench }: Bench, name: string, flags: string[]): Promise<Running> {
  if (!ours) {
    throw new Error('left out where ours is not measured');
  }
  return ours.start(destination({ ...bench, ours }, 'plain', `audit-${name}`), { flags });
}
