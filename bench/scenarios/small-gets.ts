// CPU of one small GET: many connections, each with its next request as soon as it has an answer.
import { findWrk, runWrk } from '../load.js';
import { cpuSince, readCpu } from '../measure.js';
import { type Scheme, TARGETS } from '../upstream.js';
import { inTurn, processOf, type Scenario, url } from './scenario.js';

const WARM_UP_SECONDS = 1;

export const smallGets: readonly Scenario[] = [
  smallGet(64, 'plain'),
  smallGet(8, 'plain'),
  smallGet(1_000, 'plain'),
  smallGet(64, 'tls'),
];

/** Nothing where it is there. */
export function missingWrk(): string | undefined {
  return findWrk() ? undefined : 'wrk is not installed (Debian: apt-get install wrk)';
}

function smallGet(connections: number, scheme: Scheme): Scenario {
  const name = `get-${connections}${scheme === 'tls' ? '-tls' : ''}`;
  const upstream = scheme === 'tls' ? 'TLS' : 'plain';
  return inTurn({
    name,
    about: `small GETs over ${connections} connections, ${upstream} upstream`,
    scheme,
    missing: missingWrk,
    warmUp: async (running) => {
      await runWrk(url(running, TARGETS.small), connections, WARM_UP_SECONDS);
    },
    measure: async (running, { seconds }) => {
      const pid = processOf(running);
      const before = readCpu(pid);
      const load = await runWrk(url(running, TARGETS.small), connections, seconds);
      return {
        [`${name}.cpu`]: cpuSince(pid, before) / load.requests,
        [`${name}.rate`]: load.perSecond,
      };
    },
  });
}
