/** A signed-in user and the user's scopes. */
import { type NativeCredentials, native } from 'taskcluster-proxy/internal';
import type { LocalUser, OpenSession } from '../storage/store.js';

export class User {
  /** `<provider>/<name>`, which is also the id of the client that acts for the user. */
  readonly identity: string;
  readonly roles: readonly string[];

  constructor(identity: string, roles: readonly string[]) {
    this.identity = identity;
    this.roles = [...new Set(roles)];
  }

  /**
   * The scopes as granted, roles not expanded: the user's own roles, the role `login-identity:` of the
   * identity, and the scope of every caller (RFC 165).
   */
  scopes(): string[] {
    return [
      ...this.roles.map((role) => `assume:${role}`),
      `assume:login-identity:${this.identity}`,
      'assume:anonymous',
    ];
  }

  /** Temporary credentials with these scopes, by an issuer that has them; dates in ms. */
  credentials(issuer: NativeCredentials, start: number, expiry: number): NativeCredentials {
    const scopes = this.scopes();
    return native.createTemporaryCredentials(issuer, {
      clientId: this.identity,
      start,
      expiry,
      scopes,
    });
  }
}

/** A user who signs in with a password. */
export function localUser({ name, roles }: Pick<LocalUser, 'name' | 'roles'>): User {
  return new User(`local/${name}`, roles);
}

/** The user of the session. */
export function userOf({ user }: OpenSession): User {
  return localUser(user);
}
