/**
 * The auth service's own view of its clients and roles: which client may be used now, and what
 * scopes stand for.
 */
import type { Store } from '../storage/store.js';
import { expandScopes } from './roles.js';
import type { LoadedClient } from './signature-validator.js';

/** A client that is unknown, disabled or past its expiry. The message is for whoever called. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
}

export class ScopeResolver {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  /** The scopes and all that roles add to them. */
  async expandScopes(scopes: readonly string[]): Promise<string[]> {
    return expandScopes(scopes, await this.#store.roles.all());
  }

  /** @throws ClientError */
  async loadClient(clientId: string): Promise<LoadedClient> {
    const client = await this.#store.clients.get(clientId);
    if (client === undefined) {
      throw new ClientError(`Client with clientId '${clientId}' not found`);
    }
    if (client.disabled) {
      throw new ClientError(`Client with clientId '${clientId}' is disabled`);
    }
    if (client.expires.getTime() < Date.now()) {
      throw new ClientError(`Client with clientId: '${clientId}' has expired`);
    }
    return { ...client, scopes: await this.expandScopes(client.scopes) };
  }
}
