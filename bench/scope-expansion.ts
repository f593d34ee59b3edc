// How long the expansion of scopes takes with 10,000 roles, for the first time and again, and how long
// others have to wait for their turn meanwhile and when a role has changed. Ends with an error if a
// client's scopes, once they have been expanded, take a millisecond or more, or a change of a role
// stalls the process for 50 ms or more.
//
// What it is not: a measurement of the database; the roles are made up here.
import { monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { RoleExpansion } from '../ts/deployment/auth/roles.js';

const ROLES = 10_000;
const TIMES = 2_000;

/** Roles as a large deployment has them: repositories, hooks, worker pools, people's groups. */
function* madeUpRoles() {
  for (let each = 0; each < ROLES / 4; each += 1) {
    const repository = `repo:github.com/organisation-${each % 50}/repository-${each}:*`;
    const project = `project:project-${each}`;
    yield {
      roleId: repository,
      scopes: [
        `assume:${project}`,
        `queue:route:index.project.repository-${each}.<..>`,
        ...scopesFor(`repository-${each}`, 10),
      ],
    };
    yield { roleId: project, scopes: scopesFor(`project-${each}`, 20) };
    yield { roleId: `hook-id:project-${each}/*`, scopes: [`assume:${project}`] };
    yield {
      roleId: `login-group:group-${each}`,
      scopes: [`assume:${project}`, `assume:hook-id:project-${each}/*`, `secrets:*:group-${each}`],
    };
  }
}

function scopesFor(name: string, count: number): string[] {
  return Array.from(
    { length: count },
    (_, each) => `queue:create-task:highest:provisioner-${each}/${name}`,
  );
}

const CASES: Record<string, string[]> = {
  'no credentials': ['assume:anonymous'],
  'a task': [
    'assume:repo:github.com/organisation-7/repository-7:branch:main',
    'queue:rerun-task:x',
  ],
  'a person in 20 groups': [
    ...Array.from({ length: 20 }, (_, each) => `assume:login-group:group-${each * 100}`),
    'assume:anonymous',
    'assume:login-identity:somebody',
  ],
  'a service that assumes every repository': ['assume:repo:*', 'auth:expand-scopes'],
  'a service that assumes everything': ['assume:*', 'queue:*', 'secrets:get:x'],
};

async function microseconds(run: () => unknown): Promise<number> {
  const start = performance.now();
  await run();
  return (performance.now() - start) * 1000;
}

/** The longest time, in milliseconds, for which nothing else had its turn. */
async function stall(run: () => unknown): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  // It measures from its second turn on.
  await sleep(20);
  await run();
  await sleep(5);
  delay.disable();
  return delay.max / 1e6;
}

async function several(times: number, run: () => Promise<number>): Promise<number[]> {
  const values: number[] = [];
  while (values.length < times) {
    values.push(await run());
  }
  return values;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

/** As they are read again: equal, but not the same. */
function withAnother(turn: number) {
  return roles.map(({ roleId, scopes }, index) => ({
    roleId,
    scopes: [...scopes, ...(index === turn * 7 ? [`another:${turn}`] : [])],
  }));
}

const roles = [...madeUpRoles()];
let expansion = new RoleExpansion([]);
const building = await microseconds(() => {
  expansion = new RoleExpansion(roles);
});
let turn = 0;
const changing = await several(20, async () => {
  turn += 1;
  const changed = withAnother(turn);
  return microseconds(() => {
    expansion = new RoleExpansion(changed, expansion);
  });
});
const change = median(changing) / 1000;
console.log(
  `${roles.length} roles, checked for cycles and indexed in ${Math.round(building / 1000)} ms, ` +
    `again when one has changed in ${change.toFixed(1)} ms`,
);
const rows = [];
for (const [what, scopes] of Object.entries(CASES)) {
  let first = 0;
  const stalled = await stall(async () => {
    first = await microseconds(() => expansion.expand(scopes));
  });
  const again = median(await several(TIMES, () => microseconds(() => expansion.expand(scopes))));
  rows.push({
    'expanded for': what,
    'scopes it comes to': (await expansion.expand(scopes)).length,
    'first time, µs': Math.round(first),
    'stalls, ms': Number(stalled.toFixed(1)),
    'again, µs': Number(again.toFixed(1)),
  });
}
console.table(rows);
if (rows.some((row) => row['again, µs'] >= 1000)) {
  console.error('an expansion that is kept takes a millisecond or more');
  process.exitCode = 1;
}
if (change >= 50 || rows.some((row) => row['stalls, ms'] >= 50)) {
  console.error('others have to wait for 50 ms or more');
  process.exitCode = 1;
}
