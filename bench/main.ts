// `npm run bench`: measures the proxy beside others and says how it compares. It installs nothing;
// what is missing on this machine is left out with a line that says so.
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { chart } from './chart.js';
import { asJson, caption, writeDocument } from './document.js';
import { buildLoadProgram } from './load.js';
import { choose, HELP, type Options, readOptions } from './options.js';
import { command } from './peers/command.js';
import { direct } from './peers/direct.js';
import { haproxy } from './peers/haproxy.js';
import { nginx } from './peers/nginx.js';
import { type OurPeer, ours } from './peers/ours.js';
import type { Peer } from './peers/peer.js';
import { BenchError, findProgram } from './program.js';
import { makeReport, type Report } from './report.js';
import { Results } from './results.js';
import { admission } from './scenarios/admission.js';
import { audit } from './scenarios/audit.js';
import { distance } from './scenarios/distance.js';
import { held } from './scenarios/held.js';
import { latency } from './scenarios/latency.js';
import type { Bench, Scenario } from './scenarios/scenario.js';
import { smallRequests } from './scenarios/small-requests.js';
import { start } from './scenarios/start.js';
import { longTransfers, transfers } from './scenarios/transfers.js';
import { asText } from './table.js';
import { startUpstream } from './upstream.js';

const SCENARIOS: readonly Scenario[] = [
  ...smallRequests,
  latency,
  ...transfers,
  distance,
  ...held,
  start,
  ...admission,
  audit,
];

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
    console.log(
      [...SCENARIOS, ...longTransfers]
        .map(({ name, about }) => `${name.padEnd(17)}${about}`)
        .join('\n'),
    );
    return;
  }
  const directory = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-bench-'));
  // Also where the bench is interrupted.
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => process.exit(130));
  }
  await measure(options, directory);
}

async function measure(options: Options, directory: string): Promise<void> {
  const program = findProgram('nginx');
  if (program === undefined) {
    throw new BenchError(
      'nginx is not installed; it is the upstream (Debian: apt-get install nginx)',
    );
  }
  const all = options.long ? [...SCENARIOS, ...longTransfers] : SCENARIOS;
  const wanted = choose(all, options.only);
  // Other users run the load program that lies here.
  chmodSync(directory, 0o711);
  progress('building bench/load');
  const load = buildLoadProgram(directory);
  const { peers, own } = findPeers(options);
  const upstream = await startUpstream(program, load, directory);
  const results = new Results();
  const note = (sentence: string) => {
    results.notes.push(sentence);
    progress('');
    console.error(sentence);
  };
  const { rounds, seconds } = options;
  const given = { ours: own, rounds, seconds, directory, progress, note };
  const bench: Bench = { ...given, upstream, load, peers, results };
  const began = Date.now();
  try {
    const scenarios = possible(wanted, bench);
    for (const [at, scenario] of scenarios.entries()) {
      const place = `${at + 1}/${scenarios.length} `;
      await scenario.run({ ...bench, progress: (words) => progress(place + words) });
    }
  } finally {
    progress('');
    await upstream.stop();
  }
  tell(makeReport(results, peers, options), results, options);
  console.error(`measured in ${Math.round((Date.now() - began) / 1_000)} s`);
}

function tell(report: Report, results: Results, { json, svg, writeDocs }: Options): void {
  const names = report.peers.map(({ name }) => name);
  console.log(`${caption(report)}\n\n${asText(report.table, names)}`);
  const drawing = chart(results.median, names, caption(report));
  if (json !== undefined) {
    writeFileSync(json, asJson(report));
  }
  if (svg !== undefined) {
    writeFileSync(svg, drawing);
  }
  if (writeDocs) {
    writeDocument(report, drawing);
  }
}

function findPeers({ peers, with: commands }: Options) {
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
  let own: OurPeer | undefined;
  add('ours', () => {
    own = ours(progress);
    return own;
  });
  add('nginx', nginx);
  add('HAProxy', haproxy);
  for (const given of commands) {
    add(given.split('=')[0] ?? '', () => command(given));
  }
  return { peers: found, own };
}

function possible(scenarios: readonly Scenario[], bench: Bench): Scenario[] {
  return scenarios.filter((scenario) => {
    const reason = scenario.missing?.(bench);
    if (reason !== undefined) {
      bench.note(`Left out: ${scenario.about}, since ${reason}.`);
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
