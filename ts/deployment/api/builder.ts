/**
 * Declares a service's endpoints: method, route, scopes, schemas, handler. What is declared here
 * is all there is to know about an endpoint without running it; `router.ts` serves it.
 *
 * An endpoint says which scopes it needs, or `scopes: null` in so many words. Only endpoints that
 * tell nothing (a ping) or that authenticate by themselves may say `null` (RFC 165).
 */
import type { FromSchema, JSONSchema } from 'json-schema-to-ts';
import { native } from 'taskcluster-proxy/internal';
import type { Caller, SignatureValidator } from './authenticate.js';
import type { Schema } from './schema.js';
import { checkTemplate, type ScopeParameters, type ScopeTemplate } from './scope-template.js';

/** As Hawk signs it, in lower case as Express names it. */
export type Method = 'get' | 'post' | 'put' | 'delete';

/** Names of the parameters in a route: `:name` is one segment, `{*name}` the rest of the path. */
export type RouteParameter<Route extends string> = Route extends `${infer A}/${infer B}`
  ? RouteParameter<A> | RouteParameter<B>
  : Route extends `:${infer Name}` | `{*${infer Name}}`
    ? Name
    : never;

/** What is known of an endpoint without running it. */
export interface Endpoint<Route extends string = string> {
  /** The name that clients call it by. */
  readonly name: string;
  readonly method: Method;
  /** Path after `/api/<service>/<version>`. */
  readonly route: Route;
  readonly title: string;
  /** In Markdown; the title when absent. */
  readonly description?: string;
  /** Under which heading it stands in documentation; the service's title when absent. */
  readonly category?: string;
  /** `stable` when absent. */
  readonly stability?: 'stable' | 'experimental' | 'deprecated';
  /**
   * What the caller must satisfy. Where the route's parameters suffice to fill it in, it is
   * checked before the handler runs; otherwise the handler calls `authorize`.
   */
  readonly scopes: ScopeTemplate | null;
  /**
   * Set where the handler asks for authorisation before it looks anything up: whoever is refused is
   * told then which scopes are missing. Else a caller whom no parameters could help is refused before.
   */
  readonly authorizesFirst?: true;
  /**
   * Set where a public deployment lets everybody call: whatever the parameters of the scopes are,
   * or for these values of some, such as `{ name: 'public/*' }`.
   */
  readonly everybody?: true | Readonly<Record<string, string>>;
  /** Parameters of the query and what each must look like. All are optional. */
  readonly query?: Readonly<Record<string, RegExp>>;
  /** What a parameter of the route must look like, beside what the service says. */
  readonly params?: Readonly<Record<string, RegExp>>;
  /** Schema of the body; without one a body is ignored. */
  readonly input?: Schema;
  /** Schema of the answer with status 200, or `blob` where that is no JSON. */
  readonly output?: Schema | 'blob';
  /** What of the body may be quoted in an error. All of it, unless said otherwise. */
  readonly cleanPayload?: (payload: unknown) => unknown;
}

/** A request that has been parsed and found in order. */
export interface ApiRequest<Body = unknown, Parameter extends string = string> {
  readonly params: Readonly<Record<Parameter, string>>;
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly body: Body;
  /** The deployment's, as the client reaches it. */
  readonly rootUrl: string;
  /** Where the request came from, by a forwarder if that is trusted. For records only. */
  readonly address: string;
  /** Fires when the client has gone. */
  readonly signal: AbortSignal;
  /**
   * Refuses the request unless its caller satisfies the endpoint's scopes.
   *
   * @throws ApiError `AuthenticationFailed`, `InsufficientScopes`
   */
  authorize(parameters: ScopeParameters): Promise<void>;
  /** What the caller holds, anonymous scopes included; nothing if authentication failed. */
  scopes(): Promise<readonly string[]>;
  /** Who calls, for records only: it authorises nothing. */
  clientId(): Promise<string>;
  /** The same caller as another validator sees it: for endpoints that authenticate by themselves. */
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

/** An endpoint and what it does. */
export interface DeclaredEndpoint<Context> extends Endpoint {
  readonly handler: Handler<Context, never, string>;
}

/** A declaration that contradicts itself or another one: a mistake in the program. */
export class DeclarationError extends Error {
  override readonly name = 'DeclarationError';
}

/** One service's endpoints, before there is a server. */
export class ApiBuilder<Context> {
  readonly serviceName: string;
  readonly apiVersion: string;
  readonly title: string;
  /** In Markdown. */
  readonly description: string;
  /** What a parameter of this name must look like in every route. */
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
    checkScopes(endpoint);
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
        description: 'Says that the service is up, and for how many seconds.',
      },
      () => ({ alive: true, uptime: process.uptime() }),
    );
    this.declare(
      {
        ...monitoring,
        name: 'version',
        route: '/__version__',
        title: 'Taskcluster Version',
        description: 'Says which version answers, as Dockerflow has it.',
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

/** What every service answers to `__version__`. */
export const VERSION = { version: native.version(), commit: native.revision() };

function checkScopes({ name, scopes }: Endpoint): void {
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

/** A route in parts: its text, and where a parameter stands in it. */
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
