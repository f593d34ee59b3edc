/**
 * The migration of RFC 165. Endpoints that once needed no scope now need one. A deployment with older data
 * was public: the role `anonymous` gets the newly needed scopes, once, so that clients without credentials
 * can still use it.
 *
 * The caller passes in these scopes, which it derives from the endpoints' declarations.
 */
import { granting } from '../scopes.js';
import type { Queryable } from './database.js';
import { audit } from './sql/audit.js';
import { roles } from './sql/roles.js';
import type { AuditEntry, Role } from './store.js';

const ANONYMOUS = 'anonymous';

/**
 * The state of the migration: the operator has always `decided` the scopes; the data `predate` the role; the
 * scopes have been `granted`, also to new data that are public; or the grant has been `undone`.
 */
export type AnonymousState = 'decided' | 'predates' | 'granted' | 'undone';

/** The result of a step. */
export interface AnonymousMigration {
  readonly before: AnonymousState;
  readonly after: AnonymousState;
  /** Scopes that the role newly gets. */
  readonly added: readonly string[];
  /** Scopes that are taken from it. */
  readonly removed: readonly string[];
}

/** Makes the history's entry for the change of the role `anonymous`, from all roles before and after it. */
export type NoteRoles = (before: readonly Role[], after: readonly Role[]) => Promise<AuditEntry>;

export interface MigrationOptions {
  /** Without it the history has no entry: a dry run would use up a number. */
  readonly note?: NoteRoles | undefined;
  /** Grant again after an undo, which only an explicit command does. */
  readonly again?: boolean;
  /** Refuse data that the grant has made or would make public. */
  readonly mustBePrivate?: boolean;
}

/** Public data, which the operator does not want to serve. The message says what to do. */
export class PublicDataError extends Error {
  override readonly name = 'PublicDataError';
}

/**
 * Grants the scopes to the role `anonymous` if the data predate it. The role keeps its scopes, and gets those
 * that it does not satisfy yet.
 *
 * @throws PublicDataError
 */
export function grantAnonymousScopes(
  database: Queryable,
  scopes: readonly string[],
  { note, again = false, mustBePrivate = false }: MigrationOptions,
): Promise<AnonymousMigration> {
  return database.transaction(async (transaction) => {
    const { state: before, granted } = await lockedState(transaction);
    if (mustBePrivate) {
      const held = (await anonymousRole(transaction))?.scopes ?? [];
      const isOpen = (scope: string) => granted.includes(scope) && held.includes(scope);
      refuse(before, before === 'predates' ? scopes : held.filter(isOpen));
    }
    if (before !== 'predates' && !(again && before === 'undone')) {
      return { before, after: before, added: [], removed: [] };
    }
    const role = await anonymousRole(transaction);
    const held = role?.scopes ?? [];
    const isHeld = granting(held);
    const added = [...new Set(scopes)].filter((scope) => !isHeld(scope));
    await changeRole(transaction, (held) => [...held, ...added], note);
    await setState(transaction, 'granted', added);
    return { before, after: 'granted', added, removed: [] };
  });
}

/**
 * Records what a new public deployment grants to the role `anonymous`, so that it can be undone, and is refused where
 * the operator wants a private one.
 */
export function recordPublic(database: Queryable, scopes: readonly string[]): Promise<void> {
  return database.transaction(async (transaction) => {
    await lockedState(transaction);
    await setState(transaction, 'granted', scopes);
  });
}

/** @throws PublicDataError */
function refuse(state: AnonymousState, open: readonly string[]): void {
  if (open.length > 0) {
    const [reason, remedy] =
      state === 'predates'
        ? [' older than anonymous scopes, and were', 'migrate`, then the same with --undo']
        : ['', 'migrate --undo`'];
    throw new PublicDataError(
      `the data are${reason} public: every caller would keep ${open.join(', ')}. Close them by ` +
        `\`taskcluster-local ${remedy}, or keep them open by --keep-public`,
    );
  }
}

/** Removes the scopes that a start or `migrate` has granted, and none that the operator has granted. */
export function undoAnonymousScopes(
  database: Queryable,
  { note }: Pick<MigrationOptions, 'note'>,
): Promise<AnonymousMigration> {
  return database.transaction(async (transaction) => {
    const { state: before, granted } = await lockedState(transaction);
    if (before !== 'granted') {
      return { before, after: before, added: [], removed: [] };
    }
    const held = (await anonymousRole(transaction))?.scopes ?? [];
    const removed = held.filter((scope) => granted.includes(scope));
    const keep = (scopes: readonly string[]) => scopes.filter((scope) => !removed.includes(scope));
    await changeRole(transaction, keep, note);
    await setState(transaction, 'undone', []);
    return { before, after: 'undone', added: [], removed };
  });
}

interface Row {
  readonly state: AnonymousState;
  readonly granted: string[];
}

/** Locks the state: of several processes that start together only one makes the change. */
async function lockedState(transaction: Queryable): Promise<Row> {
  const [row] = await transaction.query<Row>(
    'SELECT state, granted FROM anonymous_scopes FOR UPDATE',
  );
  return row ?? { state: 'decided', granted: [] };
}

async function setState(
  transaction: Queryable,
  state: AnonymousState,
  granted: readonly string[],
): Promise<void> {
  await transaction.query('UPDATE anonymous_scopes SET state = $1, granted = $2, changed = now()', [
    state,
    granted,
  ]);
}

async function anonymousRole(transaction: Queryable): Promise<Role | undefined> {
  const all = await roles(transaction).all();
  return all.find(({ roleId }) => roleId === ANONYMOUS);
}

const DESCRIPTION = 'What every caller may do, with credentials or without.';

/** A role without scopes stays, and grants nothing. */
async function changeRole(
  transaction: Queryable,
  // Not in normal form: a scope of the operator's outlives a wider one that is taken away again.
  change: (scopes: readonly string[]) => readonly string[],
  note: NoteRoles | undefined,
): Promise<void> {
  const now = new Date();
  let before: readonly Role[] = [];
  const changed = await roles(transaction).change(ANONYMOUS, (role, all) => {
    before = all;
    const { scopes = [], description = DESCRIPTION, created = now } = role ?? {};
    return { roleId: ANONYMOUS, scopes: change(scopes), description, created, lastModified: now };
  });
  if (note === undefined) {
    return;
  }
  const others = before.filter(({ roleId }) => roleId !== ANONYMOUS);
  const entry = await note(before, changed === undefined ? others : [...others, changed]);
  if (entry.grants !== undefined) {
    await audit(transaction).add(entry);
  }
}
