/**
 * What a deployment lets somebody do, endpoint by endpoint, by the declarations of the endpoints
 * themselves; and what a public deployment lets everybody do.
 */
import { type Passage, passage, sufficient } from './api/passage.js';
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
}

/** Every endpoint of the references, for whoever holds these scopes, roles expanded. */
export function exposure(references: readonly ApiReference[], held: readonly string[]): Exposure[] {
  return references.flatMap(({ serviceName, apiVersion, entries }) =>
    entries.map(({ name, method, route, scopes }) => ({
      service: serviceName,
      endpoint: name,
      method: method.toUpperCase(),
      path: `/api/${serviceName}/${apiVersion}${route}`,
      scopes: scopes ?? null,
      passes: scopes === undefined ? 'always' : passage(scopes, held),
    })),
  );
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
