// Roles for generated inputs: the scopes that they add, and the sets that contain a cycle, compared with a
// naive model that follows one scope and one role at a time.
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { RoleError, RoleExpansion, type RoleScopes } from '../../ts/deployment/auth/roles.js';
import { grants, ordered } from '../../ts/deployment/scopes.js';
import { holds } from '../harness/property.js';

/** Words of few letters, so that many of them match each other. */
const word = fc
  .array(fc.constantFrom('a', 'b', ':', '*'), { minLength: 1, maxLength: 3 })
  .map((letters) => letters.join(''));

const scope = fc
  .tuple(
    fc.constantFrom('', 'assume:'),
    word,
    fc.constantFrom('', '', '', '*', '<..>', '<..>b', '<..>*'),
  )
  .map((parts) => parts.join(''));

const held = fc.array(fc.oneof(scope, fc.constantFrom('*', 'assum*', 'assume:*')), {
  maxLength: 4,
});

const roles: fc.Arbitrary<RoleScopes[]> = fc.uniqueArray(
  fc.record({
    roleId: fc.tuple(word, fc.constantFrom('', '', '*')).map((parts) => parts.join('')),
    scopes: fc.array(scope, { maxLength: 4 }),
  }),
  { maxLength: 8, selector: ({ roleId }) => roleId },
);

// === The rules ===

const PARAMETER = '<..>';

/** Adds the scopes of each role that a held scope assumes, until no scope is new. */
function expandedNaively(roles: readonly RoleScopes[], scopes: readonly string[]): string[] {
  const held = new Set(scopes);
  for (const scope of held) {
    for (const role of scope.endsWith('*') || scope.startsWith('assume:') ? roles : []) {
      for (const added of addedBy(role, scope)) {
        held.add(added);
      }
    }
  }
  return normalNaively([...held]);
}

function addedBy({ roleId, scopes }: RoleScopes, scope: string): string[] {
  const parameter = parameterOf(scope, `assume:${roleId}`);
  if (parameter === undefined) {
    return [];
  }
  return filledInAll({ roleId, scopes }, parameter);
}

/** What a role's `*` stands for where a scope assumes it; its own star, under a scope's star. */
function parameterOf(scope: string, role: string): string | undefined {
  const wanted = withoutStar(role);
  const held = withoutStar(scope);
  if (role.endsWith('*') && held.startsWith(wanted)) {
    return scope.slice(wanted.length);
  }
  const isUnder = scope.endsWith('*') && wanted.startsWith(held);
  return isUnder || scope === role ? '*' : undefined;
}

function withoutStar(text: string): string {
  return text.endsWith('*') ? text.slice(0, -1) : text;
}

/** A `<..>` that another of the role's scopes grants, as `**` grants `*<..>`, adds nothing. */
function filledInAll({ roleId, scopes }: RoleScopes, parameter: string): string[] {
  const normal = normalNaively(scopes);
  return roleId.endsWith('*') ? normal.map((scope) => filledIn(scope, parameter)) : normal;
}

function filledIn(scope: string, parameter: string): string {
  const [before = '', after] = scope.split(PARAMETER);
  if (after === undefined) {
    return scope;
  }
  return parameter.endsWith('*') ? before + parameter : before + parameter + after;
}

function normalNaively(scopes: readonly string[]): string[] {
  const all = [...new Set(scopes)];
  // A scope without a star grants itself alone.
  const stars = all.filter((scope) => scope.endsWith('*'));
  return ordered(all.filter((one) => !stars.some((star) => star !== one && grants(star, one))));
}

/** Whether a role may lead back to itself, with any text for its `<..>`. */
function leadsBack(roles: readonly RoleScopes[]): boolean {
  const next = new Map(roles.map((role) => [role, followers(role, roles)]));
  return roles.some((role) => {
    const reached = new Set(next.get(role));
    for (const each of reached) {
      for (const further of next.get(each) ?? []) {
        reached.add(further);
      }
    }
    return reached.has(role);
  });
}

function followers(role: RoleScopes, roles: readonly RoleScopes[]): RoleScopes[] {
  const granted = filledInAll(role, '*');
  return roles.filter(({ roleId }) =>
    granted.some((scope) => parameterOf(scope, `assume:${roleId}`) !== undefined),
  );
}

/** Whether the text of a `<..>` is not certain: two of them in a scope, or a `*` right before. */
function isAmbiguous({ roleId, scopes }: RoleScopes): boolean {
  const normal = normalNaively(scopes);
  return roleId.endsWith('*') && normal.some((scope) => /<\.\.>.*<\.\.>|\*<\.\.>$/.test(scope));
}

// === What holds ===

function attempt(roles: readonly RoleScopes[], known?: RoleExpansion): RoleExpansion | string {
  try {
    return new RoleExpansion(roles, known);
  } catch (error) {
    assert.ok(error instanceof RoleError, `${error}`);
    return error.message;
  }
}

test('a set of roles is refused only if a role leads back to itself or a parameter is ambiguous', async (t) => {
  await holds(t, 4000, roles, (roles) => {
    const outcome = attempt(roles);
    if (roles.some(isAmbiguous)) {
      assert.match(`${outcome}`, /^parameterized scope '/);
    } else if (leadsBack(roles)) {
      assert.match(`${outcome}`, /^Roles may not contain dependency cycles, found: /);
    } else {
      assert.ok(outcome instanceof RoleExpansion, `${outcome}`);
    }
  });
});

test('a parameterised scope that another scope of its role grants adds nothing', async (t) => {
  const expansion = new RoleExpansion([{ roleId: ':*', scopes: ['**', '*<..>'] }]);
  t.deepEqual(await expansion.expand(['assume::']), ['**', 'assume::']);
});

test('scopes are expanded by the rules, whatever roles were in force before', async (t) => {
  let before: RoleExpansion | undefined;
  await holds(t, 4000, fc.tuple(roles, fc.array(held, { maxLength: 3 })), async ([some, asked]) => {
    const possible = some.filter((role) => !isAmbiguous(role)).reduce(withoutCycles, []);
    const afresh = new RoleExpansion(possible);
    const after = new RoleExpansion(possible, before);
    for (const scopes of asked) {
      const expected = expandedNaively(possible, scopes);
      for (const expansion of [afresh, after, after]) {
        assert.deepEqual(await expansion.expand(scopes), expected, scopes.join());
      }
    }
    before = after;
  });
});

/** Adds the role, unless a role then leads back to itself. */
function withoutCycles(roles: readonly RoleScopes[], role: RoleScopes): readonly RoleScopes[] {
  const more = [...roles, role];
  return leadsBack(more) ? roles : more;
}

interface Crowd {
  readonly count: number;
  /** Decides what each role has. */
  readonly seed: number;
  /** Which of the roles are assumed. */
  readonly assumed: readonly number[];
  /** The role from which a way leads back to one before it, if any. */
  readonly back: number | null;
}

/** Roles each of which assumes one or two that come behind it, every fifth for what its `*` stands for. */
function crowd({ count, seed, back }: Crowd): RoleScopes[] {
  const id = (index: number) => (index % 5 === 0 ? `group:${index}/*` : `role:${index}`);
  const reach = Math.max(1, Math.ceil(count / 50));
  const assuming = (index: number, of: number) =>
    index % 5 === 0
      ? `assume:group:${index}/${of % 5 === 0 ? PARAMETER : of}`
      : `assume:${id(index)}`;
  const roles = Array.from({ length: count }, (_, index) => {
    const steps = [(seed + index * 7919) % reach, (seed * 31 + index * 104_729) % reach];
    const next = steps.map((step) => index + 1 + step).filter((each) => each < count);
    const own = index % 5 === 0 ? `own:${index}:${PARAMETER}:x` : `own:${index}`;
    return { roleId: id(index), scopes: [own, ...next.map((each) => assuming(each, index))] };
  });
  const last = roles[count - 1];
  if (back !== null && last !== undefined) {
    // Every role leads to the one behind it then.
    roles.forEach((role, index) => {
      role.scopes.push(
        index + 1 < count ? assuming(index + 1, index) : assuming(back % count, index),
      );
    });
  }
  return roles;
}

test('the scopes of up to ten thousand roles are expanded, and their cycles are found', async (t) => {
  const crowds: fc.Arbitrary<Crowd> = fc.record({
    count: fc.oneof(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 9000, max: 10_000 })),
    seed: fc.nat(),
    assumed: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
    back: fc.option(fc.nat()),
  });
  await holds(t, 10, crowds, async (some) => {
    const roles = crowd(some);
    if (some.back !== null) {
      assert.match(`${attempt(roles)}`, /^Roles may not contain dependency cycles, found: /);
      return;
    }
    const scopes = some.assumed.map((each) => {
      const { roleId } = roles[each % roles.length] as RoleScopes;
      return `assume:${roleId.replace('*', 'x')}`;
    });
    const expanded = await new RoleExpansion(roles).expand(scopes);
    assert.deepEqual(expanded, expandedNaively(roles, scopes));
  });
});
