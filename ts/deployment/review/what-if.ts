/** Reads a wanted role, written `role=scope,scope`, and adds it to the roles. */
import type { RoleScopes } from '../auth/roles.js';
import { isScope } from '../scopes.js';
import { ReviewError } from './subject.js';

const FORM = 'write it as \'role=scope,scope\', or \'role=["scope", "scope"]\' as JSON';

/**
 * All of the role's scopes follow the first `=`. A role without scopes is `role=[]`: an empty text may come
 * from an unset variable.
 *
 * @throws ReviewError
 */
export function readRole(text: string): RoleScopes {
  const at = text.indexOf('=');
  const roleId = text.slice(0, at).trim();
  if (at < 0 || roleId === '') {
    throw new ReviewError(`'${text}' names no role: ${FORM}`);
  }
  const rest = text.slice(at + 1).trim();
  if (rest === '') {
    throw new ReviewError(
      `'${text}' gives no scope: ${FORM}; for a role without any '${roleId}=[]'`,
    );
  }
  const scopes = rest.startsWith('[') ? listOf(rest) : rest.split(',').map((each) => each.trim());
  return { roleId, scopes: scopes.map(checked) };
}

function listOf(text: string): unknown[] {
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list)) {
      return list;
    }
  } catch {
    // The error follows below.
  }
  throw new ReviewError(`'${text}' is no JSON list of scopes: ${FORM}`);
}

function checked(scope: unknown): string {
  if (!isScope(scope) || scope.trim() === '' || scope.endsWith('**')) {
    throw new ReviewError(
      `${JSON.stringify(scope)} is not a scope: write printable ASCII, and one * at most at its end`,
    );
  }
  return scope;
}

/** The roles with the wanted ones in place. */
export function withRoles(
  roles: readonly RoleScopes[],
  wanted: readonly RoleScopes[],
): RoleScopes[] {
  const changed = new Set(wanted.map(({ roleId }) => roleId));
  return [...roles.filter(({ roleId }) => !changed.has(roleId)), ...wanted];
}
