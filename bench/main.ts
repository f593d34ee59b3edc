// `npm run bench`: measures the proxy beside others and says how it compares. It installs nothing;
// what is missing on this machine is left out with a line that says so.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { HELP, type Options, readOptions } from './options.js';
import { command } from './peers/command.js';
import { direct } from './peers/direct.js';
import { haproxy } from './peers/haproxy.js';
import { nginx } from './peers/nginx.js';
import { ours } from './peers/ours.js';
import type { Peer } from './peers/peer.js';
import { BenchError, findProgram } from './program.js';
import { Results } from './results.js';
import { runScenario } from './run.js';
import type { Scenario, Settings } from './scenarios/scenario.js';
import { smallGets } from './scenarios/small-gets.js';
import { asText, rows } from './table.js';
import { startUpstream } from './upstream.js';

const SCENARIOS: readonly Scenario[] = [...smallGets];

try {
  await main(readOptions(process.argv.slice(2)));
} catch (error) {
  if (!(error instanceof BenchError)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 1;
}

async function main(options: Options): Promise<void> {
  if (options.help) {
    console.log(HELP);
    return;
  }
  if (options.list) {
    console.log(SCENARIOS.map(({ name, about }) => `${name.padEnd(14)}${about}`).join('\n'));
    return;
  }
  const directory = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-bench-'));
  try {
    await measure(options, directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function measure(options: Options, directory: string): Promise<void> {
  const program = findProgram('nginx');
  if (program === undefined) {
    throw new BenchError(
      'nginx is not installed; it is the upstream (Debian: apt-get install nginx)',
    );
  }
  const peers = findPeers(options);
  const upstream = await startUpstream(program, directory);
  const settings = { upstream, seconds: options.seconds, isLong: options.long };
  const results = new Results();
  try {
    for (const scenario of chosen(options, settings)) {
      const taking = peers.filter((peer) => peer !== direct || scenario.hasDirect);
      const place = path.join(directory, scenario.name);
      const { rounds } = options;
      await runScenario(
        { scenario, peers: taking, rounds, settings, directory: place, progress },
        results,
      );
    }
  } finally {
    progress('');
    await upstream.stop();
  }
  const names = peers.map(({ name }) => name);
  console.log(asText(rows(results.median, names), names));
}

function findPeers({ peers, with: commands }: Options): Peer[] {
  const wanted = (name: string) => peers.length === 0 || peers.includes(name.toLowerCase());
  const found: Peer[] = [];
  const add = (name: string, find: () => Peer | undefined) => {
    if (!wanted(name)) {
      return;
    }
    const peer = find();
    if (peer === undefined) {
      console.error(`Left out: ${name}, which is not installed.`);
    } else {
      found.push(peer);
    }
  };
  add('direct', () => direct);
  add('ours', () => {
    progress('building the addon for release');
    return ours();
  });
  add('nginx', nginx);
  add('HAProxy', haproxy);
  for (const given of commands) {
    add(given.split('=')[0] ?? '', () => command(given));
  }
  return found;
}

function chosen({ only }: Options, settings: Settings): Scenario[] {
  const named = SCENARIOS.filter(
    ({ name }) => only.length === 0 || only.some((start) => name.startsWith(start)),
  );
  if (named.length === 0) {
    throw new BenchError(`--only ${only.join(',')} names no scenario (--list shows them)`);
  }
  return named.filter((scenario) => {
    const reason = scenario.missing?.(settings);
    if (reason !== undefined) {
      console.error(`Left out: ${scenario.about}, since ${reason}.`);
    }
    return reason === undefined;
  });
}

/** One line that is written over, on a terminal; one line each elsewhere. */
function progress(words: string): void {
  if (process.stderr.isTTY) {
    process.stderr.write(`\r\x1b[K${words}`);
  } else if (words !== '') {
    process.stderr.write(`${words}\n`);
  }
}
