/** Adds scopes to a role by a command of the operator's, with an entry of the history. Clients use the API. */
import { granting } from '../scopes.js';
import type { Role, Store } from '../storage/store.js';
import type { GrantChanges } from './grant-changes.js';

export interface AddedScopes {
  readonly roleId: string;
  readonly scopes: readonly string[];
  /** For a role that does not exist yet. */
  readonly description: string;
  /** The command, as the history names it. */
  readonly command: string;
}

/**
 * Scopes that the role already grants are not added.
 *
 * @throws RoleError
 */
export async function addToRole(
  { roles, audit }: Pick<Store, 'roles' | 'audit'>,
  { roleId, scopes, description, command }: AddedScopes,
  grantChanges: GrantChanges,
): Promise<void> {
  const now = new Date();
  let together: readonly [before: readonly Role[], after: readonly Role[]] | undefined;
  await roles.change(roleId, (role, all) => {
    const held = role?.scopes ?? [];
    const isHeld = granting(held);
    const added = scopes.filter((scope) => !isHeld(scope));
    if (added.length === 0) {
      return role;
    }
    const after = {
      ...(role ?? { roleId, description, created: now }),
      scopes: [...held, ...added],
      lastModified: now,
    };
    together = [all, [...all.filter((each) => each !== role), after]];
    return after;
  });
  if (together !== undefined) {
    await audit.add(await grantChanges.roleNote(roleId, command, ...together));
  }
}
