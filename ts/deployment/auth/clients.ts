/**
 * The auth service's own view of its clients and roles: it tells which client may be used now, and expands
 * scopes.
 */

import { randomBytes } from 'node:crypto';
import { checkDescription } from '../api/description.js';
import type { RolesVersion } from '../roles-version.js';
import type { AuditEntry, Author, Client, GrantChange, Store } from '../storage/store.js';
import { expandingIn, type GrantChanges } from './grant-changes.js';
import { checkRoles, RoleExpansion, type RoleScopes } from './roles.js';
import { type LoadedClient, RefusedError } from './signature-validator.js';

/** Precision of the stored time of a client's last use, in milliseconds. */
const USE_NOTED_EVERY = 6 * 60 * 60 * 1000;

export class ScopeResolver {
  readonly #store: Store;
  readonly #version: RolesVersion;
  /** What changes of roles and clients open and close. */
  readonly grantChanges: GrantChanges;
  #held: { readonly version: number; readonly expansion: Promise<RoleExpansion> } | undefined;
  /** The last expansion, to be reused: most roles stay the same when one changes. */
  #before: RoleExpansion | undefined;

  constructor(store: Store, version: RolesVersion, grantChanges: GrantChanges) {
    this.#store = store;
    this.#version = version;
    this.grantChanges = grantChanges;
  }

  /** To be called when this process has changed roles: the change then applies to the next answer. */
  rolesChanged(): void {
    this.#version.changed();
  }

  /** The scopes with the roles expanded, in normal form. */
  async expandScopes(scopes: readonly string[]): Promise<readonly string[]> {
    const version = await this.#version.current();
    if (this.#held?.version !== version) {
      this.#held = { version, expansion: this.#readRoles() };
    }
    return (await this.#held.expansion).expand(scopes);
  }

  async #readRoles(): Promise<RoleExpansion> {
    try {
      const expansion = new RoleExpansion(await this.#store.roles.all(), this.#before);
      this.#before = expansion;
      return expansion;
    } catch (error) {
      this.#held = undefined;
      throw error;
    }
  }

  /** The expansion of other roles, most of which equal the current ones. @throws RoleError */
  expansionOf(roles: readonly RoleScopes[]): RoleExpansion {
    return new RoleExpansion(roles, this.#before);
  }

  /** Checks that a set of roles is valid. @throws RoleError */
  checkRoles(roles: readonly RoleScopes[]): void {
    checkRoles(roles, this.#before);
  }

  /** @throws RefusedError if the client is unknown, disabled or expired */
  async loadClient(clientId: string): Promise<LoadedClient> {
    const client = await this.#store.clients.get(clientId);
    if (client === undefined) {
      throw new RefusedError(`Client with clientId '${clientId}' not found`);
    }
    if (client.disabled) {
      throw new RefusedError(`Client with clientId '${clientId}' is disabled`);
    }
    if (client.expires.getTime() < Date.now()) {
      throw new RefusedError(`Client with clientId: '${clientId}' has expired`);
    }
    if (Date.now() - client.lastDateUsed.getTime() > USE_NOTED_EVERY) {
      await this.#store.clients.used(clientId, new Date());
    }
    return { ...client, scopes: await this.expandScopes(client.scopes) };
  }
}

/** The fields to create a client. */
export type WantedClient = Pick<
  Client,
  'clientId' | 'description' | 'scopes' | 'expires' | 'deleteOnExpiration'
>;

/**
 * Creates a client with a new access token. A repeated call with the same fields returns the same client,
 * since the first answer may have been lost; undefined if another client has the id. `by` is the author in
 * the history.
 */
export async function createClient(
  { store, resolver }: { readonly store: Store; readonly resolver: ScopeResolver },
  wanted: WantedClient,
  by: Author,
): Promise<Client | undefined> {
  checkDescription(wanted.description);
  const now = new Date();
  const dates = { created: now, lastModified: now, lastDateUsed: now, lastRotated: now };
  const accessToken = newAccessToken();
  const client = await store.transaction(async ({ clients, roles, audit }) => {
    const made = await clients.add({ ...wanted, ...dates, accessToken, disabled: false });
    if (made.accessToken === accessToken) {
      const expand = expandingIn({ roles }, (all) => resolver.expansionOf(all));
      const grants = await resolver.grantChanges.ofClient(undefined, made, expand);
      await audit.add(clientChange(by, wanted.clientId, 'created', grants));
    }
    return made;
  });
  return client.disabled || !isAs(client, wanted) ? undefined : client;
}

function isAs(client: WantedClient, wanted: WantedClient): boolean {
  const identity = ({ description, scopes, expires, deleteOnExpiration }: WantedClient) =>
    JSON.stringify([description, scopes, expires, deleteOnExpiration]);
  return identity(client) === identity(wanted);
}

/** Disables a client of a user, in the name of the web server, which manages these clients. */
export async function disableClient(
  store: Store,
  clientId: string,
  grantChanges: GrantChanges,
): Promise<void> {
  const by = { clientId: 'static/taskcluster/web-server', address: '' };
  const lastModified = new Date();
  await store.transaction(async (transaction) => {
    let before: Client | undefined;
    const after = await transaction.clients.change(clientId, (client) => {
      before = client;
      return { ...client, disabled: true, lastModified };
    });
    const expand = expandingIn(transaction);
    const grants = await grantChanges.ofClient(before, after, expand);
    await transaction.audit.add(clientChange(by, clientId, 'client disabled', grants));
  });
}

/** The entry of the history for a change of a client by `by`. */
export function clientChange(
  by: Author,
  entityId: string,
  actionType: AuditEntry['actionType'],
  grants: GrantChange | undefined,
): AuditEntry {
  return { entityType: 'client', entityId, ...by, actionType, grants };
}

/** An access token, as long and as random as two slugids. */
export function newAccessToken(): string {
  return randomBytes(33).toString('base64url');
}
