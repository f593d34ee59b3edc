/** The people whom the deployment itself knows, by a name and a password. */
import { ROLE_ID } from '../auth/names.js';
import type { Store } from '../storage/store.js';
import { hashPassword, isPassword } from './passwords.js';

/** Somebody who may sign in. */
export interface UserOptions {
  /** Of letters, digits and `@:.+|_-`, at most 100; the identity is `local/<name>`. */
  readonly name: string;
  /** Eight characters or more. */
  readonly password: string;
  /** Beside `login-identity:local/<name>`, which everybody has his own of. */
  readonly roles?: readonly string[];
}

/** What is allowed in a client's id, but for `/`, which ends the name in ids of his clients. */
export const NAME = /^[A-Za-z0-9@:.+|_-]{1,100}$/;

const SHORTEST = 8;
const LONGEST = 1024;

/** A user who cannot be. The message says what to change. */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/**
 * Adds the user, or gives the one of this name this password and these roles. Another password ends
 * his sessions.
 *
 * @throws UserError
 */
export async function addUser(store: Store, options: UserOptions): Promise<void> {
  const { name, password, roles = [] } = options;
  check(options);
  const present = await store.users.get(name);
  const isSame = present !== undefined && (await isPassword(password, present.passwordHash));
  const passwordHash = isSame ? present.passwordHash : await hashPassword(password);
  await store.users.put({ name, passwordHash, roles });
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
