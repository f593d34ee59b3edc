/**
 * Hawk for users of the API: typed, and with the system's clock. The rules are in `crates/hawk`.
 *
 * URLs and request targets are signed byte for byte and never normalised: the signature must match what
 * the client sends. (`fetch` sends `new URL(url).href`.)
 */
import { checkRestriction, checkScopes, OptionsError, refuseUnknown } from './check.js';
import { type Credentials, CredentialsError, checkPassed } from './credentials.js';
import { type NativeClaim, type NativeRefusal, native } from './native.js';

/** A header, bewit or URL that Hawk refuses. */
export class HawkError extends Error {
  override readonly name = 'HawkError';
  readonly code = 'ERR_HAWK';
  /** The HTTP status to answer with: 400 for a malformed request, else 401. */
  readonly status: number;
  /** The `WWW-Authenticate` to answer with, so that a client with a wrong clock learns the time. */
  readonly challenge: string | undefined;

  constructor(refusal: { reason: string; status: number; challenge?: string }) {
    super(refusal.reason);
    this.status = refusal.status;
    this.challenge = refusal.challenge;
  }
}

/** What to sign. */
export interface SignOptions {
  credentials: Credentials;
  /** Default: `GET`. */
  method?: string;
  /** Absolute http or https URL. */
  url: string;
  /** Narrows the signature to these scopes; absent for no restriction. */
  authorizedScopes?: readonly string[];
  /** Time of the signature. Default: now. */
  date?: Date;
}

/** What to make a bewit for. */
export interface BewitOptions {
  credentials: Credentials;
  /** Absolute http or https URL. The bewit is for GET and HEAD. */
  url: string;
  /** When the bewit expires, to the second. */
  expires: Date;
  /** Narrows the signature to these scopes; absent for no restriction. */
  authorizedScopes?: readonly string[];
}

/** A received request. */
export interface HawkRequest {
  method: string;
  /** Request target in origin form: path and query as received. */
  target: string;
  /** Host that the client names, an IPv6 address in brackets. */
  host: string;
  /** Port that the client names: the URL's, or 80 or 443 by its scheme. */
  port: number;
}

/** What to verify a request with. */
export interface VerifyOptions {
  /**
   * Looks up the access token of a client: the signer, or the issuer of temporary credentials;
   * `undefined` for an unknown client. A matching token is the only proof of the client id: the
   * signature itself does not cover it.
   */
  accessToken: (clientId: string) => string | undefined | Promise<string | undefined>;
  /** The verifier's time. Default: now. */
  date?: Date;
  /** Greatest difference between the header's time and `date`, in seconds. Default: 60. */
  timestampSkew?: number;
  /** The received body, to compare with the hash in the header. */
  payload?: { contentType: string; body: Uint8Array };
}

/** The proven signer and the limits of the signature. */
export interface Verified {
  clientId: string;
  /** The client that owns the matching access token: the certificate's issuer, or the client itself. */
  issuingClientId: string;
  /** Of temporary credentials; `start` and `expiry` are milliseconds since the epoch. */
  temporary?: { scopes: string[]; start: number; expiry: number };
  /** What the signature is restricted to; absent for no restriction. */
  authorizedScopes?: string[];
  /** Seconds since the epoch: time of a header, expiry of a bewit. */
  ts: number;
  /** Absent in a bewit. */
  nonce?: string;
  /** Base64 of the SHA-256 hash of the body, where the header has one. */
  payloadHash?: string;
}

/** What temporary credentials to create. */
export interface TemporaryOptions {
  /** Permanent credentials of the issuer. */
  credentials: Credentials;
  /** Name of named temporary credentials; absent for the issuer's own. */
  clientId?: string;
  /** Their scopes: at most those of the issuer. */
  scopes: readonly string[];
  /** Default: now. */
  start?: Date;
  /** At most 31 days after `start`. */
  expiry: Date;
}

/** Credentials with a certificate. */
export interface TemporaryCredentials extends Credentials {
  certificate: string;
}

const SIGN_KEYS = [
  'credentials',
  'method',
  'url',
  'authorizedScopes',
  'date',
] as const satisfies readonly (keyof SignOptions)[];
const BEWIT_KEYS = [
  'credentials',
  'url',
  'expires',
  'authorizedScopes',
] as const satisfies readonly (keyof BewitOptions)[];
const VERIFY_KEYS = [
  'accessToken',
  'date',
  'timestampSkew',
  'payload',
] as const satisfies readonly (keyof VerifyOptions)[];
const TEMPORARY_KEYS = [
  'credentials',
  'clientId',
  'scopes',
  'start',
  'expiry',
] as const satisfies readonly (keyof TemporaryOptions)[];

/**
 * The value of an `Authorization` header.
 *
 * @throws {@link HawkError} The URL cannot be signed.
 * @throws {@link OptionsError} An option is misspelt or of another kind.
 * @throws {@link CredentialsError}
 */
export function signHeader(options: SignOptions): string {
  refuseUnknown(options, SIGN_KEYS, 'signHeader');
  const { method = 'GET', url, date = new Date() } = options;
  const authorizedScopes = checkRestriction(options);
  const credentials = checkPassed(options.credentials);
  return signed(() => native.signHeader(credentials, method, url, authorizedScopes, seconds(date)));
}

/**
 * The value of the `bewit` parameter to append to the URL's query, as its last one.
 *
 * @throws {@link HawkError} The URL cannot be signed.
 * @throws {@link OptionsError} As {@link signHeader}.
 * @throws {@link CredentialsError}
 */
export function makeBewit(options: BewitOptions): string {
  refuseUnknown(options, BEWIT_KEYS, 'makeBewit');
  const { url, expires } = options;
  const authorizedScopes = checkRestriction(options);
  const credentials = checkPassed(options.credentials);
  return signed(() => native.makeBewit(credentials, url, authorizedScopes, seconds(expires)));
}

/**
 * Verifies a request's `Authorization` header by the rules of Taskcluster's auth service. The caller
 * checks whether the issuer has the scopes that the credentials name.
 *
 * @throws {@link HawkError} With the status and, for a wrong clock, the challenge to answer with.
 */
export async function verifyHeader(
  request: HawkRequest,
  authorization: string,
  options: VerifyOptions,
): Promise<Verified> {
  refuseUnknown(options, VERIFY_KEYS, 'verifyHeader');
  const { date = new Date(), timestampSkew } = options;
  const payload = payloadOf(options);
  const circumstances = {
    now: milliseconds(date),
    ...(timestampSkew !== undefined && { timestampSkew }),
    ...(payload && { payloadHash: native.payloadHash(payload.contentType, payload.body) }),
  };
  const token = await lookUp(accept(native.claimOfHeader(authorization)), options);
  return accept(native.verifyHeader(request, authorization, token, circumstances));
}

/**
 * Verifies the bewit in a request's target, as {@link verifyHeader} does a header.
 *
 * @throws {@link HawkError}
 */
export async function checkBewit(request: HawkRequest, options: VerifyOptions): Promise<Verified> {
  refuseUnknown(options, VERIFY_KEYS, 'checkBewit');
  const { date = new Date() } = options;
  const circumstances = { now: milliseconds(date) };
  const token = await lookUp(accept(native.claimOfBewit(request)), options);
  return accept(native.verifyBewit(request, token, circumstances));
}

/**
 * Creates temporary credentials, as Taskcluster's clients do.
 *
 * @throws {@link CredentialsError} The issuer, the name, a scope or the lifetime is invalid.
 */
export function createTemporaryCredentials(options: TemporaryOptions): TemporaryCredentials {
  refuseUnknown(options, TEMPORARY_KEYS, 'createTemporaryCredentials');
  const { clientId, start = new Date(), expiry } = options;
  const scopes = checkScopes(options.scopes);
  const issuer = checkPassed(options.credentials);
  try {
    return native.createTemporaryCredentials(issuer, {
      ...(clientId !== undefined && { clientId }),
      scopes,
      start: milliseconds(start),
      expiry: milliseconds(expiry),
    });
  } catch (error) {
    throw new CredentialsError((error as Error).message);
  }
}

/** A `payload` that is no object is an error: ignored, it would skip the comparison of the body. */
function payloadOf(options: VerifyOptions): VerifyOptions['payload'] {
  const { payload } = options;
  if ('payload' in options && (typeof payload !== 'object' || payload === null)) {
    throw new OptionsError(
      'payload is not an object: pass its contentType and body, or leave it out',
    );
  }
  return payload;
}

function seconds(date: Date): number {
  return Math.floor(milliseconds(date) / 1000);
}

function milliseconds(date: Date): number {
  const time = date instanceof Date ? date.getTime() : Number.NaN;
  if (!Number.isFinite(time)) {
    throw new HawkError({ reason: 'a date is invalid: pass a Date that has a time', status: 400 });
  }
  return time;
}

async function lookUp(claim: NativeClaim, { accessToken }: VerifyOptions): Promise<string> {
  const token = await accessToken(claim.issuingClientId);
  if (token === undefined) {
    throw new HawkError({ reason: 'Unknown credentials: check the client id', status: 401 });
  }
  return token;
}

function signed(sign: () => string): string {
  try {
    return sign();
  } catch (error) {
    throw new HawkError({ reason: (error as Error).message, status: 400 });
  }
}

function accept<Outcome extends object>(outcome: Outcome | NativeRefusal): Outcome {
  if ('status' in outcome) {
    throw new HawkError(outcome);
  }
  return outcome;
}
