// The soak of the proxy: one for each kind of upstream, each behind a network of its own that has bad
// weather now and then; tasks of theirs, and what launched them.
import { setMaxListeners } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Authority, type Leaf } from '../__test__/harness/authority.js';
import { Random } from '../__test__/harness/random.js';
import { permanentCredentials } from '../__test__/harness/signature.js';
import { work } from './clients.js';
import { DRAIN_MS, rotate } from './launcher.js';
import { Ledger } from './ledger.js';
import type { Figures, Run } from './report.js';
import type { Site } from './site.js';
import { type Holding, Subject } from './subject.js';
import { KINDS, type Kind, Upstream } from './upstream.js';
import { Weather } from './weather.js';

/** Clients of each proxy. */
const CLIENTS = 12;

const FLAGS = [
  ...['--retry-first', '50ms', '--retry-cap', '1s', '--response-timeout', '8s'],
  ...['--replay-limit', '2MiB', '--drain-timeout', `${DRAIN_MS}ms`, '--log-level', 'warn'],
];

/** One of them has no second try, so that no POST may come twice. */
const OWN_FLAGS: Record<Kind, readonly string[]> = {
  plain: ['--retry-for', '5s'],
  tls: ['--retry-for', '0'],
  http2: ['--retry-for', '5s', '--upstream-http2'],
};

/** The first part of the load. After it, what the proxy holds at rest is measured. */
const WARM_UP_MS = 60_000;

/** Idle connections to upstreams are kept for 90 s, and looked after every 11. */
const REST_MS = 105_000;

/** A shorter load tells nothing of what is held for good. */
const SHORTEST_MS = 120_000;

/** What may be held more than at the mark: pipes that a thread keeps, pages that are not yet given back. */
const MORE = { descriptors: 16, threads: 1, memory: 8 * 2 ** 20, share: 0.1 };

export async function soakProxy(run: Run): Promise<Figures[]> {
  const { directory, pause, seed, judgesFair } = run;
  const sites: Site[] = [];
  try {
    const authority = await Authority.create();
    const leaf = await authority.issue(['127.0.0.1']);
    const trusted = authority.writeRoot(directory);
    for (const [index, kind] of KINDS.entries()) {
      const random = new Random(seed, index);
      sites.push(await startSite(kind, { directory, leaf, trusted, random, pause, judgesFair }));
    }
    return await soakSites(sites, run);
  } finally {
    await Promise.all(sites.map(end));
  }
}

interface Ground {
  readonly directory: string;
  readonly leaf: Leaf;
  /** PEM of the authority that issued it. */
  readonly trusted: string;
  /** For the weather. */
  readonly random: Random;
  readonly pause: number;
  readonly judgesFair: boolean;
}

async function startSite(kind: Kind, ground: Ground): Promise<Site> {
  const { directory, leaf, trusted, random, pause, judgesFair } = ground;
  const ledger = new Ledger();
  const upstream = await Upstream.start(kind, leaf, ledger);
  const weather = await Weather.on(upstream.port, random, ledger);
  const subject = await Subject.start({
    rootUrl: `${kind === 'plain' ? 'http' : 'https'}://127.0.0.1:${weather.port}`,
    credentials: permanentCredentials('soak/first'),
    flags: [...FLAGS, ...OWN_FLAGS[kind]],
    authority: trusted,
    log: path.join(directory, `${kind}.log`),
  });
  let number = 0;
  return {
    kind,
    subject,
    upstream,
    weather,
    ledger,
    judgesFair,
    pause,
    retries: kind !== 'tls',
    agent: new http.Agent({ keepAlive: true, maxSockets: CLIENTS }),
    next: () => ++number,
  };
}

async function soakSites(
  sites: readonly Site[],
  { minutes, seed, progress }: Run,
): Promise<Figures[]> {
  const total = minutes * 60_000;
  const isLong = total >= SHORTEST_MS;
  const warmUp = isLong ? WARM_UP_MS : total / 4;
  const phases = new Random(seed);
  progress('warming up');
  await load(sites, phases.below(2 ** 32), warmUp);
  const marks = await Promise.all(sites.map((site) => rest(site, isLong)));
  progress('under load');
  await load(sites, phases.below(2 ** 32), total - warmUp);
  progress('coming to rest');
  const ends = await Promise.all(sites.map((site) => rest(site, isLong)));
  for (const [index, site] of sites.entries()) {
    const [mark, end] = [marks[index], ends[index]];
    if (isLong && mark !== undefined && end !== undefined) {
      compare(site, mark, end);
    }
    await ask(site);
  }
  return sites.map(({ kind, ledger }) => ({ name: kind, ledger }));
}

async function load(sites: readonly Site[], seed: number, milliseconds: number): Promise<void> {
  const signal = AbortSignal.timeout(milliseconds);
  // Each client waits on it, and each storm.
  setMaxListeners(0, signal);
  let salt = 0;
  const random = () => new Random(seed, ++salt);
  await Promise.all(
    sites.flatMap((site) => [
      site.weather.change(signal),
      rotate(site, random(), signal),
      watch(site, signal),
      ...Array.from({ length: CLIENTS }, () => work(site, random(), signal)),
    ]),
  );
}

/** Keeps the most that the proxy holds under load. */
async function watch({ subject, ledger }: Site, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { descriptors, threads, memory } = subject.holding();
    ledger.most('most descriptors', descriptors);
    ledger.most('most threads', threads);
    ledger.most('most memory in MiB', mib(memory));
    await sleep(1_000);
  }
}

/** What the proxy holds when its clients have left, and its connections to upstreams have gone. */
async function rest(site: Site, isLong: boolean): Promise<Holding> {
  const { kind, subject, ledger, agent } = site;
  agent.destroy();
  const left = await subject.comesToRest(30_000);
  if (left.requests !== 0 || left.connections !== 0) {
    ledger.fault(`${kind}: ${left.requests} requests and ${left.connections} connections are left`);
  }
  await sleep(isLong ? REST_MS : 0);
  return subject.holding();
}

function compare({ kind, ledger }: Site, mark: Holding, end: Holding): void {
  ledger.add('descriptors at rest, early', mark.descriptors);
  ledger.add('descriptors at rest, at the end', end.descriptors);
  ledger.add('threads at rest, early', mark.threads);
  ledger.add('threads at rest, at the end', end.threads);
  ledger.add('memory at rest in MiB, early', mib(mark.memory));
  ledger.add('memory at rest in MiB, at the end', mib(end.memory));
  if (end.descriptors > mark.descriptors + MORE.descriptors) {
    ledger.fault(`${kind}: descriptors grew from ${mark.descriptors} to ${end.descriptors}`);
  }
  if (end.threads > mark.threads + MORE.threads) {
    ledger.fault(`${kind}: threads grew from ${mark.threads} to ${end.threads}`);
  }
  if (end.memory > mark.memory * (1 + MORE.share) + MORE.memory) {
    ledger.fault(`${kind}: memory grew from ${mib(mark.memory)} to ${mib(end.memory)} MiB`);
  }
}

/** What the proxy tells of itself. */
async function ask({ kind, subject, ledger }: Site): Promise<void> {
  const metrics = await subject.metrics();
  ledger.add('further tries', metrics.get('retries_total') ?? 0);
  for (const panic of subject.panics()) {
    ledger.fault(`${kind}: ${panic}`);
  }
}

/** A proxy that has come through ends in good order. */
async function end({ kind, subject, upstream, weather, ledger }: Site): Promise<void> {
  if (subject.hasEnded) {
    ledger.fault(`${kind}: the proxy has ended; see ${subject.log}`);
  }
  await subject.stop();
  weather.stop();
  upstream.stop();
}

function mib(bytes: number): number {
  return Math.round((bytes / 2 ** 20) * 10) / 10;
}
