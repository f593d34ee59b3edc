// The endpoints of the local deployment are those of Taskcluster: each declaration matches the published
// JavaScript client, which is generated from the services' references.
import test from 'ava';
import taskcluster from 'taskcluster-client';
import type { Declarations } from '../../ts/deployment/api/reference.js';
import { auth } from '../../ts/deployment/auth/index.js';
import { queue } from '../../ts/deployment/queue/index.js';
import { secrets } from '../../ts/deployment/secrets/index.js';

/** An endpoint as references describe it. */
interface Entry {
  readonly name: string;
  readonly method: string;
  readonly route: string;
  readonly title: string;
  readonly category: string;
  readonly stability: string;
  readonly query: readonly string[];
  readonly scopes: unknown;
}

function declared({ title, endpoints }: Declarations): Entry[] {
  return endpoints.map((endpoint) => ({
    name: endpoint.name,
    method: endpoint.method,
    route: endpoint.route.replace(/:(\w+)|\{\*(\w+)\}/g, (_, one, rest) => `<${one ?? rest}>`),
    title: endpoint.title,
    category: endpoint.category ?? title,
    stability: endpoint.stability ?? 'stable',
    query: Object.keys(endpoint.query ?? {}).sort(),
    scopes: endpoint.scopes ?? undefined,
  }));
}

function published(client: { prototype: object }, name: string): Entry {
  const method: { entryReference?: Entry } | undefined = Reflect.get(client.prototype, name);
  const entry = method?.entryReference;
  return {
    name: entry?.name ?? 'not published',
    method: entry?.method ?? '',
    route: entry?.route ?? '',
    title: entry?.title ?? '',
    category: entry?.category ?? '',
    stability: entry?.stability ?? '',
    query: [...(entry?.query ?? [])].sort(),
    scopes: entry?.scopes,
  };
}

/**
 * Endpoints that RFC 165 adds, and endpoints of the services that npm's client does not know yet.
 */
const NEW = [
  'authenticateAnonymous',
  'changeTaskPriority',
  'changeTaskGroupPriority',
  'githubRepoToken',
];

const SERVICES = [
  [auth, taskcluster.Auth],
  [queue, taskcluster.Queue],
  [secrets, taskcluster.Secrets],
] as const;

for (const [api, client] of SERVICES) {
  test(`each endpoint of ${api.serviceName} that the published client knows is declared as in that client`, (t) => {
    for (const entry of declared(api).filter(({ name }) => !NEW.includes(name))) {
      t.deepEqual(entry, published(client, entry.name), entry.name);
    }
  });
}
