/**
 * The only module that loads the addon, with the types of its functions. It has no rules of its own;
 * binary.ts finds the binary.
 *
 * Durations and dates are milliseconds, sizes bytes; `ts` and the expiry of a bewit are seconds,
 * as Hawk has them. Errors that the addon throws carry a `code`.
 */
import { load } from './binary.js';

export { MissingBinaryError } from './binary.js';

/** Taskcluster credentials; `certificate` is the JSON text that temporary credentials carry. */
export interface NativeCredentials {
  clientId: string;
  accessToken: string;
  certificate?: string | undefined;
}

/** What the core needs to start: every value is decided, the core has no defaults. */
export interface NativeOptions {
  rootUrl: string;
  credentials: NativeCredentials;
  /** Absent: no restriction. An empty list is the empty restriction. */
  authorizedScopes?: string[] | undefined;
  /** Empty: all interfaces. */
  ipAddresses: string[];
  port: number;
  allowedUser?: string | undefined;
  /** Empty: peers that cannot be looked up are refused. */
  allowedNetworks: string[];
  allowCrossSite: boolean;
  hosts: string[];
  /** Empty: any. */
  upstreamHosts: string[];
  retryFirst: number;
  retryCap: number;
  retryFor: number;
  replayLimit: number;
  replayTotal: number;
  headerTimeout: number;
  responseTimeout: number;
  upstreamHttp2: boolean;
  /** `lookup` has already logged the warnings of the start. */
  warned: boolean;
  /** Absent: an update of the credentials does not wait for running requests. */
  drainTimeout?: number | undefined;
  /** Absent: no audit log. */
  audit?: NativeAudit | undefined;
  logFormat: 'text' | 'json';
  logLevel: 'error' | 'warn' | 'info' | 'debug';
}

/** Where the audit log goes, and whether it is required. */
export interface NativeAudit {
  /** An absolute path. */
  path: string;
  /** The proxy signs nothing while the log cannot be written. */
  required: boolean;
}

/** The validator's result for the body of a `PUT /credentials`: one of the two keys. */
export interface NativeVerdict {
  credentials?: NativeCredentials;
  /** One sentence for the client. */
  reason?: string;
}

/**
 * Counters since the start. They only grow, except `runningRequests`, `openConnections` and
 * `credentialsExpiry`.
 */
export interface NativeCounters {
  /** Requests that have ended, with or without an answer. */
  requests: number;
  /** Of these, those that their client left before an answer. */
  requestsWithoutAnswer: number;
  /** Of these, those answered 1xx (a change of protocol). */
  requests1xx: number;
  /** Of these, those answered 2xx. */
  requests2xx: number;
  /** Of these, those answered 3xx. */
  requests3xx: number;
  /** Of these, those answered 4xx. */
  requests4xx: number;
  /** Of these, those answered 5xx. */
  requests5xx: number;
  /** Sum of the durations of all ended requests, in microseconds. */
  requestMicroseconds: number;
  /** Requests that are running now. */
  runningRequests: number;
  /** Connections of clients that are open now. */
  openConnections: number;
  /** Further tries of requests after their first. */
  retries: number;
  /** Connections that admission refused. */
  refusedConnections: number;
  /** Requests for hosts that the proxy does not sign for. */
  refusedUpstreams: number;
  /** Connections that were opened to upstreams. */
  upstreamConnections: number;
  /** Bytes of request bodies that came from clients. */
  requestBytes: number;
  /** Bytes of answer bodies that went to clients. */
  responseBytes: number;
  /** Credential sets put in force after the first. */
  credentialUpdates: number;
  /** Credential sets that were refused. */
  credentialFailures: number;
  /** Log lines that found the queue full or could not be written. */
  droppedLogLines: number;
  /** Lines of the audit log that found the queue full or could not be written. */
  lostAuditLines: number;
  /** When the credentials in force expire, in milliseconds since the epoch; permanent ones do not. */
  credentialsExpiry?: number;
}

/** What the deployment answered to a lookup. */
export interface NativeAnswer {
  status: number;
  body: Buffer;
}

/** A running proxy. */
export interface NativeProxy {
  /** `host:port` of each listener, an IPv6 host in brackets. */
  addresses(): string[];
  counters(): NativeCounters;
  /** Resolves once the set is in force. */
  updateCredentials(credentials: NativeCredentials): Promise<void>;
  /** Writes to the file that is now at the audit log's path. */
  reopenAuditLog(): void;
  /** Resolves once the last request has finished, or `grace` has passed. */
  stop(grace: number): Promise<void>;
}

/** A request as its MAC covers it. */
export interface NativeRequest {
  method: string;
  /** Origin form: path and query, byte for byte as sent. */
  target: string;
  /** Host name, or an IP literal (IPv6 in brackets). */
  host: string;
  port: number;
}

/** What a header or bewit claims, before it is verified. */
export interface NativeClaim {
  clientId: string;
  /** The client that owns the deciding access token: the certificate's issuer, or the client itself. */
  issuingClientId: string;
}

/** The circumstances of a verification. */
export interface NativeVerification {
  /** The time. */
  now: number;
  /** Greatest difference between `now` and a header's time, in seconds; 60 when absent. */
  timestampSkew?: number;
  /** Hash of the received body, to compare with the header's. */
  payloadHash?: string;
}

/** The limits of temporary credentials. */
export interface NativeTemporary {
  scopes: string[];
  start: number;
  expiry: number;
}

/** A verified claim. */
export interface NativeVerified extends NativeClaim {
  temporary?: NativeTemporary;
  authorizedScopes?: string[];
  /** Time of the header, or expiry of the bewit. */
  ts: number;
  /** Absent in a bewit. */
  nonce?: string;
  payloadHash?: string;
}

/** Why a header or bewit was refused. */
export interface NativeRefusal {
  /** HTTP status: 400 for a malformed request, else 401. */
  status: number;
  reason: string;
  /** The `WWW-Authenticate` that tells a client with a wrong clock the time. */
  challenge?: string;
}

/** What temporary credentials to create. */
export interface NativeTemporaryOptions {
  /** Name of named ones; absent for the issuer's own. */
  clientId?: string;
  start: number;
  expiry: number;
  scopes: string[];
}

/** Everything the addon exports. */
export interface Native {
  version(): string;
  /** `unknown` for a build outside a git checkout. */
  revision(): string;
  /** Closes this process to debuggers and core dumps, as far as the platform can. */
  hardenProcess(): void;
  /**
   * Ends this process as soon as its parent ends, in any way; it needs no JavaScript thread for this.
   * Does nothing if init is the parent. `launcher` is the id of the parent as the caller first saw it.
   */
  endWithLauncher(launcher: number): void;
  /**
   * Writes to stdout (1) or stderr (2) and waits at most `patience` milliseconds for the reader. Returns
   * whether all of it is written.
   */
  say(stream: 1 | 2, text: string, patience: number): boolean;
  startProxy(
    options: NativeOptions,
    validate: (body: Buffer) => NativeVerdict,
  ): Promise<NativeProxy>;
  /**
   * Sends one signed GET for an origin-form target to the deployment, with the outgoing connections and
   * the retries of a proxied request. `ERR_LOOKUP` without an answer. Logs the warnings of the start first.
   */
  lookup(options: NativeOptions, target: string): Promise<NativeAnswer>;
  /** Throws `ERR_CREDENTIALS` for a set that could not sign. */
  checkCredentials(credentials: NativeCredentials): void;
  /** The value of an `Authorization` header. */
  signHeader(
    credentials: NativeCredentials,
    method: string,
    url: string,
    authorizedScopes: string[] | undefined,
    ts: number,
  ): string;
  /** The value of a `bewit` query parameter. */
  makeBewit(
    credentials: NativeCredentials,
    url: string,
    authorizedScopes: string[] | undefined,
    expires: number,
  ): string;
  claimOfHeader(authorization: string): NativeClaim | NativeRefusal;
  claimOfBewit(request: NativeRequest): NativeClaim | NativeRefusal;
  verifyHeader(
    request: NativeRequest,
    authorization: string,
    accessToken: string,
    verification: NativeVerification,
  ): NativeVerified | NativeRefusal;
  verifyBewit(
    request: NativeRequest,
    accessToken: string,
    verification: NativeVerification,
  ): NativeVerified | NativeRefusal;
  payloadHash(contentType: string, body: Uint8Array): string;
  createTemporaryCredentials(
    issuer: NativeCredentials,
    options: NativeTemporaryOptions,
  ): NativeCredentials & { certificate: string };
}

/** The addon. */
export const native = load() as Native;
