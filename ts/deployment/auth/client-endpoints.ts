/** Endpoints that list, create, change and delete clients. Static clients cannot be changed. */
import type { ApiBuilder, ApiRequest } from '../api/builder.js';
import { checkDescription } from '../api/description.js';
import { ApiError } from '../api/errors.js';
import { instant } from '../api/instant.js';
import { PAGE_QUERY, page } from '../api/pages.js';
import type { AuditEntry, Author, Client } from '../storage/store.js';
import { eachInSlices } from '../turns.js';
import { clientChange, createClient, newAccessToken, type ScopeResolver } from './clients.js';
import type { AuthContext } from './context.js';
import { expandingIn } from './grant-changes.js';
import { CLIENT_ID } from './names.js';
import {
  createClientRequest,
  createClientResponse,
  getClientResponse,
  listClientsResponse,
} from './schemas.js';

type Auth = ApiBuilder<AuthContext>;

const CATEGORY = 'Clients';

export function declareClientEndpoints(auth: Auth): void {
  declareReading(auth);
  declareCreation(auth);
  declareUpdate(auth);
  declareReset(auth);
  declareSwitch(auth, 'enable');
  declareSwitch(auth, 'disable');
  declareRemoval(auth);
}

function declareReading(auth: Auth): void {
  auth.declare(
    {
      name: 'listClients',
      method: 'get',
      route: '/clients/',
      title: 'List Clients',
      description:
        'Clients by their ids, those that begin with `prefix` if that is given, a page at a time.',
      category: CATEGORY,
      query: { prefix: CLIENT_ID, ...PAGE_QUERY },
      anonymous: true,
      scopes: 'auth:list-clients',
      output: listClientsResponse,
    },
    async ({ query }, { store, resolver }) => {
      const { prefix = '' } = query;
      const { entries, continuationToken } = await page(
        query,
        (request) => store.clients.list(prefix, request),
        ({ clientId }) => clientId,
      );
      const clients = await eachInSlices(entries, (each) => clientJson(each, resolver));
      return { clients, continuationToken };
    },
  );
  auth.declare(
    {
      name: 'client',
      method: 'get',
      route: '/clients/:clientId',
      title: 'Get Client',
      category: CATEGORY,
      anonymous: true,
      scopes: 'auth:get-client:<clientId>',
      output: getClientResponse,
    },
    async ({ params: { clientId } }, { store, resolver }) =>
      clientJson(found(await store.clients.get(clientId)), resolver),
  );
}

function declareCreation(auth: Auth): void {
  auth.declare(
    {
      name: 'createClient',
      method: 'put',
      route: '/clients/:clientId',
      title: 'Create Client',
      description:
        'Creates a client and returns its `accessToken`, which cannot be read again. The caller ' +
        'needs all of the scopes that the client gets.',
      category: CATEGORY,
      scopes: {
        AllOf: ['auth:create-client:<clientId>', { for: 'scope', in: 'scopes', each: '<scope>' }],
      },
      input: createClientRequest,
      output: createClientResponse,
    },
    async ({ params: { clientId }, body, authorize, ...caller }, { store, resolver }) => {
      const { description, scopes = [], deleteOnExpiration = false } = body;
      await authorize({ clientId, scopes });
      checkNotStatic(clientId);
      checkGrantable(scopes);
      const expires = instant(body.expires);
      const wanted = { clientId, description, scopes, expires, deleteOnExpiration };
      const client = await createClient({ store, resolver }, wanted, await authorOf(caller));
      if (client === undefined) {
        throw new ApiError('RequestConflict', 'Client already exists');
      }
      return { ...(await clientJson(client, resolver)), accessToken: client.accessToken };
    },
  );
}

function declareUpdate(auth: Auth): void {
  auth.declare(
    {
      name: 'updateClient',
      method: 'post',
      route: '/clients/:clientId',
      title: 'Update Client',
      description:
        'Changes all but the `accessToken`. The caller needs the scopes that are added; without ' +
        '`scopes` they stay as they are.',
      category: CATEGORY,
      scopes: {
        AllOf: [
          'auth:update-client:<clientId>',
          { for: 'scope', in: 'scopesAdded', each: '<scope>' },
        ],
      },
      input: createClientRequest,
      output: getClientResponse,
    },
    async ({ params: { clientId }, body, authorize, ...caller }, { store, resolver }) => {
      // A caller that may not change the client at all does not learn whether it exists.
      await authorize({ clientId, scopesAdded: [] });
      checkNotStatic(clientId);
      checkGrantable(body.scopes ?? []);
      checkDescription(body.description);
      const before = found(await store.clients.get(clientId));
      const present = new Set(before.scopes);
      const scopesAdded = (body.scopes ?? []).filter((scope) => !present.has(scope));
      await authorize({ clientId, scopesAdded });
      const expires = instant(body.expires);
      const by = await authorOf(caller);
      const noting = { store, resolver, by, action: 'updated' } as const;
      const after = await change(noting, clientId, (client) => ({
        ...client,
        description: body.description,
        expires,
        scopes: body.scopes ?? client.scopes,
        deleteOnExpiration: body.deleteOnExpiration ?? false,
        lastModified: new Date(),
      }));
      return clientJson(after, resolver);
    },
  );
}

function declareReset(auth: Auth): void {
  auth.declare(
    {
      name: 'resetAccessToken',
      method: 'post',
      route: '/clients/:clientId/reset',
      title: 'Reset `accessToken`',
      description: 'Gives the client a new `accessToken` and returns it; the old one ends now.',
      category: CATEGORY,
      scopes: 'auth:reset-access-token:<clientId>',
      output: createClientResponse,
    },
    async ({ params: { clientId }, ...caller }, { store, resolver }) => {
      checkNotStatic(clientId);
      const accessToken = newAccessToken();
      const now = new Date();
      const dates = { lastModified: now, lastRotated: now };
      const by = await authorOf(caller);
      const noting = { store, resolver, by, action: 'access token reset' } as const;
      const after = await change(noting, clientId, (each) => ({ ...each, accessToken, ...dates }));
      return { ...(await clientJson(after, resolver)), accessToken };
    },
  );
}

function declareSwitch(auth: Auth, name: 'enable' | 'disable'): void {
  const title = name === 'enable' ? 'Enable Client' : 'Disable Client';
  auth.declare(
    {
      name: `${name}Client`,
      method: 'post',
      route: `/clients/:clientId/${name}`,
      title,
      category: CATEGORY,
      scopes: `auth:${name}-client:<clientId>`,
      output: getClientResponse,
    },
    async ({ params: { clientId }, ...caller }, { store, resolver }) => {
      checkNotStatic(clientId);
      const disabled = name === 'disable';
      const lastModified = new Date();
      const by = await authorOf(caller);
      const noting = { store, resolver, by, action: `client ${name}d` } as const;
      const after = await change(noting, clientId, (each) => ({ ...each, disabled, lastModified }));
      return clientJson(after, resolver);
    },
  );
}

function declareRemoval(auth: Auth): void {
  auth.declare(
    {
      name: 'deleteClient',
      method: 'delete',
      route: '/clients/:clientId',
      title: 'Delete Client',
      description: 'Removes the client, if there is one. Roles stay.',
      category: CATEGORY,
      scopes: 'auth:delete-client:<clientId>',
    },
    async ({ params: { clientId }, ...caller }, { store, resolver }) => {
      checkNotStatic(clientId);
      const by = await authorOf(caller);
      await store.transaction(async ({ clients, roles, audit }) => {
        const before = await clients.get(clientId);
        await clients.remove(clientId);
        const grants = await resolver.grantChanges.ofClient(
          before,
          undefined,
          expandingIn({ roles }, (all) => resolver.expansionOf(all)),
        );
        await audit.add(clientChange(by, clientId, 'deleted', grants));
      });
      return undefined;
    },
  );
}

interface Noting extends Pick<AuthContext, 'store' | 'resolver'> {
  readonly by: Author;
  readonly action: AuditEntry['actionType'];
}

/** Changes a client and records it in one transaction. @throws ApiError `ResourceNotFound` */
function change(
  { store, resolver, by, action }: Noting,
  clientId: string,
  to: (client: Client) => Client,
): Promise<Client> {
  return store.transaction(async ({ clients, roles, audit }) => {
    let before: Client | undefined;
    const changed = await clients.change(clientId, (client) => {
      before = client;
      return to(client);
    });
    const after = found(changed);
    const grants = await resolver.grantChanges.ofClient(
      before,
      after,
      expandingIn({ roles }, (all) => resolver.expansionOf(all)),
    );
    await audit.add(clientChange(by, clientId, action, grants));
    return after;
  });
}

/** The sender of a request, for the history. */
export async function authorOf({
  clientId,
  address,
}: Pick<ApiRequest, 'clientId' | 'address'>): Promise<Author> {
  return { clientId: await clientId(), address };
}

async function clientJson(client: Client, resolver: ScopeResolver) {
  const { accessToken: _, ...answer } = client;
  return { ...answer, expandedScopes: await resolver.expandScopes(client.scopes) };
}

function found(client: Client | undefined): Client {
  if (client === undefined) {
    throw new ApiError('ResourceNotFound', 'Client not found');
  }
  return client;
}

function checkNotStatic(clientId: string): void {
  if (clientId.startsWith('static/')) {
    throw new ApiError(
      'InputError',
      'clientId "{{clientId}}" starts with "static/" which is reserved for statically ' +
        'configured clients. Contact your administrator to change static clients.',
      { clientId },
    );
  }
}

/** Checks scopes that a caller wants to grant. */
export function checkGrantable(scopes: readonly string[]): void {
  if (scopes.some((scope) => scope.endsWith('**'))) {
    throw new ApiError('InputError', 'scopes must not end with `**`');
  }
}
