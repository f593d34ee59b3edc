// The scopes that roles add, and the sets of roles that are refused: the rules of Taskcluster's auth
// service. `auth-roles-properties.test.ts` has them for generated sets of roles.
import test from 'ava';
import { checkRoles, RoleError, RoleExpansion } from '../../ts/deployment/auth/roles.js';
import { grants, ordered, union } from '../../ts/deployment/scopes.js';
import { onEveryBackend } from '../harness/backends.js';
import { deploymentFor } from '../harness/deployment.js';

const roles = [
  { roleId: 'a', scopes: ['from-a', 'assume:b'] },
  { roleId: 'b', scopes: ['from-b'] },
  { roleId: 'literal', scopes: ['x:<..>'] },
  { roleId: 'repo:*', scopes: ['from-repo-star', 'queue:<..>:x', 'assume:branch:<..>'] },
  { roleId: 'repo:x', scopes: ['from-repo-x'] },
  { roleId: 'branch:x/*', scopes: ['from-branch:<..>'] },
];

const ALL = [
  'assume:b',
  'assume:branch:*',
  'from-a',
  'from-b',
  'from-branch:*',
  'from-repo-star',
  'from-repo-x',
  'queue:*',
  'x:<..>',
];

const EXPANSION: [scopes: string[], added: string[]][] = [
  [['x'], []],
  [['assume:a'], ['assume:b', 'from-a', 'from-b']],
  [['assume:literal'], ['x:<..>']],
  [['assume:repo:x'], ['assume:branch:x', 'from-repo-star', 'from-repo-x', 'queue:x:x']],
  [['assume:repo:x/y'], ['assume:branch:x/y', 'from-branch:y', 'from-repo-star', 'queue:x/y:x']],
  [['assume:repo:$&'], ['assume:branch:$&', 'from-repo-star', 'queue:$&:x']],
  [['assume:repo:'], ['assume:branch:', 'from-repo-star', 'queue::x']],
  [['assume:repo'], []],
  [['assume:repo:x/*'], ['assume:branch:x/*', 'from-branch:*', 'from-repo-star', 'queue:x/*']],
  [['assume:r*'], ['assume:branch:*', 'from-branch:*', 'from-repo-star', 'from-repo-x', 'queue:*']],
  [['assume:*'], ALL],
  [['assum*'], ALL],
  [['assumed'], []],
  [['*'], []],
];

test('roles add their scopes to those that assume them', async (t) => {
  const expansion = new RoleExpansion(roles);
  for (const [scopes, added] of EXPANSION) {
    for (const time of ['first', 'second']) {
      t.deepEqual(
        await expansion.expand(scopes),
        union(scopes, added),
        `${scopes} for the ${time} time`,
      );
    }
    t.deepEqual(
      await expansion.expand(['y', ...scopes, 'z:*']),
      union(scopes, added, ['y', 'z:*']),
    );
  }
});

const IMPOSSIBLE: [message: string, roles: Record<string, string[]>][] = [
  [
    "Roles may not contain dependency cycles, found: 'assume:a' -> 'assume:b' -> 'assume:a'",
    { a: ['assume:b'], b: ['assume:a'] },
  ],
  ["Roles may not contain dependency cycles, found: 'assume:b' -> 'assume:b'", { b: ['*'] }],
  [
    "Roles may not contain dependency cycles, found: 'assume:test*' -> 'assume:other*' -> 'assume:test*'",
    { 'test*': ['assume:other<..>x'], 'other*': ['assume:te<..>'] },
  ],
  ["parameterized scope 'x:<..>:<..>' contains multiple '<..>'", { 'a*': ['x:<..>:<..>'] }],
  [
    "parameterized scope 'x:*<..>' ends with '*<..>' which implies an ambiguous kleene",
    { 'a*': ['x:*<..>'] },
  ],
];

test('an invalid set of roles is refused', (t) => {
  for (const [message, scopesOf] of IMPOSSIBLE) {
    const impossible = Object.entries(scopesOf).map(([roleId, scopes]) => ({ roleId, scopes }));
    t.throws(() => checkRoles(impossible), { instanceOf: RoleError, message });
    t.throws(() => new RoleExpansion(impossible), { instanceOf: RoleError, message });
  }
  t.notThrows(() => checkRoles(roles));
});

onEveryBackend('no deployment starts with roles that lead back to themselves', async (t, place) => {
  await t.throwsAsync(
    deploymentFor(t, { ...place, roles: [{ roleId: 'x*', scopes: ['assume:x<..>y'] }] }),
    {
      message: /^Roles may not contain dependency cycles, found: 'assume:x\*' -> 'assume:x\*'$/,
    },
  );
});

test('a chain of ten thousand roles is followed to its end', async (t) => {
  const chain = Array.from({ length: 10_000 }, (_, step) => ({
    roleId: `step:${step}`,
    scopes: [`assume:step:${step + 1}`],
  }));
  const expanded = await new RoleExpansion(chain).expand(['assume:step:0']);
  t.is(expanded.length, 10_001);
  chain.push({ roleId: 'step:10000', scopes: ['assume:step:0'] });
  t.throws(() => checkRoles(chain), { instanceOf: RoleError });
});

/** Numbers below `limit` by an LCG (Numerical Recipes), so that a failure can be looked at again. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % limit;
  };
}

test('a role of 30,000 scopes and a crowd of 3,000 roles are expanded to the union of their scopes', async (t) => {
  const random = randomNumbers(2);
  const scopes = Array.from(
    { length: 30_000 },
    () => `${random(100_000)}${['', '', '*'][random(3)]}`,
  );
  const many = [
    { roleId: 'all', scopes },
    ...scopes.slice(0, 3000).map((scope, each) => ({ roleId: `r${each}`, scopes: [`${scope}x`] })),
  ];
  const expansion = new RoleExpansion(many);
  const wanted = ['assume:all', 'assume:r*'];
  const [once, again] = await Promise.all([expansion.expand(wanted), expansion.expand(wanted)]);
  t.is(once, again);
  const expected = union(wanted, ...many.map((role) => role.scopes));
  t.deepEqual(once, expected);
  t.deepEqual(
    expected,
    ordered(expected).filter((scope, at, all) => at === 0 || !grants(all[at - 1] ?? '', scope)),
  );
});
