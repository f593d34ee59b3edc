/**
 * Expansion of scopes by roles: `assume:<role>` stands for the role's scopes, theirs included.
 *
 * A role whose id ends in `*` belongs to everybody who assumes a role under it, and a scope that
 * ends in `*` assumes every role under it. Roles with a `<..>` parameter are refused.
 */
import { grants, union } from '../scopes.js';
import type { Role } from '../storage/store.js';

/** A role that this deployment cannot expand. */
export class RoleError extends Error {
  override readonly name = 'RoleError';
}

/** @throws RoleError */
export function checkRole(role: Role): void {
  if (role.scopes.some((scope) => scope.includes('<..>'))) {
    throw new RoleError(
      `role ${role.roleId} has a scope with <..>, which is not supported: write its scopes out`,
    );
  }
}

/** The scopes and all that the roles add to them, in normal form. */
export function expandScopes(scopes: readonly string[], roles: readonly Role[]): string[] {
  const held = [...scopes];
  const left = new Set(roles);
  for (let next = 0; next < held.length; next += 1) {
    const scope = held[next] ?? '';
    for (const role of left) {
      if (assumes(scope, role)) {
        left.delete(role);
        held.push(...role.scopes);
      }
    }
  }
  return union(held);
}

function assumes(scope: string, role: Role): boolean {
  const assumed = `assume:${role.roleId}`;
  return grants(scope, assumed) || (scope.startsWith('assume:') && grants(assumed, scope));
}
