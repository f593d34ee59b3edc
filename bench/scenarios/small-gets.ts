// CPU of one small GET: many connections, each with its next request as soon as it has an answer.
import { findWrk, runWrk } from '../load.js';
import { cpuSince, readCpu } from '../measure.js';
import { type Scheme, TARGETS } from '../upstream.js';
import { type Scenario, url } from './scenario.js';

const WARM_UP_SECONDS = 1;

export const smallGets: Scenario[] = [
  smallGet(64, 'plain'),
  smallGet(8, 'plain'),
  smallGet(1_000, 'plain'),
  smallGet(64, 'tls'),
];

function smallGet(connections: number, scheme: Scheme): Scenario {
  const name = `get-${connections}${scheme === 'tls' ? '-tls' : ''}`;
  return {
    name,
    about: `small GETs over ${connections} connections, ${scheme === 'tls' ? 'TLS' : 'plain'} upstream`,
    scheme,
    isFresh: false,
    hasDirect: scheme === 'plain' && connections === 64,
    missing: () => (findWrk() ? undefined : 'wrk is not installed (Debian: apt-get install wrk)'),
    warmUp: async (running) => {
      await runWrk(url(running, TARGETS.small), connections, WARM_UP_SECONDS);
    },
    measure: async (running, { seconds }) => {
      const { pid } = running;
      const before = pid === undefined ? undefined : readCpu(pid);
      const { requests, perSecond } = await runWrk(
        url(running, TARGETS.small),
        connections,
        seconds,
      );
      const rate = { [`${name}.rate`]: perSecond };
      if (pid === undefined || before === undefined) {
        return rate;
      }
      return { ...rate, [`${name}.cpu`]: cpuSince(pid, before) / requests };
    },
  };
}
