// What a proxy adds to the time of a request when there is time to spare: small GETs at half the rate
// that nginx can carry, each due at its own moment.
import { runWrk } from '../load.js';
import { nginx } from '../peers/nginx.js';
import { TARGETS } from '../upstream.js';
import { type Bench, destination, inTurn, type Scenario, url } from './scenario.js';
import { missingWrk } from './small-requests.js';

const CONNECTIONS = 64;

export const latency: Scenario = inTurn({
  name: 'latency',
  about: "small GETs at half of nginx's top load",
  endpoint: 'plain',
  takes: () => true,
  missing: () => missingWrk() ?? (nginx() ? undefined : 'nginx is not installed'),
  warmUp: async ({ port }, bench) => {
    const rate = Math.ceil((await topRate(bench)) / 4);
    await bench.load.rate({
      port,
      path: TARGETS.small,
      rate,
      connections: CONNECTIONS,
      seconds: 1,
    });
  },
  measure: async ({ port }, bench) => {
    const rate = Math.floor((await topRate(bench)) / 2);
    const { seconds } = bench;
    const given = { port, path: TARGETS.small, rate, connections: CONNECTIONS, seconds };
    const { p50, p99 } = await bench.load.rate(given);
    return { 'latency.p50': p50, 'latency.p99': p99, 'latency.rate': rate };
  },
});

/** Requests a second, as measured before in this run or now. */
async function topRate(bench: Bench): Promise<number> {
  const key = 'get-64.rate';
  const known = bench.results.median(key, 'nginx');
  if (known !== undefined) {
    return known;
  }
  const running = await nginx()?.start(destination(bench, 'plain', 'top-load'));
  if (running === undefined) {
    throw new Error('nginx was there a moment ago');
  }
  try {
    await runWrk(url(running, TARGETS.small), CONNECTIONS, 1);
    const { perSecond } = await runWrk(url(running, TARGETS.small), CONNECTIONS, bench.seconds);
    bench.results.add('nginx', { [key]: perSecond });
    return perSecond;
  } finally {
    await running.stop();
  }
}
