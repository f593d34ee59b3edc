/**
 * The subject of a review of a deployment, and its scopes: an anonymous caller, a client, a role, or
 * a list of scopes. Roles are the actual ones, or the wanted ones.
 *
 * It reads nothing by itself: `Source` reads a local or a remote deployment.
 */
import type { ApiReference } from '../api/reference.js';
import { RoleExpansion, type RoleScopes } from '../auth/roles.js';
import { union } from '../scopes.js';

export type Subject =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'client'; readonly clientId: string }
  | { readonly kind: 'role'; readonly roleId: string }
  | { readonly kind: 'scopes'; readonly scopes: readonly string[] };

/** The fields of a client that decide what it may do. */
export interface KnownClient {
  readonly scopes: readonly string[];
  readonly expandedScopes: readonly string[];
  readonly disabled: boolean;
  readonly expires: Date;
}

/** The questions of a review to a deployment. */
export interface Source {
  references(): Promise<readonly ApiReference[]>;
  /** The scopes of a request without credentials. */
  anonymous(): Promise<readonly string[]>;
  client(clientId: string): Promise<KnownClient>;
  roles(): Promise<readonly RoleScopes[]>;
  /** The scopes, with the roles expanded. */
  expand(scopes: readonly string[]): Promise<readonly string[]>;
}

/** A review that is impossible as asked. One sentence, which says what to write. */
export class ReviewError extends Error {
  override readonly name = 'ReviewError';
}

export const ANONYMOUS = 'assume:anonymous';

/** The subject in words, for a heading and for a baseline. */
export function described(subject: Subject): string {
  switch (subject.kind) {
    case 'anonymous':
      return 'an anonymous caller';
    case 'client':
      return `the client ${subject.clientId}`;
    case 'role':
      return `the role ${subject.roleId}`;
    default:
      return `the scopes ${[...subject.scopes].sort().join(' ')}`;
  }
}

/** All scopes of a subject now, with those of every caller, in normal form. */
export async function heldBy(source: Source, subject: Subject): Promise<string[]> {
  const anonymous = await source.anonymous();
  if (subject.kind === 'client') {
    return union(anonymous, (await source.client(subject.clientId)).expandedScopes);
  }
  const own = await grantedTo(source, subject);
  return own.length === 0 ? union(anonymous) : union(anonymous, await source.expand(own));
}

/** The same under the wanted roles. @throws RoleError */
export async function heldUnder(
  roles: readonly RoleScopes[],
  source: Source,
  subject: Subject,
): Promise<readonly string[]> {
  const scopes = [...(await grantedTo(source, subject)), ANONYMOUS];
  return new RoleExpansion(roles).expand(scopes);
}

/** The subject's own scopes, beside those of every caller; no role is expanded. */
export async function grantedTo(source: Source, subject: Subject): Promise<readonly string[]> {
  switch (subject.kind) {
    case 'anonymous':
      return [];
    case 'client':
      return (await source.client(subject.clientId)).scopes;
    case 'role':
      return [`assume:${subject.roleId}`];
    default:
      return subject.scopes;
  }
}
