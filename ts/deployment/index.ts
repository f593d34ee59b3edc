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
import type { SignatureValidator } from './api/authenticate.js';
import type { ApiBuilder } from './api/builder.js';
import { documents } from './api/documents.js';
import { remoteValidator } from './api/remote-validator.js';
import { type FaultListener, type ServeOptions, serve } from './api/router.js';
import { application, finish, toPage } from './application.js';
import { ScopeResolver } from './auth/clients.js';
import { auth } from './auth/index.js';
import { RoleExpansion, type RoleScopes } from './auth/roles.js';
import { signatureValidator } from './auth/signature-validator.js';
import {
  never,
  type OwnCredentials,
  type PermanentCredentials,
  syncStaticClients,
} from './auth/static-clients.js';
import { type AnonymousOptions, grantAnonymous } from './grant-anonymous.js';
import { answerMalformed } from './malformed.js';
import { Log } from './operation/log.js';
import type { Measured, Metrics } from './operation/metrics.js';
import { readMetricsAddress } from './operation/metrics-address.js';
import type { RequestListener } from './operation/requests.js';
import { type StopOptions, Stopping } from './operation/stop.js';
import { checkRootUrl, PublicUrl, type PublicUrlOptions } from './public-url.js';
import { Claims } from './queue/claims.js';
import { Housekeeping } from './queue/housekeeping.js';
import { queue } from './queue/index.js';
import { checkAuditLogs } from './review/audit-log.js';
import { RolesVersion } from './roles-version.js';
import { secrets } from './secrets/index.js';
import { grantChanges, services } from './services.js';
import { shareDatabase } from './storage/control.js';
import type { Database } from './storage/database.js';
import { openStorage, type Storage, type StorageOptions } from './storage/index.js';
import { ListenProof } from './storage/listen-proof.js';
import { checkBucket, ObjectPlaces } from './storage/object-places.js';
import { OBJECTS_PATH, ObjectStore } from './storage/object-store.js';
import { ROLES_CHANNEL } from './storage/sql/roles.js';
import { PENDING_CHANNEL } from './storage/sql/tasks.js';
import type { NewRole, Store } from './storage/store.js';
import { ClientScan } from './web/client-scan.js';
import { EXPOSURE_PATH } from './web/exposure-view.js';
import { frontPage } from './web/front-page.js';
import { LOGIN_PATH, web } from './web/index.js';
import { addUser, type UserOptions } from './web/local-users.js';
import { CREATE_PATH } from './web/new-client.js';
import { NEW_CLIENT_PATH } from './web/new-client-form.js';
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
  /** Audit logs of proxies, or folders of them, from which `/exposure` tells which scopes are unused. */
  readonly auditLogs?: readonly string[];
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
  await checkAuditLogs(options.auditLogs ?? []);
  const storage = await openStorage(options);
  try {
    return await startOn(storage, options);
  } catch (error) {
    await storage.close();
    throw error;
  }
}

async function startOn(storage: Storage, options: DeploymentOptions): Promise<Deployment> {
  const reports = reportsOf(options);
  const own = await prepareData(storage, options, reports);
  const live = await watchData(storage, own, options, reports);
  const counters = { verified: 0, refused: 0, anonymous: 0 };
  const metrics = await startMetrics(options, {
    authentications: () => ({ ...counters }),
    isListenHeard: () => live.listening.isHeard,
    lostLogLines: () => reports.log.lost,
    tasks: () => storage.store.tasks.countOpen(),
  });
  const unshare = await share(storage.database, options);
  const server = await listen(options).catch(async (error) => {
    metrics?.stop();
    await unshare();
    throw error;
  });
  // No await from here on: a request in between would find no handler.
  const { stopping, publicUrl, background } = serveOn(server, {
    storage,
    own,
    live,
    counters,
    metrics,
    options,
    reports,
  });
  const close = async () => {
    metrics?.stop();
    live.listening.stop();
    await unshare();
    for (const work of background) {
      await work.stop();
    }
    await storage.close();
  };
  let stopped: Promise<void> | undefined;
  return {
    rootUrl: publicUrl.announced,
    credentials: own.root,
    metricsUrl: metrics?.url,
    counters: () => ({ ...counters }),
    stop(stopOptions = {}) {
      const ended = stopping.end(stopOptions);
      stopped ??= ended.then(close);
      return stopped;
    },
  };
}

/** Where the deployment reports to the operator. */
interface Reports {
  readonly log: Log;
  readonly onNotice: (sentence: string) => void;
  /** Says that the subject of a notice is over. */
  readonly onRelief: (sentence: string) => void;
  readonly onFault: FaultListener;
}

function reportsOf({
  log = new Log({ level: 'warn' }),
  onNotice,
  onFault,
}: DeploymentOptions): Reports {
  return {
    log,
    onNotice: onNotice ?? ((sentence) => log.notice(sentence)),
    onRelief: onNotice ?? ((sentence) => log.inform(sentence)),
    onFault: onFault ?? ((fault, incidentId) => log.fault(fault, incidentId)),
  };
}

/** Brings the data to what the options ask for; gives the deployment's own credentials. */
async function prepareData(
  storage: Storage,
  options: DeploymentOptions,
  { onNotice }: Reports,
): Promise<OwnCredentials> {
  await checkBucket(storage.store, storage.bucket);
  const kept = await grantAnonymous(storage, options);
  if (kept.length > 0) {
    onNotice(`${KEPT_PUBLIC}: ${kept.join(', ')}`);
  }
  return addClientsAndRoles(storage.store, options);
}

/** The parts that follow the data as other processes change them. */
interface LiveData {
  readonly rolesVersion: RolesVersion;
  readonly resolver: ScopeResolver;
  readonly claims: Claims;
  readonly listening: ListenProof;
}

async function watchData(
  { store, database }: Storage,
  own: OwnCredentials,
  { claimTimeout = DEFAULT_CLAIM_TIMEOUT }: DeploymentOptions,
  { onNotice, onRelief }: Reports,
): Promise<LiveData> {
  const rolesVersion = new RolesVersion(() => store.roles.version());
  const resolver = new ScopeResolver(store, rolesVersion, grantChanges);
  await database.listen(ROLES_CHANNEL, () => rolesVersion.changed());
  const claims = new Claims({ store, credentials: own.queue, claimTimeout });
  await database.listen(PENDING_CHANNEL, (taskQueueId) => claims.wake(taskQueueId));
  const listening = await proveListening(database, claims, (isHeard) =>
    isHeard ? onRelief(HEARD) : onNotice(UNHEARD),
  );
  return { rolesVersion, resolver, claims, listening };
}

/** The parts of which a served deployment is made. */
interface Parts {
  readonly storage: Storage;
  readonly own: OwnCredentials;
  readonly live: LiveData;
  readonly counters: Counters;
  readonly metrics: Metrics | undefined;
  readonly options: DeploymentOptions;
  readonly reports: Reports;
}

/** The services, pages and documents on a server that listens, and the work beside them. */
interface Served {
  readonly stopping: Stopping;
  readonly publicUrl: PublicUrl;
  readonly background: readonly { stop(): Promise<void> }[];
}

function serveOn(server: Server, parts: Parts): Served {
  const { storage, own, live, counters, metrics, options, reports } = parts;
  const { store, objects: folder, bucket } = storage;
  const { resolver, claims, listening, rolesVersion } = live;
  const publicUrl = new PublicUrl(server, options);
  const stopping = new Stopping(server, () => claims.stopWaiting());
  const ownValidator = counted(counters, resolver);
  const remote = remoteValidator({ rootUrl: publicUrl.own, roles: rolesVersion });
  const validator = untilStopped(stopping, remote, ownValidator);
  const onFault: FaultListener = (fault, incidentId) => {
    metrics?.onFault();
    reports.onFault(fault, incidentId);
  };
  const onOwnFault = (fault: unknown) => onFault(fault, randomUUID());
  const signingKey = createHmac('sha256', own.queue.accessToken).update('object URLs').digest();
  const files = new ObjectStore({ store, folder, signingKey, validator, onFault });
  const housekeeping = new Housekeeping({ store, folder, bucket, onFault: onOwnFault });
  const clientScan = new ClientScan({ store, resolver, onFault: onOwnFault });

  const app = application({
    listening,
    publicUrl,
    stopping,
    record: recorder(reports.log, metrics),
  });
  const { checkOutput = false, bodyLimit, auditLogs = [] } = options;
  const serving = { validator, publicUrl, onFault, checkOutput, bodyLimit };
  const mount = <Context>(api: ApiBuilder<Context>, options: ServeOptions<Context>) => {
    app.use(`/api/${api.serviceName}/${api.apiVersion}`, serve(api, options));
  };
  const authContext = { store, resolver, validator: ownValidator };
  mount(auth, { ...serving, validator: ownValidator, context: authContext });
  const objects = new ObjectPlaces(files, bucket);
  mount(queue, { ...serving, context: { store, claims, objects } });
  mount(secrets, { ...serving, context: { store } });
  mount(webServer, { ...serving, context: undefined });
  app.use(documents(services(), publicUrl));
  app.use(OBJECTS_PATH, files.router());
  app.get('/', frontPage(services()));
  app.get(CREATE_PATH, toPage(NEW_CLIENT_PATH));
  app.get(EXPOSURE_PATH, toPage(EXPOSURE_PATH));
  const ofWeb = { store, resolver, credentials: own.web, publicUrl, onFault, auditLogs };
  app.use(LOGIN_PATH, web(ofWeb));
  finish(app, onFault);
  server.on('request', app);
  return { stopping, publicUrl, background: [housekeeping, clientScan] };
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
  await putRoles(store, roles);
  for (const { expires = never(), disabled = false, ...client } of clients) {
    await store.clients.put({ ...client, expires, disabled });
  }
  for (const user of users) {
    await addUser(store, user, grantChanges);
  }
  return syncStaticClients(store, clients);
}

/** A role that has the same scopes as before has no entry in the history. */
async function putRoles(store: Store, wanted: readonly NewRole[]): Promise<void> {
  if (wanted.length === 0) {
    return;
  }
  await store.transaction(async ({ roles, audit }) => {
    const before = await roles.all();
    for (const role of wanted) {
      await roles.put(role);
    }
    const after = await roles.all();
    const [was, is] = [new RoleExpansion(before), new RoleExpansion(after)];
    const expansionOf = (all: readonly RoleScopes[]) => (all === before ? was : is);
    for (const { roleId } of wanted) {
      const note = await grantChanges.roleNote(roleId, 'start', before, after, expansionOf);
      if (note.grants !== undefined) {
        await audit.add(note);
      }
    }
  });
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
    answerMalformed(server);
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

type Counters = { -readonly [Name in keyof DeploymentCounters]: number };

function counted(counters: Counters, resolver: ScopeResolver): SignatureValidator {
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
