// What roles add to scopes, and which sets of roles cannot be: the rules of Taskcluster's auth
// service.
import test from 'ava';
import {
  checkRoles,
  RoleError,
  RoleExpansion,
  type RoleScopes,
} from '../ts/deployment/auth/roles.js';
import { grants, ordered, union } from '../ts/deployment/scopes.js';
import { onEveryBackend } from './harness/backends.js';
import { deploymentFor } from './harness/deployment.js';

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

test('what roles add to scopes', async (t) => {
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

test('sets of roles that cannot be', (t) => {
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

/** What everybody would do who has time: as the rules say it, one scope and one role at a time. */
function expandedNaively(roles: readonly RoleScopes[], scopes: readonly string[]): string[] {
  const held = new Set(scopes);
  for (const scope of held) {
    for (const { roleId, scopes: granted } of roles) {
      const parameter = parameterOf(scope, `assume:${roleId}`);
      if (parameter !== undefined) {
        for (const each of granted) {
          held.add(roleId.endsWith('*') ? filledIn(each, parameter) : each);
        }
      }
    }
  }
  return unionNaively([...held]);
}

/** What a role's `*` stands for where a scope assumes it. */
function parameterOf(scope: string, role: string): string | undefined {
  if (role.endsWith('*') && scope.startsWith(role.slice(0, -1))) {
    return scope.slice(role.length - 1);
  }
  return grants(scope, role) ? '*' : undefined;
}

function filledIn(scope: string, parameter: string): string {
  const [before = '', after] = scope.split('<..>');
  if (after === undefined) {
    return scope;
  }
  return parameter.endsWith('*') ? before + parameter : before + parameter + after;
}

function unionNaively(scopes: readonly string[]): string[] {
  const all = [...new Set(scopes)];
  return ordered(all.filter((one) => !all.some((other) => other !== one && grants(other, one))));
}

/** Numbers below `limit` by an LCG (Numerical Recipes), so that a failure can be looked at again. */
function randomNumbers(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 8) % limit;
  };
}

/** Short, so that they meet: a text is `a`, `b:a` and the like. */
function madeUp(random: (limit: number) => number) {
  const word = () => Array.from({ length: 1 + random(3) }, () => 'ab:'[random(3)]).join('');
  const ending = () => ['', '', '', '*', '<..>'][random(5)];
  const scope = () => (random(2) === 0 ? 'assume:' : '') + word() + ending();
  const scopes = () => Array.from({ length: random(4) }, scope);
  const role = () => ({ roleId: word() + (random(3) === 0 ? '*' : ''), scopes: scopes() });
  const roles = () => {
    const all = Array.from({ length: 1 + random(8) }, role);
    return [...new Map(all.map((each) => [each.roleId, each])).values()];
  };
  return { roles, scopes };
}

test('thousands of made-up sets of roles are expanded as the rules say, whatever was before', async (t) => {
  const { roles: someRoles, scopes: someScopes } = madeUp(randomNumbers(1));
  let before: RoleExpansion | undefined;
  let possible = 0;
  for (let turn = 0; turn < 4000; turn += 1) {
    const some = someRoles();
    const [afresh, after] = [undefined, before].map((known) => attempt(some, known));
    if (afresh instanceof RoleExpansion && after instanceof RoleExpansion) {
      const scopes = someScopes();
      const expected = expandedNaively(some, scopes);
      t.deepEqual(await afresh.expand(scopes), expected);
      t.deepEqual(await after.expand(scopes), expected);
      before = after;
      possible += 1;
    } else {
      t.deepEqual(afresh, after);
    }
  }
  t.true(possible > 1000, `${possible}`);
});

function attempt(roles: readonly RoleScopes[], known?: RoleExpansion): RoleExpansion | string {
  try {
    return new RoleExpansion(roles, known);
  } catch (error) {
    return (error as Error).message;
  }
}

test('so are a role of tens of thousands of scopes and a crowd of roles, in steps', async (t) => {
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
