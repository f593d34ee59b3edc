/**
 * What a deployment lets somebody do, endpoint by endpoint, by the declarations of the endpoints
 * themselves; and what a public deployment lets everybody do.
 */
import { granters, type Passage, passage, sufficient } from './api/passage.js';
import type { ApiReference, Declarations } from './api/reference.js';
import type { ScopeTemplate } from './api/scope-template.js';
import { union } from './scopes.js';

/** An endpoint, and whether somebody may call it. */
export interface Exposure {
  readonly service: string;
  readonly endpoint: string;
  readonly method: string;
  /** From `/api/` on, with `<name>` where a parameter stands. */
  readonly path: string;
  /** `null` where none are needed. */
  readonly scopes: ScopeTemplate | null;
  /** `sometimes` depends on parameters. */
  readonly passes: Passage;
  /** The scopes held that let the caller pass; none where none are needed. */
  readonly by: readonly string[];
}

/** Every endpoint of the references, for whoever holds these scopes, roles expanded. */
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

/** The same endpoints, for whoever holds these scopes instead. */
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

/** The scopes that the role `anonymous` has where everybody may read what is not secret. */
export function publicScopes(services: readonly Declarations[]): string[] {
  return union(
    services.flatMap(({ endpoints }) =>
      endpoints.flatMap(({ scopes, everybody }) =>
        scopes === null || everybody === undefined
          ? []
          : sufficient(scopes, everybody === true ? {} : everybody),
      ),
    ),
  );
}
