/**
 * Authenticates each request, with credentials or without, and authorises it by an endpoint's scopes.
 *
 * A request without credentials is authenticated, too: it has the scopes of every caller
 * (`assume:anonymous` and its expansion). The signature validator is passed in.
 */
import { timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { native } from 'taskcluster-proxy/internal';
import { missing } from '../scopes.js';
import { ApiError } from './errors.js';
import { passage } from './passage.js';
import { render, type ScopeParameters, type ScopeTemplate } from './scope-template.js';

/** The input of a signature check: the body of `auth.authenticateHawk`. */
export interface HawkRequest {
  /** The method in lower case. */
  readonly method: string;
  /** The request target as received. */
  readonly resource: string;
  readonly host: string;
  readonly port: number;
  readonly authorization?: string | undefined;
  readonly sourceIp?: string | undefined;
}

/** The result of the check: the answer of `auth.authenticateHawk`, with times as dates. */
export type Authentication =
  | {
      readonly status: 'auth-success';
      readonly scheme: 'hawk';
      readonly clientId: string;
      readonly scopes: readonly string[];
      readonly expires: Date;
      /** Hash of the payload that the signature covers. */
      readonly hash?: string;
    }
  | {
      readonly status: 'no-auth';
      readonly scheme: 'none';
      readonly scopes: readonly string[];
      readonly expires: Date;
    }
  | {
      readonly status: 'auth-failed';
      readonly message: string;
      /** A `WWW-Authenticate` with more than the bare scheme. */
      readonly challenge?: string;
    };

/** Checks the signature of a request, or returns the scopes of a request without one. */
export type SignatureValidator = (request: HawkRequest) => Promise<Authentication>;

/** A received request with the text of its body. */
export interface ReceivedRequest {
  readonly incoming: IncomingMessage;
  /** The request target before any routing. */
  readonly target: string;
  /** `undefined` until it has been read. */
  readonly text: string | undefined;
}

/** The caller of one request. The signature is checked once, when it is first needed. */
export class Caller {
  readonly #received: ReceivedRequest;
  readonly #required: ScopeTemplate | null;
  readonly #validator: SignatureValidator;
  #authentication: Promise<Authentication> | undefined;
  #knownClientId: string | undefined;
  #authorized: boolean;

  constructor(
    received: ReceivedRequest,
    required: ScopeTemplate | null,
    validator: SignatureValidator,
  ) {
    this.#received = received;
    this.#required = required;
    this.#validator = validator;
    this.#authorized = required === null;
  }

  /** Whether `authorize` has passed, or the endpoint needs no scopes. */
  get authorized(): boolean {
    return this.#authorized;
  }

  /** The client id, once a good signature has been checked. */
  get knownClientId(): string | undefined {
    return this.#knownClientId;
  }

  /** As `ApiRequest.authorize`. */
  async authorize(parameters: ScopeParameters): Promise<void> {
    const required = this.#required === null ? null : render(this.#required, parameters);
    if (required !== null) {
      const authentication = await this.#authenticate();
      if (authentication.status === 'auth-failed') {
        throw unauthenticated(authentication);
      }
      const unsatisfied = missing(authentication.scopes, required);
      if (unsatisfied !== null) {
        throw insufficient(authentication, { required, unsatisfied });
      }
    }
    this.#authorized = true;
  }

  /**
   * Refuses a request without credentials, or with wrong ones, that passes with no parameters, before
   * anything is looked up for it. Refuses a long request with credentials in the same way.
   */
  async screen({ isLong = false }: { readonly isLong?: boolean } = {}): Promise<void> {
    const required = this.#required;
    if (required === null) {
      return;
    }
    await this.screenCredentials();
    const authentication = await this.#authenticate();
    if (
      (authentication.status === 'no-auth' ||
        (isLong && authentication.status !== 'auth-failed')) &&
      passage(required, authentication.scopes) === 'never'
    ) {
      throw insufficient(authentication, { required, unsatisfied: required });
    }
  }

  /** Refuses wrong credentials only, if the anonymous scopes pass with no parameters. */
  async screenCredentials(): Promise<void> {
    const required = this.#required;
    if (required === null) {
      return;
    }
    const authentication = await this.#authenticate();
    if (authentication.status === 'auth-failed' && passage(required, []) === 'never') {
      throw unauthenticated(authentication);
    }
  }

  /** As `ApiRequest.scopes`. */
  async scopes(): Promise<readonly string[]> {
    const authentication = await this.#authenticate();
    return authentication.status === 'auth-failed' ? [] : authentication.scopes;
  }

  /** As `ApiRequest.clientId`. */
  async clientId(): Promise<string> {
    const authentication = await this.#authenticate();
    return authentication.status === 'auth-success'
      ? authentication.clientId
      : `auth-failed:${authentication.status}`;
  }

  #authenticate(): Promise<Authentication> {
    this.#authentication ??= this.#find();
    return this.#authentication;
  }

  async #find(): Promise<Authentication> {
    const found = await authenticate(this.#received, this.#validator);
    if (found.status === 'auth-success') {
      this.#knownClientId = found.clientId;
    }
    return found;
  }
}

/** The 401 for refused credentials. */
export function unauthenticated({
  message,
  challenge = 'hawk',
}: Extract<Authentication, { status: 'auth-failed' }>): ApiError {
  return new ApiError('AuthenticationFailed', message, {}, { 'www-authenticate': challenge });
}

function insufficient(
  authentication: Exclude<Authentication, { status: 'auth-failed' }>,
  details: Readonly<Record<string, unknown>>,
): ApiError {
  const opening =
    authentication.status === 'auth-success'
      ? [
          `Client ID ${authentication.clientId} does not have sufficient scopes and is missing the following scopes:`,
          '',
          '```',
          '{{unsatisfied}}',
          '```',
          '',
          'This request requires the client to satisfy the following scope expression:',
        ]
      : [
          'This request requires Taskcluster credentials that satisfy the following scope expression:',
        ];
  const message = [...opening, '', '```', '{{required}}', '```'].join('\n');
  return new ApiError('InsufficientScopes', message, details);
}

/** Authenticates a request by its signature and, if that covers one, the hash of its payload. */
export async function authenticate(
  received: ReceivedRequest,
  validator: SignatureValidator,
): Promise<Authentication> {
  const request = hawkRequest(received);
  if (typeof request === 'string') {
    return { status: 'auth-failed', message: request };
  }
  const authentication = await validator(request);
  const { text } = received;
  if (
    authentication.status === 'auth-success' &&
    authentication.hash !== undefined &&
    text !== undefined
  ) {
    const contentType = received.incoming.headers['content-type'] ?? '';
    const hash = native.payloadHash(contentType, Buffer.from(text));
    if (!equal(authentication.hash, hash)) {
      return {
        status: 'auth-failed',
        message:
          `Invalid payload hash: ${authentication.hash}\nComputed payload hash: ${hash}\n` +
          'This happens when your request carries a signed hash of the payload and the hash ' +
          "doesn't match the hash we've computed on the server-side.",
      };
    }
  }
  return authentication;
}

/** The parts that the signature must cover, or why the request can have no valid one. */
function hawkRequest({ incoming, target }: ReceivedRequest): HawkRequest | string {
  const { authorization } = incoming.headers;
  if (authorization !== undefined && /[?&]bewit=/.test(target)) {
    return (
      'Cannot use two authentication schemes at once ' +
      "this request has both bewit in querystring and 'authorization' header"
    );
  }
  const host = parseHost(incoming.headers.host);
  if (host === null) {
    return 'Bad Request: Invalid Host header';
  }
  return {
    method: (incoming.method ?? 'get').toLowerCase(),
    resource: target,
    host: host.name,
    port: forwardedPort(incoming) ?? host.port,
    authorization,
    sourceIp: incoming.socket.remoteAddress,
  };
}

/** Host and port as Hawk reads them from the `Host` field. IPv6 literals keep their brackets. */
function parseHost(host: string | undefined): { name: string; port: number } | null {
  if (host === undefined || host.includes('/') || !URL.canParse(`http://${host}`)) {
    return null;
  }
  const { hostname, port } = new URL(`http://${host}`);
  return { name: hostname, port: port === '' ? 80 : Number(port) };
}

/** The port that the client addressed, if a reverse proxy in front of the deployment names it. */
function forwardedPort(incoming: IncomingMessage): number | undefined {
  const port = first(incoming.headers['x-forwarded-port']);
  if (port !== undefined) {
    const given = Number.parseInt(port, 10);
    return given >= 0 && given <= 65535 ? given : undefined;
  }
  return first(incoming.headers['x-forwarded-proto']) === 'https' ? 443 : undefined;
}

function first(field: string | string[] | undefined): string | undefined {
  return Array.isArray(field) ? field[0] : field;
}

function equal(a: string, b: string): boolean {
  const [x, y] = [Buffer.from(a), Buffer.from(b)];
  return x.length === y.length && timingSafeEqual(x, y);
}
