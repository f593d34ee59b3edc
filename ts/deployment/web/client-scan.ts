/**
 * Checks the clients of users at intervals, and disables those with scopes that their user does not have
 * any more: the scopes of a client must not outlive those of its user.
 */
import { disableClient, type ScopeResolver } from '../auth/clients.js';
import { satisfies } from '../scopes.js';
import type { Client, Store } from '../storage/store.js';
import { localUser } from './user.js';

export interface ClientScanOptions {
  readonly store: Store;
  readonly resolver: ScopeResolver;
  /** Receives the error of a failed scan; the next scan tries again. */
  readonly onFault: (fault: unknown) => void;
}

/** Interval, in milliseconds. */
const INTERVAL = 60 * 60 * 1000;

export class ClientScan {
  readonly #options: ClientScanOptions;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;

  constructor(options: ClientScanOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), INTERVAL);
    this.#timer.unref();
  }

  /** Stops after the current scan. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  #tick(): void {
    this.#running ??= scanClients(this.#options)
      .catch((fault: unknown) => this.#options.onFault(fault))
      .finally(() => {
        this.#running = undefined;
      });
  }
}

/** A client of a user: `local/<name>`, and what is under it. */
const OF_USER = /^local\/(?<name>[^/]+)(?:\/|$)/;

const PAGE = 100;

export async function scanClients({
  store,
  resolver,
}: Pick<ClientScanOptions, 'store' | 'resolver'>): Promise<void> {
  for (let after = '', isMore = true; isMore; ) {
    const page = await store.clients.list('local/', { after, limit: PAGE });
    for (const client of page) {
      if (!client.disabled && (await isTooMuch(client, store, resolver))) {
        await disableClient(store, client.clientId, resolver.grantChanges);
      }
    }
    after = page.at(-1)?.clientId ?? '';
    isMore = page.length === PAGE;
  }
}

async function isTooMuch(
  { clientId, scopes }: Client,
  store: Store,
  resolver: ScopeResolver,
): Promise<boolean> {
  const { name } = OF_USER.exec(clientId)?.groups ?? {};
  if (name === undefined) {
    return false;
  }
  const user = await store.users.get(name);
  const held = user === undefined ? [] : await resolver.expandScopes(localUser(user).scopes());
  const expanded = await resolver.expandScopes(scopes);
  return user === undefined || !satisfies(held, { AllOf: [...expanded] });
}
