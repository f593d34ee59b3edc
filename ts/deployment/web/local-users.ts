/** The deployment's own users, with a name and a password each. */
import { addToRole } from '../auth/add-to-role.js';
import { clientChange, disableClient } from '../auth/clients.js';
import { expandingIn, type GrantChanges, operatorBy } from '../auth/grant-changes.js';
import { ROLE_ID } from '../auth/names.js';
import { grantRolesOfUsers } from '../auth/static-clients.js';
import { isScope } from '../scopes.js';
import type { AuditEntry, GrantChange, LocalUser, Store } from '../storage/store.js';
import { hashPassword, isPassword } from './passwords.js';
import { localUser } from './user.js';

/** A user who may sign in. */
export interface UserOptions {
  /** At most 100 letters, digits and `@:.+|_-`; the identity is `local/<name>`. */
  readonly name: string;
  /** Eight characters or more. */
  readonly password: string;
  /** Roles beside `login-identity:local/<name>`, which every user has. */
  readonly roles?: readonly string[];
}

/** A new user, and what the user may do. */
export interface NewUserOptions extends UserOptions {
  /** Added to the user's own role, `login-identity:local/<name>`. */
  readonly scopes?: readonly string[];
}

/** The characters of client ids without `/`, which ends the name in the ids of the user's clients. */
export const NAME = /^[A-Za-z0-9@:.+|_-]{1,100}$/;

const SHORTEST = 8;
const LONGEST = 1024;

/** An invalid user. The message says what to change. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/**
 * Adds the user, or gives an existing user this password and these roles. Another password ends the user's
 * sessions.
 *
 * @throws UserError
 */
export async function addUser(
  store: Store,
  options: UserOptions,
  grantChanges: GrantChanges,
): Promise<void> {
  const { name, password, roles = [] } = options;
  check(options);
  const present = await store.users.get(name);
  const isSame = present !== undefined && (await isPassword(password, present.passwordHash));
  const passwordHash = isSame ? present.passwordHash : await hashPassword(password);
  await store.transaction(async (transaction) => {
    await transaction.users.put({ name, passwordHash, roles });
    await grantRolesOfUsers(transaction);
    const changing = { transaction, grantChanges, command: 'start' };
    await noteUser(changing, present, { name, roles });
    if (present !== undefined && !isSame) {
      await noteAction(changing, name, 'access token reset');
    }
  });
}

/** Adds a new user. @throws UserError, RoleError */
export async function addNewUser(
  store: Store,
  options: NewUserOptions,
  grantChanges: GrantChanges,
): Promise<void> {
  const { name, password, roles = [], scopes = [] } = options;
  check(options);
  checkScopes(scopes);
  const passwordHash = await hashPassword(password);
  await store.transaction(async (transaction) => {
    if (!(await transaction.users.add({ name, passwordHash, roles }))) {
      throw new UserError(`there is a user ${name} already: choose another name, or set-password`);
    }
    await grantRolesOfUsers(transaction);
    const changing = { transaction, grantChanges, command: 'user add' };
    await addToOwnRole({ ...changing, name, scopes });
    await noteUser(changing, undefined, { name, roles });
  });
}

export interface Grant {
  readonly name: string;
  /** Added to the user's own role, `login-identity:local/<name>`. */
  readonly scopes: readonly string[];
}

/** Adds scopes to the role of an existing user, who has them from then on. @throws UserError, RoleError */
export async function grantScopes(
  store: Store,
  { name, scopes }: Grant,
  grantChanges: GrantChanges,
): Promise<void> {
  checkScopes(scopes);
  await store.transaction(async (transaction) => {
    if ((await transaction.users.get(name)) === undefined) {
      throw new UserError(unknown(name));
    }
    await addToOwnRole({ transaction, grantChanges, command: 'user grant', name, scopes });
  });
}

async function addToOwnRole({
  transaction,
  grantChanges,
  command,
  name,
  scopes,
}: Changing & Grant & { readonly grantChanges: GrantChanges }): Promise<void> {
  const roleId = `login-identity:${localUser({ name, roles: [] }).identity}`;
  const description = `What the user ${name} may do.`;
  await addToRole(transaction, { roleId, scopes, description, command }, grantChanges);
}

/** Sets the password and ends the user's sessions, even if the password is the same. @throws UserError */
export async function setPassword(store: Store, name: string, password: string): Promise<void> {
  check({ name, password });
  const passwordHash = await hashPassword(password);
  await store.transaction(async (transaction) => {
    const user = await transaction.users.get(name);
    if (user === undefined) {
      throw new UserError(unknown(name));
    }
    await transaction.users.put({ ...user, passwordHash });
    const changing = { transaction, command: 'user set-password' };
    await noteAction(changing, name, 'access token reset');
  });
}

/**
 * Removes the user, ends the user's sessions, and disables the user's clients.
 *
 * @throws UserError
 */
export async function removeUser(
  store: Store,
  name: string,
  grantChanges: GrantChanges,
): Promise<void> {
  await store.transaction(async (transaction) => {
    const user = await transaction.users.get(name);
    if (user === undefined || !(await transaction.users.remove(name))) {
      throw new UserError(unknown(name));
    }
    await grantRolesOfUsers(transaction);
    await noteUser({ transaction, grantChanges, command: 'user remove' }, user, undefined);
    await disableClients(transaction, `local/${name}`, grantChanges);
  });
}

type Grantee = Pick<LocalUser, 'name' | 'roles'>;

/** The transaction of a change, and the operator's command that makes it. */
interface Changing {
  readonly transaction: Store;
  readonly command: string;
}

/**
 * Records a change of a user in the history, as one of the client `local/<name>`, which acts for the user. A
 * user who has the same roles as before has no entry.
 */
async function noteUser(
  { grantChanges, ...changing }: Changing & { readonly grantChanges: GrantChanges },
  before: Grantee | undefined,
  after: Grantee | undefined,
): Promise<void> {
  const [was, is] = [before, after].map(
    (user) => user && { scopes: ownScopes(user), disabled: false },
  );
  const grants = await grantChanges.ofClient(was, is, expandingIn(changing.transaction));
  if (grants !== undefined) {
    const { name = '' } = after ?? before ?? {};
    const action = before === undefined ? 'created' : after === undefined ? 'deleted' : 'updated';
    await noteAction(changing, name, action, grants);
  }
}

/** Without the scope of every caller. */
function ownScopes(user: Grantee): string[] {
  return localUser(user)
    .scopes()
    .filter((scope) => scope !== 'assume:anonymous');
}

function noteAction(
  { transaction, command }: Changing,
  name: string,
  actionType: AuditEntry['actionType'],
  grants?: GrantChange,
): Promise<void> {
  const { identity } = localUser({ name, roles: [] });
  return transaction.audit.add(clientChange(operatorBy(command), identity, actionType, grants));
}

/** The client ids of a user: the identity itself, and all ids under it. */
async function disableClients(
  store: Store,
  identity: string,
  grantChanges: GrantChanges,
): Promise<void> {
  const limit = 100;
  for (let after = '', isMore = true; isMore; ) {
    const page = await store.clients.list(identity, { after, limit });
    for (const { clientId, disabled } of page) {
      if (!disabled && (clientId === identity || clientId.startsWith(`${identity}/`))) {
        await disableClient(store, clientId, grantChanges);
      }
      after = clientId;
    }
    isMore = page.length === limit;
  }
}

function unknown(name: string): string {
  return `there is no user ${name}: see the names with \`taskcluster-local user list\``;
}

function checkScopes(scopes: readonly string[]): void {
  const wrong = scopes.find((scope) => !isScope(scope) || scope === '' || scope.endsWith('**'));
  if (wrong !== undefined) {
    throw new UserError(
      `'${wrong}' is not a scope: write printable ASCII, and one * at most at its end`,
    );
  }
}

function check({ name, password, roles = [] }: UserOptions): void {
  if (!NAME.test(name)) {
    throw new UserError(
      `the name of a user is of letters, digits and @:.+|_-, at most 100 of them: change "${name}"`,
    );
  }
  if (password.length < SHORTEST || password.length > LONGEST) {
    throw new UserError(
      `the password of ${name} must have ${SHORTEST} to ${LONGEST} characters: choose another one`,
    );
  }
  const wrong = roles.find((role) => !ROLE_ID.test(role));
  if (wrong !== undefined) {
    throw new UserError(`a role's id is of printable ASCII: change "${wrong}" of ${name}`);
  }
}
