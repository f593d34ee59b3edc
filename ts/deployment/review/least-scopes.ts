/**
 * The fewest and narrowest scopes that would have sufficed for the calls of an audit log, by the
 * declarations of a deployment's endpoints.
 *
 * It sees no body: it reports a call as unknown if the expression has a parameter of the body. It expands
 * no roles.
 */
import type { ApiReference } from '../api/reference.js';
import {
  fillKnown,
  needsOnly,
  render,
  type ScopeParameters,
  type ScopeTemplatePart,
} from '../api/scope-template.js';
import { granting, grants, type ScopeExpression, satisfies, union } from '../scopes.js';
import { type Call, findCall } from './call.js';
import { ReviewError } from './subject.js';

/** The fields of an audit log's line that matter here. */
export interface AuditLine {
  readonly method: string;
  readonly upstream?: string;
  readonly verdict: string;
  readonly status: number | null;
  readonly tries?: number;
  readonly scopes?: readonly string[];
  readonly authorizedScopes?: readonly string[];
}

/** A call with unknown scopes, and the reason. */
export interface Unknown {
  readonly call: string;
  readonly why: string;
  /** The expression with the known parameters filled in, if there is one. */
  readonly needs?: ScopeTemplatePart;
}

export interface LeastScopes {
  /** In normal form: without any one of them, one of the calls would have been refused. */
  readonly scopes: readonly string[];
  readonly unknown: readonly Unknown[];
  /** The scopes that the calls were signed with; `null` for all scopes of permanent credentials. */
  readonly had: readonly string[] | null;
  /** The task's scopes that no call has used, without roles. */
  readonly unused: readonly string[];
  /** The task's scopes that end in `*` and could be narrower. */
  readonly tooWide: readonly string[];
}

/**
 * @param rootUrl - Calls of other hosts need no scopes of this deployment.
 */
export function leastScopes(
  lines: readonly AuditLine[],
  references: readonly ApiReference[],
  rootUrl: string,
): LeastScopes {
  const signed = lines.filter(({ tries = 0 }) => tries > 0);
  const had = heldBy(signed);
  const needs = new Map<string, ScopeExpression>();
  const unknown = new Map<string, Unknown>();
  for (const line of signed) {
    const found = needOf(line, references, rootUrl);
    if (found !== null && 'why' in found) {
      unknown.set(`${found.call} ${found.why}`, found);
    } else if (found !== null) {
      needs.set(JSON.stringify(found.need), found.need);
    }
  }
  const scopes = fewest([...needs.values()], had ?? []);
  const judged = (had ?? []).filter((scope) => !scope.startsWith('assume:'));
  const uses = (held: string) => scopes.filter((scope) => grants(held, scope));
  return {
    scopes,
    unknown: [...unknown.values()],
    had,
    unused: judged.filter((held) => uses(held).length === 0),
    tooWide: judged.filter((held) => uses(held).length > 0 && !scopes.includes(held)),
  };
}

function heldBy(signed: readonly AuditLine[]): readonly string[] | null {
  const sets = signed.map(({ authorizedScopes, scopes }) => authorizedScopes ?? scopes);
  const known = sets.filter((set) => set !== undefined);
  return known.length < sets.length ? null : union(...known);
}

/** `null` if the call needs no scopes, or was refused because the task does not have them. */
function needOf(
  { method, upstream = '', status }: AuditLine,
  references: readonly ApiReference[],
  rootUrl: string,
): Unknown | { readonly need: ScopeExpression } | null {
  const call = `${method} ${upstream.replace(/\?.*$/, '')}`;
  if (status === 401 || status === 403) {
    return { call, why: `it was refused with ${status}: whether the task needs it is not known` };
  }
  const root = rootUrl.replace(/\/+$/, '');
  if (!upstream.startsWith(`${root}/`)) {
    return null;
  }
  try {
    return needOfCall(call, findCall(references, method, upstream), new URL(upstream));
  } catch (error) {
    if (error instanceof ReviewError) {
      return { call, why: error.message };
    }
    throw error;
  }
}

function needOfCall(
  call: string,
  { service, entry, params }: Call,
  { searchParams }: URL,
): Unknown | { readonly need: ScopeExpression } | null {
  const { scopes, query = [] } = entry;
  if (scopes === undefined) {
    return null;
  }
  const asked = query.flatMap((name) => {
    const value = searchParams.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  const known: ScopeParameters & Record<string, string> = {
    ...Object.fromEntries(asked),
    ...params,
  };
  if (!needsOnly(scopes, new Set(Object.keys(known)))) {
    const needs = fillKnown(scopes, known);
    return { call, why: `${service}.${entry.name} decides by the body or by what it names`, needs };
  }
  const need = render(scopes, known);
  return need === null ? null : { need };
}

// === The fewest ===

/** Most ways to satisfy one expression that are examined. */
const WAYS = 256;

/**
 * Scopes that satisfy all expressions, with none to spare. Of several ways it prefers one that is `held`,
 * then the one that adds the fewest scopes, then the narrowest.
 */
function fewest(needs: readonly ScopeExpression[], held: readonly string[]): string[] {
  const isHeld = granting(held);
  const choices = needs
    .map((need) => {
      const all = waysOf(need);
      const own = all.filter((way) => way.every(isHeld));
      return own.length === 0 ? all : own;
    })
    .sort((a, b) => a.length - b.length);
  let chosen: string[] = [];
  for (const ways of choices) {
    const added = ways.map((way) =>
      way.filter((scope) => !chosen.some((has) => grants(has, scope))),
    );
    const [best = []] = added.sort((a, b) => a.length - b.length || width(a) - width(b));
    chosen = union(chosen, best);
  }
  for (const scope of [...chosen].sort((a, b) => a.length - b.length)) {
    const without = chosen.filter((other) => other !== scope);
    if (needs.every((need) => satisfies(without, need))) {
      chosen = without;
    }
  }
  return chosen;
}

/** A longer scope is narrower. */
function width(scopes: readonly string[]): number {
  return -scopes.join('').length;
}

/** The sets of scopes that each satisfy the expression. */
function waysOf(need: ScopeExpression): string[][] {
  if (typeof need === 'string') {
    return [[need]];
  }
  if ('AnyOf' in need) {
    return need.AnyOf.flatMap(waysOf).slice(0, WAYS);
  }
  return need.AllOf.map(waysOf).reduce<string[][]>(
    (ways, more) => ways.flatMap((way) => more.map((other) => [...way, ...other])).slice(0, WAYS),
    [[]],
  );
}
