// One run: every scenario, its peers in alternation, round after round.
import path from 'node:path';
import type { Peer, Running } from './peers/peer.js';
import type { Results } from './results.js';
import type { Scenario, Settings } from './scenarios/scenario.js';

export interface Plan {
  scenario: Scenario;
  peers: readonly Peer[];
  rounds: number;
  settings: Settings;
  /** For what belongs to this scenario alone. */
  directory: string;
  /** Called before each measurement. */
  progress: (words: string) => void;
}

export async function runScenario(plan: Plan, results: Results): Promise<void> {
  const started = new Map<string, Running>();
  try {
    for (let round = 0; round < plan.rounds; round += 1) {
      for (const peer of inTurn(plan.peers, round)) {
        plan.progress(`${plan.scenario.about}: round ${round + 1} of ${plan.rounds}, ${peer.name}`);
        const running = started.get(peer.name) ?? (await start(plan, peer));
        started.set(peer.name, running);
        results.add(peer.name, await plan.scenario.measure(running, plan.settings));
        if (plan.scenario.isFresh) {
          started.delete(peer.name);
          await running.stop();
        }
      }
    }
  } finally {
    await Promise.all([...started.values()].map((running) => running.stop()));
  }
}

/** Another peer is first in each round, so that none always follows the same. */
function inTurn(peers: readonly Peer[], round: number): Peer[] {
  const first = round % peers.length;
  return [...peers.slice(first), ...peers.slice(0, first)];
}

async function start({ scenario, settings, directory }: Plan, peer: Peer): Promise<Running> {
  const running = await peer.start({
    upstream: settings.upstream,
    scheme: scenario.scheme,
    directory: path.join(directory, peer.name),
  });
  await scenario.warmUp?.(running, settings);
  return running;
}
