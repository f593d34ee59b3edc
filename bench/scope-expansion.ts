// How long the expansion of scopes takes with 10,000 roles, for the first time and again. Ends with
// an error if a client's scopes, once they have been expanded, take a millisecond or more.
//
// What it is not: a measurement of the database; the roles are made up here.
import { performance } from 'node:perf_hooks';
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

function microseconds(run: () => unknown): number {
  const start = performance.now();
  run();
  return (performance.now() - start) * 1000;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? 0;
}

const roles = [...madeUpRoles()];
let expansion = new RoleExpansion([]);
const building = microseconds(() => {
  expansion = new RoleExpansion(roles);
});
console.log(
  `${roles.length} roles, checked for cycles and indexed in ${Math.round(building / 1000)} ms`,
);
const rows = Object.entries(CASES).map(([what, scopes]) => {
  const first = microseconds(() => expansion.expand(scopes));
  const again = median(
    Array.from({ length: TIMES }, () => microseconds(() => expansion.expand(scopes))),
  );
  return {
    'expanded for': what,
    'scopes it comes to': expansion.expand(scopes).length,
    'first time, µs': Math.round(first),
    'again, µs': Number(again.toFixed(1)),
  };
});
console.table(rows);
if (rows.some((row) => row['again, µs'] >= 1000)) {
  console.error('an expansion that is kept takes a millisecond or more');
  process.exitCode = 1;
}
