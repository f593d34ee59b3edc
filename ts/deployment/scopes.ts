/**
 * Taskcluster's scopes: which scope satisfies which, sets of scopes in normal form, and scope expressions.
 *
 * Roles (`auth/roles.ts` expands them) and parameters (`api/scope-template.ts` fills them in) are not
 * handled here.
 */

/** A scope expression: one scope, or all or any of a list of expressions. */
export type ScopeExpression =
  | string
  | { readonly AllOf: readonly ScopeExpression[] }
  | { readonly AnyOf: readonly ScopeExpression[] };

const VALID_SCOPE = /^[\x20-\x7e]*$/;

/** Printable ASCII and spaces. */
export function isScope(value: unknown): value is string {
  return typeof value === 'string' && VALID_SCOPE.test(value);
}

/**
 * Whether the scope `held` grants `wanted`: they are equal, or `held` ends in `*` and the part before it is
 * a prefix of `wanted`. One exception to Taskcluster's rule: there `a**` also grants `a*`, which gives more
 * than `a**`.
 */
export function grants(held: string, wanted: string): boolean {
  const begins = wanted.endsWith('*') ? wanted.slice(0, -1) : wanted;
  return held === wanted || (held.endsWith('*') && begins.startsWith(held.slice(0, -1)));
}

/** Whether a set of scopes satisfies the expression. */
export function satisfies(scopes: readonly string[], wanted: ScopeExpression): boolean {
  return missing(scopes, wanted) === null;
}

/**
 * The part of an expression that a set of scopes does not satisfy; `null` if it satisfies all. Each branch
 * of an `AnyOf` tells the scopes missing in that branch.
 */
export function missing(
  scopes: readonly string[],
  wanted: ScopeExpression,
): ScopeExpression | null {
  return missingFrom(granting(scopes), wanted);
}

function missingFrom(
  isGranted: (wanted: string) => boolean,
  wanted: ScopeExpression,
): ScopeExpression | null {
  if (typeof wanted === 'string') {
    return isGranted(wanted) ? null : wanted;
  }
  if ('AllOf' in wanted) {
    const left = wanted.AllOf.map((each) => missingFrom(isGranted, each)).filter(
      (each) => each !== null,
    );
    return left.length === 0 ? null : only(left, { AllOf: left });
  }
  const left = wanted.AnyOf.map((each) => missingFrom(isGranted, each));
  const ways = left.filter((each) => each !== null);
  return ways.length < left.length ? null : only(ways, { AnyOf: ways });
}

/** Number of linear searches of a set after which sorting it pays off. */
const FEW = 8;

/**
 * Whether a set of scopes grants one, for callers that ask often: after some questions the set is sorted
 * and each answer is a binary search, so comparing two sets takes as long as sorting them.
 */
export function granting(scopes: readonly string[]): (wanted: string) => boolean {
  let asked = 0;
  let normal: readonly string[] | undefined;
  return (wanted) => {
    asked += 1;
    if (asked <= FEW) {
      return scopes.some((held) => grants(held, wanted));
    }
    normal ??= union(scopes);
    const at = position(normal, sortKey(wanted));
    const before = normal[at - 1];
    return normal[at] === wanted || (before !== undefined && grants(before, wanted));
  };
}

function only(parts: readonly ScopeExpression[], whole: ScopeExpression): ScopeExpression {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first : whole;
}

/** The union of sets of scopes in normal form: sorted, without scopes that another one grants. */
export function union(...sets: readonly (readonly string[])[]): string[] {
  const plain: string[] = [];
  const above: string[] = [];
  for (const scope of new Set(sets.flat())) {
    if (scope.endsWith('*')) {
      above.push(scope.slice(0, -1));
    } else {
      plain.push(scope);
    }
  }
  const stars = above.sort().map((prefix) => `${prefix}*`);
  return merged(stars, plain.sort());
}

/**
 * As `union` of one long set, in steps of a few milliseconds: the caller can do other work between the
 * steps.
 */
export function* unionInSteps(scopes: readonly string[]): Generator<void, string[]> {
  let sets: string[][] = [];
  for (let from = 0; from < scopes.length; from += STEP) {
    sets.push(union(scopes.slice(from, from + STEP)));
    yield;
  }
  while (sets.length > 1) {
    const pairs: string[][] = [];
    for (let at = 0; at < sets.length; at += 2) {
      pairs.push(merged(sets[at] ?? [], sets[at + 1] ?? []));
      yield;
    }
    sets = pairs;
  }
  return sets[0] ?? [];
}

/** Number of scopes that are sorted within a few milliseconds. */
const STEP = 5000;

/** Merges two sets in the order of the normal form, without scopes that another one grants. */
export function merged(a: readonly string[], b: readonly string[]): string[] {
  const normal: string[] = [];
  let last: string | undefined;
  for (let i = 0, j = 0; i < a.length || j < b.length; ) {
    const [left, right] = [a[i], b[j]];
    const isLeft = right === undefined || (left !== undefined && precedes(left, right));
    const scope = (isLeft ? left : right) ?? '';
    if (isLeft) {
      i += 1;
    } else {
      j += 1;
    }
    if (last === undefined || !grants(last, scope)) {
      normal.push(scope);
      last = scope;
    }
  }
  return normal;
}

/** The scopes of either set that the other one grants, in normal form. */
export function intersection(a: readonly string[], b: readonly string[]): string[] {
  const both = [...a.filter(granting(b)), ...b.filter(granting(a))];
  return union(both);
}

/** All the scopes in the order of the normal form. */
export function ordered(scopes: readonly string[]): string[] {
  return [...scopes].sort((a, b) => (precedes(a, b) ? -1 : 1));
}

/**
 * The union of a long set and a short one, both in normal form. It takes one search for each scope of the
 * short set, and returns the long set itself if that already grants the short one.
 */
export function extended(long: readonly string[], short: readonly string[]): readonly string[] {
  const parts: (readonly string[])[] = [];
  let from = 0;
  for (const scope of short) {
    const at = position(long, sortKey(scope));
    const before = long[at - 1];
    if (long[at] === scope || (before !== undefined && grants(before, scope))) {
      continue;
    }
    parts.push(long.slice(from, at), [scope]);
    from = scope.endsWith('*') ? position(long, scope.slice(0, -1) + LAST) : at;
  }
  return parts.length === 0 ? long : ([] as string[]).concat(...parts, long.slice(from));
}

/** The index of the first scope at or after the key, in a set in normal form. */
function position(normal: readonly string[], key: string): number {
  let [low, high] = [0, normal.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sortKey(normal[middle] ?? '') < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/** Sorts before any character of a scope, so that `a*` comes before `a`, and `a` before `ab`. */
const STAR = '\u0000';
const END = '\u0001';
/** Sorts after any character of a scope. */
const LAST = '\u007f';

/**
 * The sort key of the normal form: a scope sorts directly before all the scopes that it grants.
 */
function sortKey(scope: string): string {
  return scope.endsWith('*') ? scope.slice(0, -1) + STAR : scope + END;
}

/** Whether `a` comes before `b` in the order of the normal form. */
function precedes(a: string, b: string): boolean {
  return a.endsWith('*') || b.endsWith('*') ? sortKey(a) < sortKey(b) : a < b;
}
