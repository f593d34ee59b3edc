/**
 * Scopes as Taskcluster has them: which scope satisfies which, sets of them in normal form, and
 * scope expressions.
 *
 * What it is not: it knows no roles (`auth/roles.ts` expands them) and no parameters
 * (`api/scope-template.ts` fills them in).
 */

/** A scope, or what a caller needs of several: all of a list, or one of it. */
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
 * Whether holding `held` grants `wanted`: they are equal, or `held` ends in `*` and what comes before
 * it begins whatever `wanted` stands for. By Taskcluster's own rule `a**` would grant `a*`, which
 * gives more than it.
 */
export function grants(held: string, wanted: string): boolean {
  const begins = wanted.endsWith('*') ? wanted.slice(0, -1) : wanted;
  return held === wanted || (held.endsWith('*') && begins.startsWith(held.slice(0, -1)));
}

/** Whether a set of scopes grants what the expression asks for. */
export function satisfies(scopes: readonly string[], wanted: ScopeExpression): boolean {
  return missing(scopes, wanted) === null;
}

/**
 * What is left of an expression once the scopes that are held are taken out of it, `null` when
 * nothing is. Of an `AnyOf`, each branch says what would be missing on that way.
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

/** How often a set is looked through before it pays to put it in order. */
const FEW = 8;

/**
 * Whether a set of scopes grants one, for whoever asks often: from then on each answer costs a search,
 * so that two sets are compared in the time that it takes to sort them.
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

/** The union of sets of scopes in normal form: sorted, nothing in it that another scope grants. */
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
 * As `union` of one long set, in steps of a few milliseconds: whoever goes through it can do other
 * things in between.
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

/** So many scopes are sorted within a few milliseconds. */
const STEP = 5000;

/** Two sets that are in the order of the normal form, without what another scope grants. */
function merged(a: readonly string[], b: readonly string[]): string[] {
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

/** What both sets grant, in normal form: of each set the scopes that the other one grants. */
export function intersection(a: readonly string[], b: readonly string[]): string[] {
  const both = [...a.filter(granting(b)), ...b.filter(granting(a))];
  return union(both);
}

/** The scopes in the order of the normal form, none left out. */
export function ordered(scopes: readonly string[]): string[] {
  return [...scopes].sort((a, b) => (precedes(a, b) ? -1 : 1));
}

/**
 * The union of a long set and a short one, both in normal form: it costs a search for each scope
 * of the short one, and the long one itself is returned where nothing is added to it.
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

/** Where in a set in normal form the first scope is that does not come before the key. */
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

/** Below any character of a scope, so that `a*` comes before `a`, and `a` before all under it. */
const STAR = '\u0000';
const END = '\u0001';
/** Above any character of a scope. */
const LAST = '\u007f';

/**
 * Text in whose order what grants comes right before all that it grants, which is the order of the
 * normal form.
 */
function sortKey(scope: string): string {
  return scope.endsWith('*') ? scope.slice(0, -1) + STAR : scope + END;
}

/** Whether a scope comes first in the order of the normal form. */
function precedes(a: string, b: string): boolean {
  return a.endsWith('*') || b.endsWith('*') ? sortKey(a) < sortKey(b) : a < b;
}
