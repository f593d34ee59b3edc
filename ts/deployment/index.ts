/**
 * A small Taskcluster deployment in one process, on one port: auth, queue, secrets, and a store for
 * artifacts. It verifies every signature and refuses what the real services refuse.
 *
 * It is for trying the proxy on a machine without a network, and for tests that need a strict upstream. It
 * has no pages except those for users who sign in, and provisions no workers.
 *
 * The folders: `api` declares and serves endpoints, `auth` authenticates callers, `queue` and `secrets` are
 * services, `web` signs users in, `storage` keeps their data.
 */
import { createHmac, randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { isIP } from 'node:net';
import { join } from 'node:path';
import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import { native } from 'taskcluster-proxy/internal';
import { type AnonymousOptions, grantAnonymous } from './anonymous.js';
import type { SignatureValidator } from './api/authenticate.js';
import type { ApiBuilder } from './api/builder.js';
import { documents } from './api/documents.js';
import { remoteValidator } from './api/remote-validator.js';
import {
  asApiError,
  type FaultListener,
  type ServeOptions,
  sendError,
  serve,
} from './api/router.js';
import { ScopeResolver } from './auth/clients.js';
import { auth } from './auth/index.js';
import { checkRoles } from './auth/roles.js';
import { signatureValidator } from './auth/signature-validator.js';
import {
  never,
  type OwnCredentials,
  type PermanentCredentials,
  syncStaticClients,
} from './auth/static-clients.js';
import { Log } from './operation/log.js';
import type { Measured, Metrics } from './operation/metrics.js';
import { readMetricsAddress } from './operation/metrics-address.js';
import { observe, type RequestListener } from './operation/requests.js';
import { type StopOptions, Stopping } from './operation/stop.js';
import { checkRootUrl, PublicUrl, type PublicUrlOptions } from './public-url.js';
import { Claims } from './queue/claims.js';
import { Housekeeping } from './queue/housekeeping.js';
import { queue } from './queue/index.js';
import { secrets } from './secrets/index.js';
import { services } from './services.js';
import { shareDatabase } from './storage/control.js';
import type { Database } from './storage/database.js';
import { openStorage, type Storage, type StorageOptions } from './storage/index.js';
import { ListenProof } from './storage/listen-proof.js';
import { checkBucket, ObjectPlaces } from './storage/object-places.js';
import { OBJECTS_PATH, ObjectStore } from './storage/object-store.js';
import { RolesVersion } from './storage/roles-version.js';
import { ROLES_CHANNEL } from './storage/sql/roles.js';
import { PENDING_CHANNEL } from './storage/sql/tasks.js';
import type { NewRole, Store } from './storage/store.js';
import { ClientScan } from './web/client-scan.js';
import { EXPOSURE_PATH } from './web/exposure-page.js';
import { frontPage } from './web/front-page.js';
import { LOGIN_PATH, web } from './web/index.js';
import { addUser, type UserOptions } from './web/local-users.js';
import { CREATE_PATH, NEW_CLIENT_PATH } from './web/new-client.js';
import { webServer } from './web/service.js';

export interface DeploymentOptions extends StorageOptions, AnonymousOptions, PublicUrlOptions {
  /** IP address to listen on; 127.0.0.1 when absent. */
  readonly host?: string;
  /** Port to listen on; a free one when absent or 0. */
  readonly port?: number;
  /**
   * Clients beside `static/taskcluster/root`, which may do everything. The start removes clients under
   * `static/` that are not listed.
   */
  readonly clients?: readonly ClientOptions[];
  /** Every caller has the role `anonymous`; without it a caller without credentials may do nothing. */
  readonly roles?: readonly NewRole[];
  /** Users who may sign in at `/login`, beside the users in the data. */
  readonly users?: readonly UserOptions[];
  /** Seconds after which a claim ends unless the worker reclaims the task; 1200 if absent. */
  readonly claimTimeout?: number | undefined;
  /** Address of the metrics, `9090` on loopback or `192.0.2.1:9090`; no metrics when absent. */
  readonly metrics?: string | undefined;
  /** Most concurrent client connections; limited only by the system when absent. */
  readonly maxConnections?: number | undefined;
  /** Largest body of a call that needs scopes, in bytes; 10 MiB when absent. */
  readonly bodyLimit?: number | undefined;
  /** Log of every request, fault and notice on stderr; without it, only those without a callback below. */
  readonly log?: Log;
  /** Receives faults, of which the client learns only a number; they go to the log when absent. */
  readonly onFault?: FaultListener;
  /** Receives notices for the operator, one sentence each; they go to the log when absent. */
  readonly onNotice?: (sentence: string) => void;
  /** Treat an answer that does not match its schema as a fault. For tests: it takes time. */
  readonly checkOutput?: boolean;
}

export interface ClientOptions {
  readonly clientId: string;
  readonly accessToken: string;
  readonly scopes: readonly string[];
  /** In a thousand years when absent. */
  readonly expires?: Date;
  readonly disabled?: boolean;
}

/** Counts of requests by the result of authentication. */
export interface DeploymentCounters {
  /** Signatures found valid. */
  readonly verified: number;
  /** Signatures refused. */
  readonly refused: number;
  /** Requests without a signature. */
  readonly anonymous: number;
}

/** A running deployment. */
export interface Deployment {
  /** The given root URL, or the address that it listens on. */
  readonly rootUrl: string;
  /** The credentials of `static/taskcluster/root`. */
  readonly credentials: PermanentCredentials;
  /** URL of the metrics, if there are any. */
  readonly metricsUrl: string | undefined;
  counters(): DeploymentCounters;
  /**
   * Without options it closes every connection at once, also those with a running request and also after
   * an earlier call that lets requests end.
   */
  stop(options?: StopOptions): Promise<void>;
}

/** The host to listen on is no IP address. */
export class HostError extends Error {
  override readonly name = 'HostError';

  constructor(host: string) {
    super(`'${host}' is not an IP address to listen on: give one, or leave it out for 127.0.0.1`);
  }
}

const DEFAULT_CLAIM_TIMEOUT = 20 * 60;

/**
 * Starts a deployment; it answers requests when the promise resolves. Rejects with the errors of listening
 * and of opening the data.
 */
export async function startDeployment(options: DeploymentOptions): Promise<Deployment> {
  if (options.rootUrl !== undefined) {
    checkRootUrl(options.rootUrl);
  }
  checkHost(options.host);
  if (options.metrics !== undefined) {
    readMetricsAddress(options.metrics);
  }
  const storage = await openStorage(options);
  try {
    return await startOn(storage, options);
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function startOn(storage: Storage, options: DeploymentOptions): Promise<Deployment> {
  const { store, objects: folder, bucket, database } = storage;
  await checkBucket(store, bucket);
  const { log = new Log({ level: 'warn' }), onNotice = (sentence) => log.notice(sentence) } =
    options;
  const kept = await grantAnonymous(storage, options);
  if (kept.length > 0) {
    onNotice(`${KEPT_PUBLIC}: ${kept.join(', ')}`);
  }
  const { root, queue: queueClient, web: webClient } = await addClientsAndRoles(store, options);
  const counters = { verified: 0, refused: 0, anonymous: 0 };
  const rolesVersion = new RolesVersion(() => store.roles.version());
  const resolver = new ScopeResolver(store, rolesVersion);
  await database.listen(ROLES_CHANNEL, () => rolesVersion.changed());
  const claimTimeout = options.claimTimeout ?? DEFAULT_CLAIM_TIMEOUT;
  const claims = new Claims({ store, credentials: queueClient, claimTimeout });
  await database.listen(PENDING_CHANNEL, (taskQueueId) => claims.wake(taskQueueId));
  const { onNotice: onRelief = (sentence: string) => log.inform(sentence) } = options;
  const listening = await proveListening(database, claims, (isHeard) =>
    isHeard ? onRelief(HEARD) : onNotice(UNHEARD),
  );
  const metrics = await startMetrics(options, {
    authentications: () => ({ ...counters }),
    isListenHeard: () => listening.isHeard,
    lostLogLines: () => log.lost,
    tasks: () => store.tasks.countOpen(),
  });
  const unshare = await share(database, options);
  const server = await listen(options).catch(async (error) => {
    metrics?.stop();
    await unshare();
    throw error;
  });
  // No await from here on: a request in between would find no handler.
  const publicUrl = new PublicUrl(server, options);
  const ownValidator = counted(counters, resolver);
  const stopping = new Stopping(server, () => claims.stopWaiting());
  const validator = untilStopped(
    stopping,
    remoteValidator({ rootUrl: publicUrl.own, roles: rolesVersion }),
    ownValidator,
  );
  const { checkOutput = false, bodyLimit } = options;
  const tellFault = options.onFault ?? ((fault, incidentId) => log.fault(fault, incidentId));
  const onFault: FaultListener = (fault, incidentId) => {
    metrics?.onFault();
    tellFault(fault, incidentId);
  };
  const signingKey = createHmac('sha256', queueClient.accessToken).update('object URLs').digest();
  const files = new ObjectStore({ store, folder, signingKey, validator, onFault });
  const housekeeping = new Housekeeping({
    store,
    folder,
    bucket,
    onFault: (fault) => onFault(fault, randomUUID()),
  });
  const clientScan = new ClientScan({
    store,
    resolver,
    onFault: (fault) => onFault(fault, randomUUID()),
  });
  const objects = new ObjectPlaces(files, bucket);
  const app = application({ listening, publicUrl, stopping, record: recorder(log, metrics) });
  const serving = { validator, publicUrl, onFault, checkOutput, bodyLimit };
  const mount = <Context>(api: ApiBuilder<Context>, options: ServeOptions<Context>) => {
    app.use(`/api/${api.serviceName}/${api.apiVersion}`, serve(api, options));
  };
  const authContext = { store, resolver, validator: ownValidator };
  mount(auth, { ...serving, validator: ownValidator, context: authContext });
  mount(queue, { ...serving, context: { store, claims, objects } });
  mount(secrets, { ...serving, context: { store } });
  mount(webServer, { ...serving, context: undefined });
  app.use(documents(services(), publicUrl));
  app.use(OBJECTS_PATH, files.router());
  app.get('/', frontPage(services()));
  app.get(CREATE_PATH, toPage(NEW_CLIENT_PATH));
  app.get(EXPOSURE_PATH, toPage(EXPOSURE_PATH));
  app.use(LOGIN_PATH, web({ store, resolver, credentials: webClient, publicUrl, onFault }));
  finish(app, onFault);
  server.on('request', app);
  const close = async () => {
    metrics?.stop();
    listening.stop();
    await unshare();
    await housekeeping.stop();
    await clientScan.stop();
    await storage.close();
  };
  let stopped: Promise<void> | undefined;
  return {
    rootUrl: publicUrl.announced,
    credentials: root,
    metricsUrl: metrics?.url,
    counters: () => ({ ...counters }),
    stop(stopOptions = {}) {
      const ended = stopping.end(stopOptions);
      stopped ??= ended.then(close);
      return stopped;
    },
  };
}

/** Redirects to a page under `/login`, the path of the session's cookie. */
function toPage(path: string): RequestHandler {
  return (request, response) => {
    const query = request.originalUrl.replace(/^[^?]*/, '');
    response.redirect(`${LOGIN_PATH}${path}${query}`);
  };
}

/** Lets commands use a database that this process holds alone. */
async function share(
  database: Database,
  { folder, ...options }: DeploymentOptions,
): Promise<() => Promise<void>> {
  return database.isExclusive && options.database === undefined
    ? shareDatabase(database, join(folder, 'database'))
    : async () => undefined;
}

/** If LISTEN is not heard, wakes waiting workers once a second so that they ask the database. */
function proveListening(
  database: Database,
  claims: Claims,
  onChange: (isHeard: boolean) => void,
): Promise<ListenProof> {
  return ListenProof.start({
    database,
    onChange,
    onSilence: () => claims.wake(),
  });
}

/** Serves metrics; without an address it loads nothing of them. @throws MetricsAddressError */
async function startMetrics(
  { metrics: address }: DeploymentOptions,
  measured: Measured,
): Promise<Metrics | undefined> {
  if (address === undefined) {
    return undefined;
  }
  const { Metrics } = await import('./operation/metrics.js');
  return Metrics.listen(readMetricsAddress(address), measured);
}

function recorder(log: Log, metrics: Metrics | undefined): RequestListener {
  return {
    onBegin: () => metrics?.onBegin(),
    onEnd(request) {
      metrics?.onEnd(request);
      log.request(request);
    },
  };
}

/** Validates without a connection to auth once the server stops. */
function untilStopped(
  stopping: Stopping,
  remote: SignatureValidator,
  own: SignatureValidator,
): SignatureValidator {
  return async (request) => {
    if (stopping.hasBegun) {
      return own(request);
    }
    try {
      return await remote(request);
    } catch (error) {
      if (stopping.hasBegun) {
        return own(request);
      }
      throw error;
    }
  };
}

const KEPT_PUBLIC =
  'the data are older than anonymous scopes, and were public: to keep them public, the role anonymous has ' +
  'been granted what every caller could read before';
const HEARD = 'LISTEN is heard: changes of other processes apply here at once';
const UNHEARD =
  'LISTEN is not heard: changes of other processes apply here within a second, since this process asks ' +
  'the database. If there is a pooler in transaction mode, name the server itself';

/** Adds the given clients and roles, and the deployment's own clients. */
async function addClientsAndRoles(
  store: Store,
  { clients = [], roles = [], users = [] }: DeploymentOptions,
): Promise<OwnCredentials> {
  await store.transaction(async (transaction) => {
    for (const role of roles) {
      await transaction.roles.put(role);
    }
    checkRoles(await transaction.roles.all());
  });
  for (const { expires = never(), disabled = false, ...client } of clients) {
    await store.clients.put({ ...client, expires, disabled });
  }
  for (const user of users) {
    await addUser(store, user);
  }
  return syncStaticClients(store, clients);
}

/** As in Taskcluster's services, in milliseconds: longer than the time-out of a load balancer. */
const KEEP_ALIVE = 90_000;

/** Refuses an empty host, which would mean every interface. */
function checkHost(host: string | undefined): void {
  if (host !== undefined && isIP(host) === 0) {
    throw new HostError(host);
  }
}

function listen(options: DeploymentOptions): Promise<Server> {
  const { host = '127.0.0.1', port = 0, maxConnections } = options;
  return new Promise((resolve, reject) => {
    const server = createServer({ requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE });
    if (maxConnections !== undefined) {
      server.maxConnections = maxConnections;
    }
    server.once('error', reject);
    server.listen(port, host, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}

function counted(
  counters: { verified: number; refused: number; anonymous: number },
  resolver: ScopeResolver,
): SignatureValidator {
  const validate = signatureValidator({
    loadClient: (clientId) => resolver.loadClient(clientId),
    expandScopes: (scopes) => resolver.expandScopes(scopes),
  });
  const COUNTER_OF = {
    'auth-success': 'verified',
    'auth-failed': 'refused',
    'no-auth': 'anonymous',
  } as const;
  return async (request) => {
    const found = await validate(request);
    counters[COUNTER_OF[found.status]] += 1;
    return found;
  };
}

/** As in Taskcluster's services: a page that a browser makes of an API answer runs no script. */
const NOTHING_RUNS = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'";

/** For deployments behind a TLS terminator: 90 days, as in Taskcluster's services. */
const STRICT_TRANSPORT = 'max-age=7776000; includeSubDomains';

interface ApplicationOptions {
  readonly listening: ListenProof;
  readonly publicUrl: PublicUrl;
  readonly stopping: Stopping;
  readonly record: RequestListener;
}

/** Headers of every answer, and routes that belong to no service. */
function application({ listening, publicUrl, stopping, record }: ApplicationOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.set('json spaces', 2);
  // The address of a user who signs in, from the nearest forwarder.
  app.set('trust proxy', publicUrl.isForwarderTrusted ? 1 : false);
  app.use(observe(record));
  app.use((request, response, next) => {
    stopping.serve(response);
    if (publicUrl.of(request).startsWith('https:')) {
      response.set('strict-transport-security', STRICT_TRANSPORT);
    }
    response.set({
      'content-security-policy': NOTHING_RUNS,
      'x-content-type-options': 'nosniff',
    });
    next();
  });
  app.get('/__version__', (_request, response) => {
    response.json({ version: native.version(), commit: native.revision() });
  });
  app.get('/__heartbeat__', (_request, response) => {
    response.status(stopping.hasBegun ? 503 : 200);
    response.json({ listen: listening.isHeard ? 'heard' : 'unheard' });
  });
  app.get('/__lbheartbeat__', (_request, response) => {
    response.status(stopping.hasBegun ? 503 : 200).json({});
  });
  app.get('/robots.txt', (_request, response) => {
    response.type('text/plain').send('User-Agent: *\nDisallow: /\n');
  });
  return app;
}

/** Answers a request that matches no route, or has an unreadable path. */
function finish(app: Express, onFault: FaultListener): void {
  app.use((_request, response) => {
    response.status(404).json({ error: 'Not found' });
  });
  const answerError: ErrorRequestHandler = (error: unknown, _request, response, _next) => {
    const info = { method: 'unknown', params: {}, payload: {} };
    sendError(response, asApiError(error, onFault, response), info);
  };
  app.use(answerError);
}
