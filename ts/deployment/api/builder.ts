/**
 * Declares a service's endpoints: method, route, scopes, schemas, handler. The declaration is complete: it
 * describes an endpoint without running it; `router.ts` serves it.
 *
 * A declaration names the scopes of its endpoint, or says `scopes: null` explicitly. Only endpoints that
 * tell nothing (a ping) or that authenticate by themselves may say `null` (RFC 165).
 */
import type { FromSchema, JSONSchema } from 'json-schema-to-ts';
import { native } from 'taskcluster-proxy/internal';
import type { Caller, SignatureValidator } from './authenticate.js';
import type { Schema } from './schema.js';
import { checkTemplate, type ScopeParameters, type ScopeTemplate } from './scope-template.js';

/** The signed method, in lower case as Express names it. */
export type Method = 'get' | 'post' | 'put' | 'delete';

/** Names of the parameters in a route: `:name` is one segment, `{*name}` the rest of the path. */
export type RouteParameter<Route extends string> = Route extends `${infer A}/${infer B}`
  ? RouteParameter<A> | RouteParameter<B>
  : Route extends `:${infer Name}` | `{*${infer Name}}`
    ? Name
    : never;

/** The declaration of an endpoint, without its handler. */
export interface Endpoint<Route extends string = string> {
  /** The name of its method in the clients. */
  readonly name: string;
  readonly method: Method;
  /** Path after `/api/<service>/<version>`. */
  readonly route: Route;
  readonly title: string;
  /** Description in Markdown; the title when absent. */
  readonly description?: string;
  /** Its heading in the documentation; the service's title when absent. */
  readonly category?: string;
  /** `stable` when absent. */
  readonly stability?: 'stable' | 'experimental' | 'deprecated';
  /**
   * The scope expression that the caller must satisfy. If the route's parameters suffice to fill it in, it
   * is checked before the handler runs; otherwise the handler calls `authorize`.
   */
  readonly scopes: ScopeTemplate | null;
  /**
   * Set if the handler calls `authorize` before it looks anything up: the refused caller then learns which
   * scopes are missing. Otherwise a caller that passes with no parameters is refused earlier.
   */
  readonly authorizesFirst?: true;
  /**
   * Set if a public deployment lets every caller call the endpoint: `true` with all parameters of the
   * scopes, or only with certain values, such as `{ name: 'public/*' }`.
   */
  readonly anonymous?: true | Readonly<Record<string, string>>;
  /** Parameters of the query and the pattern of each. All are optional. */
  readonly query?: Readonly<Record<string, RegExp>>;
  /** Patterns of the route's parameters, beside those of the service. */
  readonly params?: Readonly<Record<string, RegExp>>;
  /** Schema of the body; without one a body is ignored. */
  readonly input?: Schema;
  /** Schema of the answer with status 200, or `blob` for an answer that is not JSON. */
  readonly output?: Schema | 'blob';
  /** The part of the body that an error may quote; all of it when absent. */
  readonly cleanPayload?: (payload: unknown) => unknown;
}

/** A parsed and validated request. */
export interface ApiRequest<Body = unknown, Parameter extends string = string> {
  readonly params: Readonly<Record<Parameter, string>>;
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly body: Body;
  /** The deployment's root URL, as the client reaches it. */
  readonly rootUrl: string;
  /** The client's address, from a trusted forwarder if there is one. For records only. */
  readonly address: string;
  /** Fires when the client disconnects. */
  readonly signal: AbortSignal;
  /**
   * Refuses the request unless its caller satisfies the endpoint's scopes.
   *
   * @throws ApiError `AuthenticationFailed`, `InsufficientScopes`
   */
  authorize(parameters: ScopeParameters): Promise<void>;
  /** The caller's scopes, anonymous scopes included; none if authentication failed. */
  scopes(): Promise<readonly string[]>;
  /** The caller's client id, for records only: it authorises nothing. */
  clientId(): Promise<string>;
  /** The same caller under another validator: for endpoints that authenticate by themselves. */
  callerBy(validator: SignatureValidator, required: ScopeTemplate): Caller;
}

/** An answer other than 200 with JSON. */
export class Reply {
  readonly status: number;
  readonly body: unknown;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}) {
    this.status = status;
    this.body = body;
    this.headers = headers;
  }
}

/** Answers with JSON (200), nothing (204) or a `Reply`; throws `ApiError`. */
export type Handler<Context, Body, Parameter extends string> = (
  request: ApiRequest<Body, Parameter>,
  context: Context,
) => Promise<object | Reply | undefined> | object | Reply | undefined;

type BodyOf<Input> = Input extends JSONSchema ? FromSchema<Input> : unknown;

/** An endpoint and its handler. */
export interface DeclaredEndpoint<Context> extends Endpoint {
  readonly handler: Handler<Context, never, string>;
}

/** A declaration that contradicts itself or another one, which is a programming error. */
export class DeclarationError extends Error {
  override readonly name = 'DeclarationError';
}

/** The declared endpoints of one service. */
export class ApiBuilder<Context> {
  readonly serviceName: string;
  readonly apiVersion: string;
  readonly title: string;
  /** Description in Markdown. */
  readonly description: string;
  /** The pattern of a parameter of this name in every route. */
  readonly params: Readonly<Record<string, RegExp>>;
  readonly endpoints: DeclaredEndpoint<Context>[] = [];

  constructor(options: {
    readonly serviceName: string;
    readonly apiVersion: string;
    /** The service's name when absent. */
    readonly title?: string;
    /** The title when absent. */
    readonly description?: string;
    readonly params?: Readonly<Record<string, RegExp>>;
  }) {
    this.serviceName = options.serviceName;
    this.apiVersion = options.apiVersion;
    this.title = options.title ?? options.serviceName;
    this.description = options.description ?? this.title;
    this.params = options.params ?? {};
    this.#declareMonitoring();
  }

  /**
   * Adds an endpoint.
   *
   * @throws DeclarationError
   */
  declare<const Route extends string, const Input extends Schema | undefined = undefined>(
    endpoint: Endpoint<Route> & { readonly input?: Input },
    handler: Handler<Context, BodyOf<Input>, RouteParameter<Route>>,
  ): void {
    checkScopeExpression(endpoint);
    if (endpoint.method === 'get' && endpoint.input !== undefined) {
      throw new DeclarationError(`endpoint ${endpoint.name} is a GET and can have no input`);
    }
    for (const other of this.endpoints) {
      if (other.name === endpoint.name) {
        throw new DeclarationError(`endpoint ${endpoint.name} has already been declared`);
      }
      if (other.method === endpoint.method && other.route === endpoint.route) {
        throw new DeclarationError(
          `endpoint ${endpoint.name} has the method and route of ${other.name}`,
        );
      }
    }
    this.endpoints.push({ ...endpoint, handler: handler as Handler<Context, never, string> });
  }

  #declareMonitoring(): void {
    const monitoring = { method: 'get', category: 'Monitoring', scopes: null } as const;
    this.declare(
      {
        ...monitoring,
        name: 'ping',
        route: '/ping',
        title: 'Ping Server',
        description: 'Tells that the service is up, and for how many seconds.',
      },
      () => ({ alive: true, uptime: process.uptime() }),
    );
    this.declare(
      {
        ...monitoring,
        name: 'version',
        route: '/__version__',
        title: 'Taskcluster Version',
        description: 'Tells which version answers, in the format of Dockerflow.',
      },
      () => VERSION,
    );
    for (const [name, route, title] of [
      ['lbheartbeat', '/__lbheartbeat__', 'Load Balancer Heartbeat'],
      ['heartbeat', '/__heartbeat__', 'Heartbeat'],
    ] as const) {
      this.declare({ ...monitoring, name, route, title }, () => ({}));
    }
  }
}

/** The answer of every service to `__version__`. */
export const VERSION = { version: native.version(), commit: native.revision() };

function checkScopeExpression({ name, scopes }: Endpoint): void {
  if (scopes === undefined) {
    throw new DeclarationError(
      `endpoint ${name} has no scope expression: write one, or scopes: null`,
    );
  }
  if (scopes !== null) {
    try {
      checkTemplate(scopes);
    } catch (error) {
      throw new DeclarationError(`endpoint ${name}: ${(error as Error).message}`);
    }
  }
}

/** The parts of a route: its texts and its parameters. */
export function routeParts(route: string): ({ text: string } | { parameter: string })[] {
  return route
    .split(/(:\w+|\{\*\w+\})/)
    .filter((part) => part !== '')
    .map((part) => (/^[:{]/.test(part) ? { parameter: part.replace(/\W/g, '') } : { text: part }));
}

/** The names of a route's parameters. */
export function routeParameters(route: string): string[] {
  return routeParts(route).flatMap((part) => ('parameter' in part ? [part.parameter] : []));
}
