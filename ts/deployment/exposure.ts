/**
 * Which endpoints of a deployment a caller may use, from the declarations of the endpoints themselves; and
 * which scopes a public deployment grants to every caller.
 */
import { granters, type Passage, passage, sufficient } from './api/passage.js';
import type { ApiReference, Declarations } from './api/reference.js';
import type { ScopeTemplate } from './api/scope-template.js';
import { union } from './scopes.js';

/** An endpoint, and whether a caller may use it. */
export interface Exposure {
  readonly service: string;
  readonly endpoint: string;
  readonly method: string;
  /** The path from `/api/` on, with `<name>` for a parameter. */
  readonly path: string;
  /** `null` for an endpoint without scopes. */
  readonly scopes: ScopeTemplate | null;
  /** `sometimes`: it depends on the parameters. */
  readonly passes: Passage;
  /** The caller's scopes that let it pass; empty for an endpoint without scopes. */
  readonly by: readonly string[];
}

/** Every endpoint of the references, for a caller with these scopes, roles expanded. */
export function exposure(references: readonly ApiReference[], held: readonly string[]): Exposure[] {
  return references.flatMap(({ serviceName, apiVersion, entries }) =>
    entries
      .filter(({ type }) => type === 'function')
      .map(({ name, method, route, scopes }) => ({
        service: serviceName,
        endpoint: name,
        method: method.toUpperCase(),
        path: `/api/${serviceName}/${apiVersion}${route}`,
        scopes: scopes ?? null,
        ...passing(scopes ?? null, held),
      })),
  );
}

/** The same endpoints, for a caller with these scopes instead. */
export function exposureTo(rows: readonly Exposure[], held: readonly string[]): Exposure[] {
  return rows.map((row) => ({ ...row, ...passing(row.scopes, held) }));
}

function passing(
  scopes: ScopeTemplate | null,
  held: readonly string[],
): Pick<Exposure, 'passes' | 'by'> {
  if (scopes === null) {
    return { passes: 'always', by: [] };
  }
  const passes = passage(scopes, held);
  return { passes, by: passes === 'never' ? [] : granters(scopes, held) };
}

/** The scopes of the role `anonymous` in a public deployment: every caller may read what is not secret. */
export function publicScopes(services: readonly Declarations[]): string[] {
  return union(
    services.flatMap(({ endpoints }) =>
      endpoints.flatMap(({ scopes, anonymous }) =>
        scopes === null || anonymous === undefined
          ? []
          : sufficient(scopes, anonymous === true ? {} : anonymous),
      ),
    ),
  );
}
