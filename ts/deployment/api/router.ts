/**
 * Serves a service's endpoints. A request passes, in this order: body, authentication, route parameters,
 * query, schema, handler; an error of any of them is answered in Taskcluster's shape.
 *
 * A caller without the right scopes causes no long work: a long body is read only if its caller may call
 * the endpoint, and then parsed in its turn.
 */
import express, {
  type ErrorRequestHandler,
  type Request,
  type RequestHandler,
  type Response,
  type Router,
} from 'express';
import { note, requestIdOf } from '../operation/requests.js';
import { Outage } from '../outage.js';
import type { PublicUrl } from '../public-url.js';
import { turn } from '../turns.js';
import { Caller, type SignatureValidator } from './authenticate.js';
import { announcedUpTo, tooLarge } from './body-limit.js';
import {
  type ApiBuilder,
  type DeclaredEndpoint,
  type Endpoint,
  routeParameters as namesOf,
  Reply,
} from './builder.js';
import { ApiError, errorBody, type RequestInfo } from './errors.js';
import { isLong, sendLong } from './long-answers.js';
import { outputError, schemaError } from './schema.js';
import { needsOnly } from './scope-template.js';

/** A fault of the program or an outage; the client learns only the `incidentId`. */
export type FaultListener = (fault: unknown, incidentId: string) => void;

/** The parameters of a service's router. */
export interface ServeOptions<Context> {
  readonly context: Context;
  readonly validator: SignatureValidator;
  readonly publicUrl: Pick<PublicUrl, 'of'>;
  readonly onFault: FaultListener;
  /** Largest body of a call that needs scopes, in bytes; 10 MiB when absent. */
  readonly bodyLimit?: number | undefined;
  /** Treat an answer that does not match its schema as a fault. For tests: it takes time. */
  readonly checkOutput?: boolean;
}

/** Largest body of a call that needs scopes beyond those of a public deployment, in bytes. */
const BODY_LIMIT = 10 * 1024 * 1024;

/** The same for an endpoint that a public deployment opens to every caller. */
const PUBLIC_BODY_LIMIT = 256 * 1024;

/** The same for an endpoint without scopes; a larger body is long on any endpoint. */
const SHORT = 64 * 1024;

/** Size up to which a body is checked at once and all its errors are told, in UTF-16 units. */
const QUICKLY_READ = 16 * 1024;

function bodyLimitOf({ scopes, anonymous }: Endpoint, limit = BODY_LIMIT): number {
  const most = scopes === null ? SHORT : anonymous === undefined ? limit : PUBLIC_BODY_LIMIT;
  return Math.min(most, limit);
}

/** The router of a service, to be mounted at `/api/<service>/<version>`. */
export function serve<Context>(api: ApiBuilder<Context>, options: ServeOptions<Context>): Router {
  const router = express.Router({ caseSensitive: true });
  router.use(corsAndCaching);
  for (const endpoint of api.endpoints) {
    const limit = bodyLimitOf(endpoint, options.bodyLimit);
    router[endpoint.method](
      endpoint.route,
      named(`${api.serviceName}.${endpoint.name}`),
      screenLong(endpoint, options),
      announcedUpTo(limit),
      express.text({ type: 'application/json', limit }),
      answer(api, endpoint, options),
      answerError(endpoint, options.onFault),
    );
  }
  return router;
}

/** Notes the request for the log and the metrics. */
function named(endpoint: string): RequestHandler {
  return (_request, response, next) => {
    note(response, { endpoint });
    next();
  };
}

/** Any origin may call: authorisation is by signature alone, never by a cookie. */
const corsAndCaching: RequestHandler = (_request, response, next) => {
  response.set({
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Max-Age': '900',
    'Access-Control-Allow-Methods': 'OPTIONS,GET,HEAD,POST,PUT,DELETE,TRACE,CONNECT',
    'Access-Control-Request-Method': '*',
    'Access-Control-Allow-Headers':
      'X-Requested-With,Content-Type,Authorization,Accept,Origin,Cache-Control',
    'Cache-Control': 'no-store no-cache must-revalidate',
  });
  next();
};

/** Whether a body may be long, by the headers of the request. */
function mayBeLong({ headers }: Request): boolean {
  const length = headers['content-length'];
  return length === undefined ? 'transfer-encoding' in headers : Number(length) > SHORT;
}

/** Refuses an unauthorised caller before a long body is read. */
function screenLong<Context>(
  endpoint: DeclaredEndpoint<Context>,
  { validator }: ServeOptions<Context>,
): RequestHandler {
  const early = authorizedByRoute(endpoint);
  return async (request, response, next) => {
    if (endpoint.scopes !== null && mayBeLong(request)) {
      const received = { incoming: request, target: request.originalUrl, text: undefined };
      const caller = new Caller(received, endpoint.scopes, validator);
      note(response, { caller });
      const params = routeParameters(endpoint, request);
      await (early ? caller.authorize(params) : caller.screen({ isLong: true }));
    }
    next();
  };
}

function answer<Context>(
  api: ApiBuilder<Context>,
  endpoint: DeclaredEndpoint<Context>,
  { context, validator, publicUrl, checkOutput = false }: ServeOptions<Context>,
): RequestHandler {
  const patterns = { ...api.params, ...endpoint.params };
  const early = authorizedByRoute(endpoint);
  return async (request, response) => {
    const text = typeof request.body === 'string' ? request.body : '';
    // Errors quote the body only after it has been parsed.
    request.body = {};
    if (text.length > QUICKLY_READ) {
      await turn();
    }
    const body = parseBody(text);
    request.body = body;
    const received = { incoming: request, target: request.originalUrl, text };
    const caller = new Caller(received, endpoint.scopes, validator);
    note(response, { caller });
    const params = routeParameters(endpoint, request);
    if (early) {
      await caller.authorize(params);
    } else if (endpoint.authorizesFirst === true) {
      await caller.screenCredentials();
    } else {
      await caller.screen();
    }
    checkParameters(params, patterns);
    const query = checkQuery(request, endpoint);
    checkBody(request, endpoint, text);
    const reply = await endpoint.handler(
      {
        params,
        query,
        body: body as never,
        rootUrl: publicUrl.of(request),
        address: request.ip ?? '',
        signal: closed(response),
        authorize: (parameters) => caller.authorize(parameters),
        scopes: () => caller.scopes(),
        clientId: () => caller.clientId(),
        callerBy: (other, required) => new Caller(received, required, other),
      },
      context,
    );
    if (!caller.authorized) {
      throw new Error(`${endpoint.name} answered without having authorised its caller`);
    }
    if (checkOutput) {
      checkAnswer(endpoint, reply);
    }
    await send(response, reply);
  };
}

/** Whether the route's parameters suffice to fill in the endpoint's scopes. */
function authorizedByRoute<Context>({ route, scopes }: DeclaredEndpoint<Context>): boolean {
  return scopes !== null && needsOnly(scopes, new Set(namesOf(route)));
}

function parseBody(text: string): object {
  if (text === '') {
    return {};
  }
  checkDepth(text);
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null) {
      return body;
    }
  } catch (error) {
    throw new ApiError('MalformedPayload', 'Failed to parse JSON: {{errMsg}}', {
      errMsg: (error as SyntaxError).message,
    });
  }
  throw new ApiError('MalformedPayload', 'Failed to parse JSON: Must be an object or array');
}

/** Deepest nesting of a body: the code that stores or quotes it is recursive. */
const DEEPEST = 200;

function checkDepth(text: string): void {
  let depth = 0;
  let isText = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (isText) {
      if (letter === '\\') {
        at += 1;
      } else if (letter === '"') {
        isText = false;
      }
    } else if (letter === '"') {
      isText = true;
    } else if (letter === '[' || letter === '{') {
      depth += 1;
    } else if (letter === ']' || letter === '}') {
      depth -= 1;
    }
    if (depth > DEEPEST) {
      const message = `Failed to parse JSON: It is nested deeper than ${DEEPEST} levels`;
      throw new ApiError('MalformedPayload', message);
    }
  }
}

/**
 * The decoded parameters; the segments of `{*name}` are joined to one text, which may be empty.
 */
function routeParameters<Context>(
  { route }: DeclaredEndpoint<Context>,
  request: Request,
): Record<string, string> {
  const params = request.params as Record<string, string | string[]>;
  return Object.fromEntries(
    namesOf(route).map((name) => {
      const value = params[name] ?? '';
      return [name, Array.isArray(value) ? value.join('/') : value];
    }),
  );
}

function checkParameters(
  params: Readonly<Record<string, string>>,
  patterns: Readonly<Record<string, RegExp>>,
): void {
  const errors = Object.entries(params)
    .filter(([name, value]) => patterns[name]?.test(value) === false)
    .map(
      ([name, value]) =>
        `URL parameter '${name}' given as '${value}' must match regular expression: '${patterns[name]}'`,
    );
  if (errors.length > 0) {
    throw new ApiError('InvalidRequestArguments', `Invalid URL patterns:\n${errors.join('\n')}`);
  }
}

function checkQuery<Context>(
  request: Request,
  endpoint: DeclaredEndpoint<Context>,
): Record<string, string | undefined> {
  const patterns = new Map(Object.entries(endpoint.query ?? {}));
  const query: Record<string, string> = {};
  const errors: string[] = [];
  for (const [name, value] of Object.entries(request.query)) {
    if (name === 'bewit') {
      continue;
    }
    const pattern = patterns.get(name);
    if (pattern === undefined) {
      errors.push(`Query-string parameter: ${name} is not supported!`);
    } else if (typeof value !== 'string') {
      errors.push(`Query-string parameter: ${name} must be a string!`);
    } else if (!pattern.test(value)) {
      errors.push(
        `Query-string parameter: ${name}="${value}" does not match expression: ${pattern}`,
      );
    } else {
      query[name] = value;
    }
  }
  if (errors.length > 0) {
    throw new ApiError('InvalidRequestArguments', errors.join('\n'));
  }
  return query;
}

function checkBody<Context>(
  request: Request,
  endpoint: DeclaredEndpoint<Context>,
  { length }: string,
): void {
  if (endpoint.input === undefined) {
    return;
  }
  if (request.is('application/json') === false) {
    throw new ApiError(
      'MalformedPayload',
      'Payload must be JSON with content-type: application/json got content-type: {{contentType}}',
      { contentType: request.headers['content-type'] ?? null },
    );
  }
  const isLong = length > QUICKLY_READ;
  const error = schemaError(endpoint.input, request.body, { isLong });
  if (error !== null) {
    throw new ApiError('InputValidationError', error);
  }
}

function checkAnswer<Context>({ name, output }: DeclaredEndpoint<Context>, reply: unknown): void {
  const [status, body] = reply instanceof Reply ? [reply.status, reply.body] : [200, reply];
  if (output !== undefined && output !== 'blob' && status === 200) {
    const error = outputError(output, body);
    if (error !== null) {
      throw new Error(`the answer of ${name} does not match its schema: ${error}`);
    }
  }
}

function closed(response: Response): AbortSignal {
  const controller = new AbortController();
  // A client that disconnects while its signature is checked fires no further event.
  if (response.destroyed) {
    controller.abort();
  }
  response.once('close', () => controller.abort());
  return controller.signal;
}

async function send(response: Response, reply: object | undefined): Promise<void> {
  if (reply instanceof Reply) {
    response.status(reply.status).set(reply.headers).json(reply.body);
  } else if (reply === undefined) {
    response.status(204).end();
  } else if (isLong(reply)) {
    await sendLong(response, reply);
  } else {
    response.json(reply);
  }
}

/** Answers an error of one endpoint. */
function answerError<Context>(
  endpoint: DeclaredEndpoint<Context>,
  onFault: FaultListener,
): ErrorRequestHandler {
  return (error: unknown, request, response, _next) => {
    const payload = endpoint.cleanPayload?.(request.body) ?? request.body;
    const info = { method: endpoint.name, params: routeParameters(endpoint, request), payload };
    sendError(response, asApiError(error, onFault, response), info);
  };
}

/** Answers an error, or breaks off an answer that has begun, so that the client sees it is incomplete. */
export function sendError(response: Response, error: ApiError, info: RequestInfo): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.status(error.status).set(error.headers).json(errorBody(error, info));
}

/** The part of an error that a client may learn. The id of an incident is that of its request. */
export function asApiError(error: unknown, onFault: FaultListener, response: Response): ApiError {
  if (error instanceof ApiError) {
    return error;
  }
  const { status, message, limit } = error as Partial<Record<string, unknown>>;
  if (status === 413) {
    return tooLarge(Number(limit));
  }
  if (typeof status === 'number' && status >= 400 && status < 500) {
    return new ApiError('InvalidRequestArguments', String(message));
  }
  const incidentId = requestIdOf(response);
  onFault(error, incidentId);
  if (error instanceof Outage) {
    return new ApiError(
      'ServiceUnavailable',
      `The service is unavailable for now: try again, incidentId ${incidentId}.`,
    );
  }
  return new ApiError('InternalServerError', `Internal Server Error, incidentId ${incidentId}.`);
}
