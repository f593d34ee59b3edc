/**
 * Configured clients: the root client, those of the deployment's own services, and the operator's clients
 * with ids under `static/`. The API cannot change them, and the next start removes those that are no longer
 * configured.
 */
import type { Client, NewClient, Store } from '../storage/store.js';
import { newAccessToken } from './clients.js';

/** Credentials of a client, without a certificate. */
export interface PermanentCredentials {
  readonly clientId: string;
  readonly accessToken: string;
}

/** The deployment's own credentials, by their use. */
export type OwnCredentials = Record<'root' | 'queue' | 'web', PermanentCredentials>;

const PREFIX = 'static/';
const ROOT = 'static/taskcluster/root';
const WEB_SERVER = 'static/taskcluster/web-server';

/** Adds the deployment's own and the given clients, and removes other static clients. */
export async function syncStaticClients(
  store: Store,
  configured: readonly { readonly clientId: string }[],
): Promise<OwnCredentials> {
  return store.transaction(async (transaction) => {
    const own = {
      root: await ownClient(transaction, ROOT, ['*']),
      queue: await ownClient(transaction, 'static/taskcluster/queue', ['*']),
      web: await ownClient(transaction, WEB_SERVER, webServerScopes([])),
    };
    await grantRolesOfUsers(transaction);
    const kept = new Set([...Object.values(own), ...configured].map(({ clientId }) => clientId));
    for (const clientId of await staticClientIds(transaction)) {
      if (!kept.has(clientId)) {
        await transaction.clients.remove(clientId);
      }
    }
    return own;
  });
}

/** Gives the root client a new access token. Undefined if there is no root client yet. */
export async function resetRoot(store: Store): Promise<PermanentCredentials | undefined> {
  const accessToken = newAccessToken();
  const now = new Date();
  const dates = { lastModified: now, lastRotated: now };
  const changed = await store.clients.change(ROOT, (client) => ({
    ...client,
    ...dates,
    accessToken,
  }));
  return changed && { clientId: ROOT, accessToken };
}

/**
 * Lets the web server act for the current users only. To be called in the transaction that changes the
 * users or their roles.
 */
export async function grantRolesOfUsers(transaction: Store): Promise<void> {
  // Locks the client: of several concurrent changes of users, the last one sees all the others.
  await transaction.clients.change(WEB_SERVER, (client) => client);
  const users = await transaction.users.all();
  const scopes = webServerScopes(users.flatMap(({ roles }) => roles));
  await transaction.clients.change(WEB_SERVER, (client) => ({ ...client, scopes }));
}

/**
 * The scopes of Taskcluster's web server, for the one identity provider: all the scopes that `User.scopes`
 * may contain, and those to manage the clients of users.
 */
export function webServerScopes(rolesOfUsers: readonly string[]): string[] {
  const acts = ['create', 'delete', 'disable', 'enable', 'update'];
  return [
    'assume:anonymous',
    'assume:login-identity:*',
    ...[...new Set(rolesOfUsers)].sort().map((role) => `assume:${role}`),
    ...acts.map((act) => `auth:${act}-client:local/*`),
    'auth:reset-access-token:local/*',
  ];
}

const NEVER = 1000 * 365 * 24 * 60 * 60 * 1000;

/** Expiry of a permanent client. */
export function never(): Date {
  return new Date(Date.now() + NEVER);
}

/**
 * Adds a client. Its access token is the one that was stored first, even if several processes start at the
 * same moment.
 */
async function ownClient(
  store: Store,
  clientId: string,
  scopes: readonly string[],
): Promise<PermanentCredentials> {
  const time = new Date();
  const wanted: Required<NewClient> = {
    clientId,
    accessToken: newAccessToken(),
    description: '',
    scopes,
    expires: never(),
    disabled: false,
    deleteOnExpiration: false,
  };
  const dates = { created: time, lastModified: time, lastDateUsed: time, lastRotated: time };
  const { accessToken }: Client = await store.clients.add({ ...wanted, ...dates });
  await store.clients.put({ ...wanted, accessToken });
  return { clientId, accessToken };
}

async function staticClientIds(store: Store): Promise<string[]> {
  const ids: string[] = [];
  for (let after = ''; ; ) {
    const page = await store.clients.list(PREFIX, { after, limit: 100 });
    ids.push(...page.map(({ clientId }) => clientId));
    if (page.length < 100) {
      return ids;
    }
    after = ids.at(-1) ?? '';
  }
}
