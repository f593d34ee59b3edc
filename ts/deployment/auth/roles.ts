/**
 * Expansion of scopes by roles: `assume:<role>` grants the role's scopes, recursively.
 *
 * An assumed role also has the scopes of every role with an id that ends in `*` and is a prefix of it, and
 * a scope that ends in `*` assumes every role under it. In the scopes of a role `prefix*`, `<..>` is
 * replaced by the text that matches the `*`.
 */
import { extended, union, unionInSteps } from '../scopes.js';
import { inSlices } from '../turns.js';
import { RoleTrie } from './role-trie.js';

/** The scopes that `assume:<roleId>` grants. */
export interface RoleScopes {
  readonly roleId: string;
  readonly scopes: readonly string[];
}

/** The origin of an expanded scope: the role that adds it, and the scope that assumes that role. */
export interface Origin {
  readonly roleId: string;
  readonly assumedBy: string;
}

/** A set of roles that cannot be expanded: a scope has more than one `<..>`, or roles form a cycle. */
export class RoleError extends Error {
  override readonly name = 'RoleError';
}

/** A parsed role. */
interface Rule {
  readonly roleId: string;
  /** The role. */
  readonly scopes: readonly string[];
  /** The scopes without `<..>`. */
  readonly plain: readonly string[];
  /** The text before and after each scope's `<..>`. */
  readonly parameterised: readonly (readonly [before: string, after: string])[];
  /** The roles that it may assume, with any text for `<..>`. */
  readonly assumes: readonly string[];
}

const PARAMETER = '<..>';

/** Most scopes in all cached results together. */
const KEPT_SCOPES = 1_000_000;

/**
 * Checks that no role leads back to itself, and that each `<..>` is unambiguous. Roles that are already
 * `known` take little time.
 *
 * @throws RoleError With the sentence of Taskcluster's auth service.
 */
export function checkRoles(roles: readonly RoleScopes[], known?: RoleExpansion): void {
  new RoleExpansion(roles, known);
}

/** Expands scopes by a fixed set of roles. */
export class RoleExpansion {
  readonly #rules: ReadonlyMap<string, Rule>;
  readonly #trie: RoleTrie<Rule>;
  /** Cached results by the assuming scopes, the most recently used last. */
  readonly #kept = new Map<string, readonly string[]>();
  #keptScopes = 0;
  /** Results that are being computed. */
  readonly #open = new Map<string, Promise<readonly string[]>>();

  /**
   * Reuses the unchanged roles of `before`.
   *
   * @throws RoleError
   */
  constructor(roles: readonly RoleScopes[], before?: RoleExpansion) {
    const known = before === undefined ? new Map<string, Rule>() : before.#rules;
    const rules = roles.map((role) => {
      const rule = known.get(role.roleId);
      return rule !== undefined && isSame(rule.scopes, role.scopes) ? rule : takeApart(role);
    });
    this.#rules = new Map(rules.map((rule) => [rule.roleId, rule]));
    this.#trie = new RoleTrie(rules);
    checkCycles(rules, this.#trie);
  }

  /** The scopes with the roles expanded, in normal form. */
  async expand(scopes: readonly string[]): Promise<readonly string[]> {
    const normal = await inSlices(unionInSteps(scopes));
    const assuming = normal.filter((scope) => assumed(scope) !== undefined);
    return assuming.length === 0 ? normal : extended(await this.#expandKept(assuming), normal);
  }

  /** Every scope that roles add to these, even if another one grants it, and its origin. */
  async origins(scopes: readonly string[]): Promise<ReadonlyMap<string, readonly Origin[]>> {
    const found = new Map<string, Origin[]>(scopes.map((scope) => [scope, []]));
    await inSlices(
      this.#follow(scopes, (granted, origin) => {
        found.set(granted, [...(found.get(granted) ?? []), origin]);
      }),
    );
    return found;
  }

  async #expandKept(assuming: readonly string[]): Promise<readonly string[]> {
    const key = assuming.join('\n');
    const kept = this.#kept.get(key);
    if (kept !== undefined) {
      this.#kept.delete(key);
      this.#kept.set(key, kept);
      return kept;
    }
    const open = this.#open.get(key) ?? this.#expandNew(key, assuming);
    this.#open.set(key, open);
    return open;
  }

  async #expandNew(key: string, assuming: readonly string[]): Promise<readonly string[]> {
    try {
      const expanded = await inSlices(this.#follow(assuming));
      this.#keep(key, expanded);
      return expanded;
    } finally {
      this.#open.delete(key);
    }
  }

  #keep(key: string, expanded: readonly string[]): void {
    this.#kept.set(key, expanded);
    this.#keptScopes += expanded.length;
    for (const [oldest, { length }] of this.#kept) {
      if (this.#keptScopes <= KEPT_SCOPES) {
        break;
      }
      this.#kept.delete(oldest);
      this.#keptScopes -= length;
    }
  }

  *#follow(
    assuming: readonly string[],
    note?: (granted: string, origin: Origin) => void,
  ): Generator<void, string[]> {
    const held = new Set(assuming);
    // The loop also visits scopes that it adds.
    for (const scope of held) {
      const role = assumed(scope);
      if (role !== undefined) {
        const visited: [rule: Rule, parameter: string][] = [];
        this.#trie.visit(role, (...visit) => visited.push(visit));
        for (const [rule, parameter] of visited) {
          for (const granted of grantedScopes(rule, parameter)) {
            held.add(granted);
            note?.(granted, { roleId: rule.roleId, assumedBy: scope });
          }
          yield;
        }
      }
    }
    return yield* unionInSteps([...held]);
  }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((scope, index) => scope === b[index]);
}

/** The id of the role that a scope assumes, which may end in `*`; `undefined` if it assumes none. */
function assumed(scope: string): string | undefined {
  if (scope.startsWith('assume:')) {
    return scope.slice('assume:'.length);
  }
  return scope.endsWith('*') && 'assume:'.startsWith(scope.slice(0, -1)) ? '*' : undefined;
}

function* grantedScopes(
  rule: Pick<Rule, 'plain' | 'parameterised'>,
  parameter: string,
): Generator<string> {
  yield* rule.plain;
  for (const [before, after] of rule.parameterised) {
    yield before + (parameter.endsWith('*') ? parameter : parameter + after);
  }
}

function takeApart({ roleId, scopes }: RoleScopes): Rule {
  const normal = union(scopes);
  const isOpen = (scope: string) => roleId.endsWith('*') && scope.includes(PARAMETER);
  const plain = normal.filter((scope) => !isOpen(scope));
  const parameterised = normal.filter(isOpen).map(divide);
  const granted = [...grantedScopes({ plain, parameterised }, '*')];
  const assumes = granted.map(assumed).filter((role) => role !== undefined);
  return { roleId, scopes, plain, parameterised, assumes };
}

function divide(scope: string): [before: string, after: string] {
  const [before = '', after = '', ...more] = scope.split(PARAMETER);
  if (more.length > 0) {
    throw new RoleError(`parameterized scope '${scope}' contains multiple '<..>'`);
  }
  if (before.endsWith('*') && after === '') {
    throw new RoleError(
      `parameterized scope '${scope}' ends with '*<..>' which implies an ambiguous kleene`,
    );
  }
  return [before, after];
}

/** Follows each rule to the rules that it assumes, and refuses a cycle. */
function checkCycles(rules: readonly Rule[], trie: RoleTrie<Rule>): void {
  const done = new Set<Rule>();
  for (const rule of rules) {
    const path: { rule: Rule; left: Rule[] }[] = [];
    const onPath = new Set<Rule>();
    const enter = (next: Rule) => {
      path.push({ rule: next, left: dependencies(next, trie) });
      onPath.add(next);
    };
    if (!done.has(rule)) {
      enter(rule);
    }
    for (let last = path.at(-1); last !== undefined; last = path.at(-1)) {
      const next = last.left.pop();
      if (next === undefined) {
        path.pop();
        onPath.delete(last.rule);
        done.add(last.rule);
      } else if (onPath.has(next)) {
        throw cycleError(
          path.map((entered) => entered.rule),
          next,
        );
      } else if (!done.has(next)) {
        enter(next);
      }
    }
  }
}

/** The rules that a rule may assume, with any text for its `<..>`; the first one last. */
function dependencies(rule: Rule, trie: RoleTrie<Rule>): Rule[] {
  const found = new Set<Rule>();
  for (const role of rule.assumes) {
    trie.visit(role, (next) => found.add(next));
  }
  return [...found].reverse();
}

function cycleError(path: readonly Rule[], again: Rule): RoleError {
  const cycle = [...path.slice(path.indexOf(again)), again].map(({ roleId }) => `assume:${roleId}`);
  return new RoleError(`Roles may not contain dependency cycles, found: '${cycle.join("' -> '")}'`);
}
