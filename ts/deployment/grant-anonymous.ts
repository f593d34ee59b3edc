/** The scopes that a starting deployment grants to the role `anonymous`, beside those of the operator. */
import { addToRole } from './auth/add-to-role.js';
import { publicScopes } from './exposure.js';
import { isScope } from './scopes.js';
import { grantChanges, services } from './services.js';
import { grantAnonymousScopes, type NoteRoles, recordPublic } from './storage/anonymous-scopes.js';
import type { Storage } from './storage/index.js';

export interface AnonymousOptions {
  /** With new data every caller may read what is not secret. Existing data keep their role. */
  readonly isPublic?: boolean;
  /** Data that are public, older ones or by `isPublic`, are refused instead of staying public. */
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
  if (opened.length > 0) {
    await recordPublic(database, opened);
  }
  const scopes = [...opened, ...anonymousScopes];
  const granted = { roleId: ROLE_ID, scopes, description: DESCRIPTION, command: 'start' };
  await store.transaction((transaction) => addToRole(transaction, granted, grantChanges));
  return added;
}

const ROLE_ID = 'anonymous';
const DESCRIPTION = 'What every caller may do, with credentials or without.';

/** Makes the history's entry for a change of the role by the operator's command of this name. */
export function noteAnonymous(command: string): NoteRoles {
  return (before, after) => grantChanges.roleNote(ROLE_ID, command, before, after);
}
