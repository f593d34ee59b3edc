/**
 * Clients that are there by configuration: those of whoever runs the deployment and of its own
 * services, and what the operator gives ids under `static/`. Nobody can change them by the API, and
 * those that are not configured any more are removed at the next start.
 */
import type { Client, NewClient, Store } from '../storage/store.js';
import { newAccessToken } from './clients.js';

/** Of a client that does not expire. */
export interface PermanentCredentials {
  readonly clientId: string;
  readonly accessToken: string;
}

/** Those of the deployment itself, by what they are for. */
export type OwnCredentials = Record<'root' | 'queue' | 'web', PermanentCredentials>;

const PREFIX = 'static/';
const ROOT = 'static/taskcluster/root';
const WEB_SERVER = 'static/taskcluster/web-server';

/** Adds the deployment's own clients, and removes static ones that are neither these nor given. */
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

/** Gives the root client another access token. Undefined where there is none yet. */
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
 * Lets the web server act for users as they are now, and for nobody else. To be called in the
 * transaction that has changed which users there are or which roles they have.
 */
export async function grantRolesOfUsers(transaction: Store): Promise<void> {
  // Locks the client: of several who change users, the last one sees what all of them did.
  await transaction.clients.change(WEB_SERVER, (client) => client);
  const users = await transaction.users.all();
  const scopes = webServerScopes(users.flatMap(({ roles }) => roles));
  await transaction.clients.change(WEB_SERVER, (client) => ({ ...client, scopes }));
}

/**
 * As Taskcluster's web server has them, for its one provider of identities: what
 * `User.scopes` may consist of, and the clients of users.
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

/** When a client expires that is to be there for good. */
export function never(): Date {
  return new Date(Date.now() + NEVER);
}

/**
 * Its access token stays what it was given first, also where several processes give it one at the
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
