// A caller without scopes that sends as many requests as it can does not delay other callers: its requests
// are refused or served in slices, and a ping is answered between two slices.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import type { Deployment } from '../../ts/deployment/index.js';
import { endsWith } from '../harness/child.js';
import { TEST_PATIENCE_MS } from '../harness/deadline.js';
import { authorization, deploymentFor, send } from '../harness/deployment.js';
import type { Flood } from '../harness/flood.js';

const FLOOD = path.resolve(import.meta.dirname, '../harness/flood.ts');

/**
 * The longest that one caller may keep the event loop busy at a stretch, in milliseconds of CPU time. A
 * quiet machine takes a tenth of it. The test looks for work of ten seconds and more that does not
 * yield.
 */
const LONGEST_TURN = 1_000;

/** Number of rows that every caller may ask for. */
const ROLES = 2000;

const names = (length: number, stem: string) =>
  Array.from({ length }, (_, each) => `${stem}${each.toString(36)}`);

const NOBODY = { clientId: 'nobody', accessToken: 'x'.repeat(44) };
const TESTER = { clientId: 'tester', accessToken: 'no-secret' };

interface Attack {
  readonly title: string;
  readonly method?: string;
  readonly path: string;
  readonly body?: unknown;
  readonly client?: typeof NOBODY;
  /** The statuses with which it may be answered. */
  readonly statuses: readonly number[];
}

const TEST = { method: 'POST', path: '/api/auth/v1/test-authenticate', client: TESTER };
const TASK = '/api/queue/v1/task/AAAAAAAAQ_aAAAAAAAAAAA';
const long = 'x'.repeat(9 * 1024 * 1024);

const ATTACKS: readonly Attack[] = [
  {
    ...TEST,
    title: 'as many scopes as there may be on each side',
    body: { clientScopes: names(4000, 'a'), requiredScopes: names(4000, 'b') },
    statuses: [403],
  },
  {
    ...TEST,
    title: '20,000 scopes on each side',
    body: { clientScopes: names(20_000, 'a'), requiredScopes: names(20_000, 'b') },
    statuses: [413],
  },
  {
    ...TEST,
    title: 'something wrong with every letter',
    body: { clientScopes: Array(30_000).fill(1) },
    statuses: [400],
  },
  {
    title: 'a signature of a long target',
    method: 'POST',
    path: '/api/auth/v1/authenticate-hawk',
    body: {
      method: 'get',
      resource: `/${'?bewit='.repeat(9000)}`,
      host: 'h',
      port: 80,
    },
    statuses: [200],
  },
  {
    title: 'the expansion of many scopes',
    method: 'POST',
    path: '/api/auth/v1/scopes/expand',
    body: { scopes: names(12_000, 'assume:r') },
    statuses: [200],
  },
  { title: 'all roles', path: '/api/auth/v1/roles/', statuses: [200] },
  {
    title: 'many tasks',
    method: 'POST',
    path: '/api/queue/v1/tasks',
    body: { taskIds: Array(9000).fill('AAAAAAAAQ_aAAAAAAAAAAA') },
    statuses: [200],
  },
  { title: 'documents', path: '/references/queue/v1/openapi.json', statuses: [200] },
  {
    title: 'a long body without credentials',
    method: 'PUT',
    path: TASK,
    body: { long },
    statuses: [403],
  },
  {
    title: 'a long body of a client who may do nothing',
    method: 'PUT',
    path: TASK,
    body: { long },
    client: NOBODY,
    statuses: [403],
  },
  {
    title: 'passwords',
    method: 'POST',
    path: '/login/local',
    body: { name: 'nobody', password: 'a guess' },
    statuses: [401, 429],
  },
];

test('a caller without rights does not stall other callers by a flood of requests', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const deployment = await deploymentFor(t, {
    isPublic: true,
    checkOutput: false,
    clients: [{ ...NOBODY, scopes: [] }],
    roles: names(ROLES, 'r').map((roleId) => ({ roleId, scopes: [`of:${roleId}`] })),
    onFault: (fault) => t.fail(String(fault)),
  });
  for (const attack of ATTACKS) {
    // The first request pays for work that a process does only once.
    await flood(t, deployment, attack, { connections: 1, milliseconds: 200 });
    const end = watchTurns();
    const statuses = flood(t, deployment, attack, { connections: 16, milliseconds: 2000 });
    const pings = await pingUntil(deployment, statuses);
    const longest = end();
    const counts = await statuses;
    t.log(`${attack.title}: a turn took ${longest} ms, a ping ${pings} ms`, counts);
    t.true(longest < LONGEST_TURN, `${attack.title}: ${longest} ms`);
    const others = Object.keys(counts).filter(
      (status) => status !== 'broken' && !attack.statuses.includes(Number(status)),
    );
    t.deepEqual(others, [], attack.title);
  }
});

async function flood(
  t: ExecutionContext,
  deployment: Deployment,
  { method = 'GET', path: target, body, client }: Attack,
  extent: Pick<Flood, 'connections' | 'milliseconds'>,
): Promise<Record<string, number>> {
  const child = spawn(process.execPath, ['--import=tsx', FLOOD]);
  endsWith(t, child);
  const attack: Flood = {
    port: Number(new URL(deployment.rootUrl).port),
    method,
    path: target,
    headers: {
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...(client && { Authorization: authorization(deployment, { client, method, target }) }),
    },
    body: body === undefined ? '' : JSON.stringify(body),
    ...extent,
  };
  child.stdin.end(JSON.stringify(attack));
  child.stderr.pipe(process.stderr);
  return JSON.parse(await text(child.stdout)) as Record<string, number>;
}

/** Sends pings one after the other, and returns the longest time that one has taken. */
async function pingUntil(deployment: Deployment, end: Promise<unknown>): Promise<number> {
  let isOver = false;
  void end.finally(() => {
    isOver = true;
  });
  let longest = 0;
  while (!isOver) {
    const start = performance.now();
    await send(deployment, { target: '/api/auth/v1/ping' });
    longest = Math.max(longest, performance.now() - start);
  }
  return Math.round(longest);
}

/** Returns a function that tells how long this thread has worked at a stretch, by its own CPU time. */
function watchTurns(): () => number {
  let longest = 0;
  let before = workedFor();
  const timer = setInterval(() => {
    const now = workedFor();
    longest = Math.max(longest, now - before);
    before = now;
  }, 1);
  return () => {
    clearInterval(timer);
    return Math.round(longest);
  };
}

/**
 * The CPU time of this thread in milliseconds; of the process, where the system does not tell that
 * of a thread.
 */
function workedFor(): number {
  try {
    const stat = readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8');
    return Number(stat.split(' ')[0]) / 1e6;
  } catch {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  }
}
