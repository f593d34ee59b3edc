// CPU of one small request, a GET or a POST of 300 bytes: many connections, each with its next request
// as soon as it has an answer.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { ENDPOINTS, type Endpoint, suffix } from '../endpoints.js';
import { findWrk, runWrk } from '../load.js';
import { cpuSince, readCpu } from '../measure.js';
import { POST_BODY, TARGETS } from '../upstream.js';
import { type Bench, inTurn, processOf, type Scenario, url } from './scenario.js';

const WARM_UP_SECONDS = 1;

type Method = 'GET' | 'POST';

export const smallRequests: readonly Scenario[] = [
  smallRequest('GET', 64, 'plain'),
  smallRequest('GET', 8, 'plain'),
  smallRequest('GET', 1_000, 'plain'),
  smallRequest('GET', 64, 'tls'),
  smallRequest('GET', 64, 'alpn'),
  smallRequest('POST', 64, 'plain'),
  smallRequest('POST', 64, 'tls'),
  smallRequest('POST', 64, 'alpn'),
];

/** Why wrk is missing, in a clause; undefined where it is installed. */
export function missingWrk(): string | undefined {
  return findWrk() ? undefined : 'wrk is not installed (Debian: apt-get install wrk)';
}

function smallRequest(method: Method, connections: number, endpoint: Endpoint): Scenario {
  const name = `${method.toLowerCase()}-${connections}${suffix(endpoint)}`;
  return inTurn({
    name,
    about: `small ${method}s over ${connections} connections, ${ENDPOINTS[endpoint]}`,
    endpoint,
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
