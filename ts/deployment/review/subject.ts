/**
 * Whom a review of a deployment is for, and what that one holds: everybody, a client, a role, or
 * scopes that are given. Roles may be taken as they are, or as they would be.
 *
 * What it is not: it reads nothing by itself. A deployment, near or far, is asked through `Source`.
 */
import type { ApiReference } from '../api/reference.js';
import { RoleExpansion, type RoleScopes } from '../auth/roles.js';
import { union } from '../scopes.js';

export type Subject =
  | { readonly kind: 'everybody' }
  | { readonly kind: 'client'; readonly clientId: string }
  | { readonly kind: 'role'; readonly roleId: string }
  | { readonly kind: 'scopes'; readonly scopes: readonly string[] };

/** A client, as far as it matters for what it may do. */
export interface KnownClient {
  readonly scopes: readonly string[];
  readonly expandedScopes: readonly string[];
  readonly disabled: boolean;
  readonly expires: Date;
}

/** What a deployment says of itself. */
export interface Source {
  references(): Promise<readonly ApiReference[]>;
  /** What a request without credentials holds. */
  everybody(): Promise<readonly string[]>;
  client(clientId: string): Promise<KnownClient>;
  roles(): Promise<readonly RoleScopes[]>;
  /** With all that roles add. */
  expand(scopes: readonly string[]): Promise<readonly string[]>;
}

/** A review that cannot be made as it was asked for. One sentence, which says what to write. */
export class ReviewError extends Error {
  override readonly name = 'ReviewError';
}

export const ANONYMOUS = 'assume:anonymous';

/** In words, for a heading, and to tell one subject from another. */
export function described(subject: Subject): string {
  switch (subject.kind) {
    case 'everybody':
      return 'everybody';
    case 'client':
      return `the client ${subject.clientId}`;
    case 'role':
      return `the role ${subject.roleId}`;
    default:
      return `the scopes ${[...subject.scopes].sort().join(' ')}`;
  }
}

/** All that a subject holds now, and what everybody has, in normal form. */
export async function heldBy(source: Source, subject: Subject): Promise<string[]> {
  const everybody = await source.everybody();
  if (subject.kind === 'client') {
    return union(everybody, (await source.client(subject.clientId)).expandedScopes);
  }
  const own = await grantedTo(source, subject);
  return own.length === 0 ? union(everybody) : union(everybody, await source.expand(own));
}

/** The same under other roles. @throws RoleError */
export async function heldUnder(
  roles: readonly RoleScopes[],
  source: Source,
  subject: Subject,
): Promise<readonly string[]> {
  const scopes = [...(await grantedTo(source, subject)), ANONYMOUS];
  return new RoleExpansion(roles).expand(scopes);
}

/** What a subject has been granted itself, beside what everybody has: no role is expanded. */
export async function grantedTo(source: Source, subject: Subject): Promise<readonly string[]> {
  switch (subject.kind) {
    case 'everybody':
      return [];
    case 'client':
      return (await source.client(subject.clientId)).scopes;
    case 'role':
      return [`assume:${subject.roleId}`];
    default:
      return subject.scopes;
  }
}
