/** The scopes that a starting deployment grants to the role `anonymous`, beside those of the operator. */
import { publicScopes } from './exposure.js';
import { granting, isScope } from './scopes.js';
import { grantChanges, services } from './services.js';
import { grantAnonymousScopes, type NoteRoles } from './storage/anonymous-scopes.js';
import type { Storage } from './storage/index.js';
import type { Role, Store } from './storage/store.js';

export interface AnonymousOptions {
  /** With new data every caller may read what is not secret. Existing data keep their role. */
  readonly isPublic?: boolean;
  /** Older data that were public are refused, instead of staying public. */
  readonly mustBePrivate?: boolean;
  /** Granted to every caller beside the scopes that the role has. */
  readonly anonymousScopes?: readonly string[];
}

/** A scope that cannot be granted. The message says what to write. */
export class AnonymousScopeError extends Error {
  override readonly name = 'AnonymousScopeError';
}

/** @throws AnonymousScopeError */
export function checkAnonymousScope(scope: string): string {
  if (!isScope(scope) || scope.trim() === '' || scope !== scope.trim() || scope.endsWith('**')) {
    throw new AnonymousScopeError(
      `'${scope}' is not a scope to grant to every caller: write printable ASCII without a space at ` +
        'either end, and one * at most at its end',
    );
  }
  return scope;
}

/**
 * Returns the scopes that the role `anonymous` was granted because the data are older than it. To be
 * called before the start adds a client: data without a client are new.
 *
 * @throws PublicDataError, AnonymousScopeError
 */
export async function grantAnonymous(
  { store, database }: Pick<Storage, 'store' | 'database'>,
  { isPublic = false, mustBePrivate = false, anonymousScopes = [] }: AnonymousOptions,
): Promise<readonly string[]> {
  anonymousScopes.forEach(checkAnonymousScope);
  const areNew = (await store.clients.list('', { after: '', limit: 1 })).length === 0;
  const { added } = await grantAnonymousScopes(database, publicScopes(services()), {
    mustBePrivate,
    note: noteAnonymous('start'),
  });
  const opened = isPublic && areNew ? publicScopes(services()) : [];
  await addToRole(store, [...opened, ...anonymousScopes]);
  return added;
}

async function addToRole(store: Store, scopes: readonly string[]): Promise<void> {
  const now = new Date();
  await store.transaction(async ({ roles, audit }) => {
    let together: readonly [before: readonly Role[], after: readonly Role[]] | undefined;
    await roles.change(ROLE_ID, (role, all) => {
      const held = role?.scopes ?? [];
      const isHeld = granting(held);
      const added = scopes.filter((scope) => !isHeld(scope));
      if (added.length === 0) {
        return role;
      }
      const { description = DESCRIPTION, created = now } = role ?? {};
      const granted = [...held, ...added];
      const after = { roleId: ROLE_ID, scopes: granted, description, created, lastModified: now };
      together = [all, [...all.filter((each) => each !== role), after]];
      return after;
    });
    if (together !== undefined) {
      await audit.add(await noteAnonymous('start')(...together));
    }
  });
}

const ROLE_ID = 'anonymous';
const DESCRIPTION = 'What every caller may do, with credentials or without.';

/** Makes the history's entry for a change of the role by the operator's command of this name. */
export function noteAnonymous(command: string): NoteRoles {
  return (before, after) => grantChanges.roleNote(ROLE_ID, command, before, after);
}
