/**
 * Generates documents from a service's declarations, for programs that make clients or documentation: the
 * reference in Taskcluster's format (version 0) and an OpenAPI 3.1 document.
 *
 * Nothing in them is written by hand: the declarations are the only source.
 */
import { type ApiBuilder, type Endpoint, routeParameters, routeParts } from './builder.js';
import type { Schema } from './schema.js';
import { schemaPath } from './schema.js';
import type { ScopeTemplate } from './scope-template.js';

/** A service's declaration, without its handlers. */
export type Declarations = Pick<
  ApiBuilder<never>,
  'serviceName' | 'apiVersion' | 'title' | 'description' | 'params'
> & { readonly endpoints: readonly Endpoint[] };

/** An endpoint in {@link ApiReference}. */
export interface ReferenceEntry {
  readonly type: 'function';
  readonly method: string;
  /** The route, with `<name>` for a parameter. */
  readonly route: string;
  readonly query: readonly string[];
  readonly args: readonly string[];
  readonly name: string;
  readonly stability: string;
  readonly title: string;
  readonly description: string;
  readonly category: string;
  /** The schema, relative to `/schemas/<service>/`. */
  readonly input?: string;
  readonly output?: string;
  /** Absent for an endpoint without scopes. */
  readonly scopes?: ScopeTemplate;
}

/** The document `/references/<service>/<version>/api.json`. */
export interface ApiReference {
  readonly $schema: '/schemas/common/api-reference-v0.json#';
  readonly title: string;
  readonly description: string;
  readonly serviceName: string;
  readonly apiVersion: string;
  readonly entries: readonly ReferenceEntry[];
}

export function apiReference(api: Declarations): ApiReference {
  const { title, description, serviceName, apiVersion } = api;
  return {
    $schema: '/schemas/common/api-reference-v0.json#',
    title,
    description,
    serviceName,
    apiVersion,
    entries: api.endpoints.map((endpoint) => referenceEntry(api, endpoint)),
  };
}

function referenceEntry(api: Declarations, endpoint: Endpoint): ReferenceEntry {
  const { method, route, name, title, input, output, scopes } = endpoint;
  const path = (schema: Schema | 'blob') =>
    schema === 'blob' ? schema : schemaPath(api.serviceName, schema);
  return {
    type: 'function',
    method,
    route: routeWith(route, (parameter) => `<${parameter}>`),
    query: Object.keys(endpoint.query ?? {}),
    args: routeParameters(route),
    name,
    stability: endpoint.stability ?? 'stable',
    title,
    description: endpoint.description ?? title,
    category: endpoint.category ?? api.title,
    ...(input && { input: path(input) }),
    ...(output && { output: path(output) }),
    ...(scopes !== null && { scopes }),
  };
}

function routeWith(route: string, write: (parameter: string) => string): string {
  return routeParts(route)
    .map((part) => ('text' in part ? part.text : write(part.parameter)))
    .join('');
}

/** The schemas of a service's endpoints, each once, in the order of their use. */
export function schemasOf(api: Declarations): Schema[] {
  const used = api.endpoints.flatMap(({ input, output }) => [input, output]);
  const schemas = used.filter((schema) => schema !== undefined && schema !== 'blob');
  return [...new Map(schemas.map((schema) => [schema.$id, schema])).values()];
}

/** A service in OpenAPI 3.1. `x-taskcluster-scopes` has the scopes of an endpoint. */
export function openApi(api: Declarations, rootUrl: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const endpoint of api.endpoints) {
    const path = routeWith(endpoint.route, (parameter) => `{${parameter}}`);
    paths[path] = { ...paths[path], [endpoint.method]: operation(api, endpoint) };
  }
  return {
    openapi: '3.1.0',
    info: { title: api.title, description: api.description, version: api.apiVersion },
    servers: [{ url: `${rootUrl}/api/${api.serviceName}/${api.apiVersion}` }],
    paths,
    components: {
      schemas: {
        ...Object.fromEntries(
          schemasOf(api).map(({ $id, ...schema }) => [componentOf($id), schema]),
        ),
        Error: ERROR,
      },
      securitySchemes: { hawk: { type: 'http', scheme: 'hawk' } },
    },
  };
}

function operation(api: Declarations, endpoint: Endpoint): object {
  const { name, title, input, output, scopes, stability } = endpoint;
  return {
    operationId: name,
    summary: title,
    description: endpoint.description ?? title,
    tags: [endpoint.category ?? api.title],
    deprecated: stability === 'deprecated',
    parameters: parameters(api, endpoint),
    ...(input && { requestBody: { required: true, content: json(input) } }),
    responses: {
      200: {
        description: 'The answer',
        ...(output && output !== 'blob' && { content: json(output) }),
      },
      ...(output === undefined && { 204: { description: 'The answer has no body' } }),
      default: {
        description: 'The error',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
    // Both are valid: a caller without credentials passes if the role anonymous has the scopes.
    security: scopes === null ? [] : [{ hawk: [] }, {}],
    ...(scopes !== null && { 'x-taskcluster-scopes': scopes }),
  };
}

function parameters(api: Declarations, { route, params, query = {} }: Endpoint): object[] {
  const patterns: Readonly<Record<string, RegExp>> = { ...api.params, ...params };
  return [
    ...routeParameters(route).map((name) => ({
      name,
      in: 'path',
      required: true,
      schema: text(patterns[name]),
    })),
    ...Object.entries(query).map(([name, pattern]) => ({
      name,
      in: 'query',
      schema: text(pattern),
    })),
  ];
}

function text(pattern: RegExp | undefined): object {
  return { type: 'string', ...(pattern && { pattern: pattern.source }) };
}

function json({ $id }: Schema): object {
  return { 'application/json': { schema: { $ref: `#/components/schemas/${componentOf($id)}` } } };
}

/** `create-task-request` of `/schemas/queue/v1/create-task-request.json#`. */
function componentOf(id: string): string {
  return id.replace(/^.*\/([^/]*)\.json#$/, '$1');
}

const ERROR = {
  type: 'object',
  properties: {
    code: { type: 'string' },
    message: { type: 'string' },
    requestInfo: { type: 'object' },
  },
  required: ['code', 'message', 'requestInfo'],
};
