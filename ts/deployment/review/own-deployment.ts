/** Answers the questions of `Source` from the deployment's own store. */
import { type ApiReference, apiReference } from '../api/reference.js';
import type { ScopeResolver } from '../auth/clients.js';
import type { RoleScopes } from '../auth/roles.js';
import { services } from '../services.js';
import type { Store } from '../storage/store.js';
import { ANONYMOUS, type KnownClient, ReviewError, type Source } from './subject.js';

const REFERENCES: readonly ApiReference[] = services().map(apiReference);

export class OwnDeployment implements Source {
  readonly #store: Store;
  readonly #resolver: ScopeResolver;

  constructor(store: Store, resolver: ScopeResolver) {
    this.#store = store;
    this.#resolver = resolver;
  }

  async references(): Promise<readonly ApiReference[]> {
    return REFERENCES;
  }

  anonymous(): Promise<readonly string[]> {
    return this.#resolver.expandScopes([ANONYMOUS]);
  }

  async client(clientId: string): Promise<KnownClient> {
    const client = await this.#store.clients.get(clientId);
    if (client === undefined) {
      throw new ReviewError(`there is no client ${clientId}`);
    }
    return { ...client, expandedScopes: await this.#resolver.expandScopes(client.scopes) };
  }

  roles(): Promise<readonly RoleScopes[]> {
    return this.#store.roles.all();
  }

  expand(scopes: readonly string[]): Promise<readonly string[]> {
    return this.#resolver.expandScopes(scopes);
  }
}
