/** The deployment's own users, with a name and a password each. */
import { disableClient } from '../auth/clients.js';
import type { GrantChanges } from '../auth/grant-changes.js';
import { ROLE_ID } from '../auth/names.js';
import { grantRolesOfUsers } from '../auth/static-clients.js';
import type { Store } from '../storage/store.js';
import { hashPassword, isPassword } from './passwords.js';

/** A user who may sign in. */
export interface UserOptions {
  /** At most 100 letters, digits and `@:.+|_-`; the identity is `local/<name>`. */
  readonly name: string;
  /** Eight characters or more. */
  readonly password: string;
  /** Roles beside `login-identity:local/<name>`, which every user has. */
  readonly roles?: readonly string[];
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
export async function addUser(store: Store, options: UserOptions): Promise<void> {
  const { name, password, roles = [] } = options;
  check(options);
  const present = await store.users.get(name);
  const isSame = present !== undefined && (await isPassword(password, present.passwordHash));
  const passwordHash = isSame ? present.passwordHash : await hashPassword(password);
  await store.transaction(async (transaction) => {
    await transaction.users.put({ name, passwordHash, roles });
    await grantRolesOfUsers(transaction);
  });
}

/** Adds a new user. @throws UserError */
export async function addNewUser(store: Store, options: UserOptions): Promise<void> {
  const { name, password, roles = [] } = options;
  check(options);
  const passwordHash = await hashPassword(password);
  await store.transaction(async (transaction) => {
    if (!(await transaction.users.add({ name, passwordHash, roles }))) {
      throw new UserError(`there is a user ${name} already: choose another name, or set-password`);
    }
    await grantRolesOfUsers(transaction);
  });
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
    if (!(await transaction.users.remove(name))) {
      throw new UserError(unknown(name));
    }
    await grantRolesOfUsers(transaction);
    await disableClients(transaction, `local/${name}`, grantChanges);
  });
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
