/** The secrets service: small JSON objects that tasks may read, by name. */
import { ApiBuilder } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import { instant } from '../api/instant.js';
import { PAGE_QUERY, page } from '../api/pages.js';
import type { Store } from '../storage/store.js';

export interface SecretsContext {
  readonly store: Store;
}

const secret = {
  $id: '/schemas/secrets/v1/secret.json#',
  type: 'object',
  properties: {
    secret: { type: 'object' },
    expires: { type: 'string', format: 'date-time' },
  },
  additionalProperties: false,
  required: ['secret', 'expires'],
} as const;

const secretList = {
  $id: '/schemas/secrets/v1/secret-list.json#',
  title: 'Secrets List',
  type: 'object',
  properties: {
    secrets: { type: 'array', items: { type: 'string' } },
    continuationToken: { type: 'string' },
  },
  additionalProperties: false,
  required: ['secrets'],
} as const;

export const secrets = new ApiBuilder<SecretsContext>({
  serviceName: 'secrets',
  title: 'Secrets Service',
  description: 'Small JSON objects by name; reading each takes its own scope.',
  apiVersion: 'v1',
  // Any text, as in the real service, except NUL, which PostgreSQL cannot store.
  params: { name: /^[^\0]+$/ },
});

secrets.declare(
  {
    name: 'set',
    method: 'put',
    route: '/secret/{*name}',
    title: 'Set Secret',
    scopes: 'secrets:set:<name>',
    input: secret,
    cleanPayload: (payload) => ({ ...(payload as object), secret: '(OMITTED)' }),
  },
  async ({ params: { name }, body, clientId, address }, { store }) => {
    const wanted = { name, secret: body.secret, expires: instant(body.expires) };
    const by = { clientId: await clientId(), address };
    const note = { entityType: 'secret', entityId: name, ...by } as const;
    await store.transaction(async ({ secrets, audit }) => {
      const isThere = (await secrets.get(name)) !== undefined;
      await secrets.put(wanted);
      await audit.add({ ...note, actionType: isThere ? 'updated' : 'created' });
    });
    return {};
  },
);

secrets.declare(
  {
    name: 'get',
    method: 'get',
    route: '/secret/{*name}',
    title: 'Read Secret',
    output: secret,
    scopes: 'secrets:get:<name>',
  },
  async ({ params: { name } }, { store }) => {
    const found = await store.secrets.get(name);
    if (found === undefined || found.expires.getTime() < Date.now()) {
      throw new ApiError('ResourceNotFound', 'Secret not found');
    }
    return { secret: found.secret, expires: found.expires.toJSON() };
  },
);

secrets.declare(
  {
    name: 'remove',
    method: 'delete',
    route: '/secret/{*name}',
    title: 'Delete Secret',
    scopes: 'secrets:set:<name>',
  },
  async ({ params: { name }, clientId, address }, { store }) => {
    const by = { clientId: await clientId(), address };
    const note = { entityType: 'secret', entityId: name, ...by } as const;
    await store.transaction(async ({ secrets, audit }) => {
      await secrets.remove(name);
      await audit.add({ ...note, actionType: 'deleted' });
    });
    return {};
  },
);

/** Lists names only: a caller who may list secrets may lack the scope to read them. */
secrets.declare(
  {
    name: 'list',
    method: 'get',
    route: '/secrets',
    query: PAGE_QUERY,
    title: 'List Secrets',
    output: secretList,
    anonymous: true,
    scopes: 'secrets:list-secrets',
  },
  async ({ query }, { store }) => {
    const { entries, continuationToken } = await page(
      query,
      ({ after, limit }) => store.secrets.names(new Date(), { after, limit }),
      (name) => name,
    );
    return { secrets: entries, continuationToken };
  },
);
