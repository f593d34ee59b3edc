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

/** Whether holding `held` grants `wanted`: they are equal, or `held` ends in `*` above it. */
export function grants(held: string, wanted: string): boolean {
  return held === wanted || (held.endsWith('*') && wanted.startsWith(held.slice(0, -1)));
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
  if (typeof wanted === 'string') {
    return scopes.some((held) => grants(held, wanted)) ? null : wanted;
  }
  if ('AllOf' in wanted) {
    const left = wanted.AllOf.map((each) => missing(scopes, each)).filter((each) => each !== null);
    return left.length === 0 ? null : only(left, { AllOf: left });
  }
  const left = wanted.AnyOf.map((each) => missing(scopes, each));
  const ways = left.filter((each) => each !== null);
  return ways.length < left.length ? null : only(ways, { AnyOf: ways });
}

function only(parts: readonly ScopeExpression[], whole: ScopeExpression): ScopeExpression {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first : whole;
}

/** The union of sets of scopes in normal form: sorted, nothing in it that another scope grants. */
export function union(...sets: readonly (readonly string[])[]): string[] {
  const sorted = sets.flat().sort(compare);
  const normal: string[] = [];
  for (const scope of sorted) {
    const last = normal.at(-1);
    if (last === undefined || !grants(last, scope)) {
      normal.push(scope);
    }
  }
  return normal;
}

/** The order of a normal form: as text, but `a*` before `a`, so that what grants comes first. */
function compare(a: string, b: string): number {
  const [x, y] = [stem(a), stem(b)];
  if (x === y) {
    return Number(b.endsWith('*')) - Number(a.endsWith('*'));
  }
  return x < y ? -1 : 1;
}

function stem(scope: string): string {
  return scope.endsWith('*') ? scope.slice(0, -1) : scope;
}
