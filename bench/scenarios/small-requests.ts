// CPU of one small request, a GET or a POST of 300 bytes: many connections, each with its next request
// as soon as it has an answer.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { findWrk, runWrk } from '../load.js';
import { cpuSince, readCpu } from '../measure.js';
import { POST_BODY, type Scheme, TARGETS } from '../upstream.js';
import { type Bench, inTurn, processOf, type Scenario, url } from './scenario.js';

const WARM_UP_SECONDS = 1;

type Method = 'GET' | 'POST';

export const smallRequests: readonly Scenario[] = [
  smallRequest('GET', 64, 'plain'),
  smallRequest('GET', 8, 'plain'),
  smallRequest('GET', 1_000, 'plain'),
  smallRequest('GET', 64, 'tls'),
  smallRequest('POST', 64, 'plain'),
  smallRequest('POST', 64, 'tls'),
];

/** Nothing where it is there. */
export function missingWrk(): string | undefined {
  return findWrk() ? undefined : 'wrk is not installed (Debian: apt-get install wrk)';
}

function smallRequest(method: Method, connections: number, scheme: Scheme): Scenario {
  const name = `${method.toLowerCase()}-${connections}${scheme === 'tls' ? '-tls' : ''}`;
  const upstream = scheme === 'tls' ? 'TLS' : 'plain';
  return inTurn({
    name,
    about: `small ${method}s over ${connections} connections, ${upstream} upstream`,
    scheme,
    missing: missingWrk,
    warmUp: async (running, bench) => {
      const { target, script } = what(method, bench);
      await runWrk(url(running, target), connections, WARM_UP_SECONDS, script);
    },
    measure: async (running, bench) => {
      const { target, script } = what(method, bench);
      const pid = processOf(running);
      const before = readCpu(pid);
      const load = await runWrk(url(running, target), connections, bench.seconds, script);
      return {
        [`${name}.cpu`]: cpuSince(pid, before) / load.requests,
        [`${name}.rate`]: load.perSecond,
      };
    },
  });
}

/** wrk makes a request of constants once, so that its script costs nothing meanwhile. */
function what(method: Method, { directory }: Bench): { target: string; script?: string } {
  if (method === 'GET') {
    return { target: TARGETS.small };
  }
  const script = path.join(directory, 'post.lua');
  const lines = [
    'wrk.method = "POST"',
    'wrk.headers["Content-Type"] = "application/json"',
    `wrk.body = ${JSON.stringify(POST_BODY)}`,
  ];
  writeFileSync(script, lines.join('\n'));
  return { target: TARGETS.post, script };
}
