// What the command costs before its first request: time from its start to listening, against an empty
// Node program, and resident memory against a bare `http` server.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { readMemory } from '../measure.js';
import { CREDENTIALS } from '../peers/ours.js';
import { rootUrl } from '../upstream.js';
import { type Bench, type Scenario, tellRound } from './scenario.js';

const SERVER = "require('http').createServer().listen(0, '127.0.0.1', () => console.log(1))";

/** Time for memory to come to rest. */
const SETTLE_MS = 300;

/** The number of starts in each round; starts are short and scatter. */
const STARTS = 3;

const { PATH = '' } = process.env;

export const start: Scenario = {
  name: 'start',
  about: 'start to listening, memory when idle',
  missing: ({ ours }) => (ours ? undefined : 'ours is not measured'),
  run: async (bench) => {
    const { ours, results } = bench;
    for (let round = 0; round < bench.rounds; round += 1) {
      tellRound(bench, start.about, round, 'ours and Node');
      for (let each = 0; each < STARTS; each += 1) {
        results.add('node', { 'start.empty': empty() });
        const own = await listening([...(ours?.command ?? []), ...flags(bench)]);
        results.add('ours', { 'start.listening': own.seconds, 'start.memory': own.resident });
        const bare = await listening([process.execPath, '-e', SERVER]);
        results.add('node', { 'start.memory': bare.resident });
      }
    }
  },
};

function flags({ upstream }: Bench): string[] {
  const root = ['--root-url', rootUrl(upstream, 'plain')];
  return ['--port', '0', '--ip-address', '127.0.0.1', ...root];
}

/** Resolves at the first line on stdout, which both programs write when they listen. */
async function listening([program = '', ...args]: readonly string[]) {
  const began = performance.now();
  const env = { PATH, ...CREDENTIALS };
  const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  const seconds = (performance.now() - began) / 1_000;
  await sleep(SETTLE_MS);
  const { resident } = readMemory(child.pid ?? 0);
  child.kill('SIGKILL');
  await once(child, 'exit');
  return { seconds, resident };
}

/** Seconds that Node takes for an empty program. */
function empty(): number {
  const began = performance.now();
  spawnSync(process.execPath, ['-e', '0'], { env: { PATH } });
  return (performance.now() - began) / 1_000;
}
