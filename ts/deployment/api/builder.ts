/**
 * Declares a service's endpoints: method, route, scopes, schemas, handler. What is declared here
 * is all there is to know about an endpoint without running it; `router.ts` serves it.
 *
 * An endpoint says which scopes it needs, or `scopes: null` in so many words. Only endpoints that
 * tell nothing (a ping) or that authenticate by themselves may say `null` (RFC 165).
 */
import type { FromSchema, JSONSchema } from 'json-schema-to-ts';
import type { Caller, SignatureValidator } from './authenticate.js';
import type { Schema } from './schema.js';
import type { ScopeParameters, ScopeTemplate } from './scope-template.js';

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
  /**
   * What the caller must satisfy. Where the route's parameters suffice to fill it in, it is
   * checked before the handler runs; otherwise the handler calls `authorize`.
   */
  readonly scopes: ScopeTemplate | null;
  /** Parameters of the query and what each must look like. All are optional. */
  readonly query?: Readonly<Record<string, RegExp>>;
  /** Schema of the body; without one a body is ignored. */
  readonly input?: Schema;
  /** What of the body may be quoted in an error. All of it, unless said otherwise. */
  readonly cleanPayload?: (payload: unknown) => unknown;
}

/** A request that has been parsed and found in order. */
export interface ApiRequest<Body = unknown, Parameter extends string = string> {
  readonly params: Readonly<Record<Parameter, string>>;
  readonly query: Readonly<Record<string, string | undefined>>;
  readonly body: Body;
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
  /** What a parameter of this name must look like in every route. */
  readonly params: Readonly<Record<string, RegExp>>;
  readonly endpoints: DeclaredEndpoint<Context>[] = [];

  constructor(options: {
    readonly serviceName: string;
    readonly apiVersion: string;
    readonly params?: Readonly<Record<string, RegExp>>;
  }) {
    this.serviceName = options.serviceName;
    this.apiVersion = options.apiVersion;
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
    if (endpoint.scopes === undefined) {
      throw new DeclarationError(
        `endpoint ${endpoint.name} has no scope expression: write one, or scopes: null`,
      );
    }
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
    this.declare(
      { name: 'ping', method: 'get', route: '/ping', title: 'Ping Server', scopes: null },
      () => ({ alive: true, uptime: process.uptime() }),
    );
    for (const [name, route] of [
      ['lbheartbeat', '/__lbheartbeat__'],
      ['heartbeat', '/__heartbeat__'],
    ] as const) {
      this.declare({ name, method: 'get', route, title: 'Heartbeat', scopes: null }, () => ({}));
    }
  }
}
