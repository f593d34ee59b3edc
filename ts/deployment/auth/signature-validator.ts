/**
 * The rules of Taskcluster's auth service: which signed requests are accepted, and which scopes they have.
 *
 * The validator finds the client, verifies the signature, and applies certificate and `authorizedScopes`.
 * Every request has `assume:anonymous` and its expansion. They are added before `authorizedScopes` are
 * checked, so that these may name anonymous scopes, and again after `authorizedScopes` have restricted the
 * request, since every caller can send the request anonymously (RFC 165).
 */
import {
  type NativeRefusal,
  type NativeRequest,
  type NativeVerified,
  native,
} from 'taskcluster-proxy/internal';
import type { Authentication, HawkRequest, SignatureValidator } from '../api/authenticate.js';
import { isScope, merged, satisfies } from '../scopes.js';

/** A client that may be used now. */
export interface LoadedClient {
  readonly clientId: string;
  readonly accessToken: string;
  /** Scopes, expanded. */
  readonly scopes: readonly string[];
  readonly expires: Date;
}

export interface SignatureValidatorOptions {
  /** Finds the client. @throws RefusedError if it may not be used */
  readonly loadClient: (clientId: string) => Promise<LoadedClient>;
  /** Expands scopes by the roles. */
  readonly expandScopes: (scopes: readonly string[]) => Promise<readonly string[]>;
}

/** Greatest error of a client's clock, in seconds. */
const TIMESTAMP_SKEW = 15 * 60;

/** Validity of the scopes of a request without credentials. */
const ANONYMOUS_LIFETIME = 15 * 60 * 1000;

/** The scope of every caller, with credentials or without. */
const ANONYMOUS = ['assume:anonymous'];

/**
 * Why a request's credentials are refused, in words for its client. Any other error is not the client's
 * fault: it passes through, and the client gets a status on which it may try again.
 */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  /** A `WWW-Authenticate` with the time, for a client with a wrong clock. */
  readonly challenge: string | undefined;

  constructor(message: string, challenge?: string) {
    super(message);
    this.challenge = challenge;
  }
}

/** A parsed but not yet verified signature. */
interface Signature {
  /** The client that owns the deciding access token: the issuer of the certificate, or the client itself. */
  readonly issuingClientId: string;
  /** @throws RefusedError */
  verify(accessToken: string): NativeVerified;
}

/** The validator of an auth service. */
export function signatureValidator(options: SignatureValidatorOptions): SignatureValidator {
  return async (request) => {
    try {
      const signature = readSignature(request);
      return signature === null ? await anonymous(options) : await accept(signature, options);
    } catch (error) {
      if (!(error instanceof RefusedError)) {
        throw error;
      }
      const { message, challenge } = error;
      return { status: 'auth-failed', message, ...(challenge === undefined ? {} : { challenge }) };
    }
  };
}

async function anonymous({ expandScopes }: SignatureValidatorOptions): Promise<Authentication> {
  return {
    status: 'no-auth',
    scheme: 'none',
    scopes: await expandScopes(ANONYMOUS),
    expires: new Date(Date.now() + ANONYMOUS_LIFETIME),
  };
}

/** Finds the signature: a Hawk header, or a bewit in the query. */
function readSignature(request: HawkRequest): Signature | null {
  const { authorization, resource: target, host, port } = request;
  const signed: NativeRequest = { method: request.method.toUpperCase(), target, host, port };
  const circumstances = { now: Date.now(), timestampSkew: TIMESTAMP_SKEW };
  if (authorization !== undefined) {
    return {
      issuingClientId: unrefused(native.claimOfHeader(authorization)).issuingClientId,
      verify: (accessToken) =>
        unrefused(native.verifyHeader(signed, authorization, accessToken, circumstances)),
    };
  }
  if (/^\/.*[?&]bewit=/.test(target)) {
    return {
      issuingClientId: unrefused(native.claimOfBewit(signed)).issuingClientId,
      verify: (accessToken) => unrefused(native.verifyBewit(signed, accessToken, circumstances)),
    };
  }
  return null;
}

function unrefused<Result extends object>(result: Result | NativeRefusal): Result {
  if ('reason' in result) {
    throw new RefusedError(result.reason, result.challenge);
  }
  return result;
}

async function accept(
  signature: Signature,
  { loadClient, expandScopes }: SignatureValidatorOptions,
): Promise<Authentication> {
  const issuer = await loadClient(signature.issuingClientId);
  const verified = signature.verify(issuer.accessToken);
  checkCertificate(verified, issuer);
  let scopes = verified.temporary?.scopes ?? issuer.scopes;
  if (verified.authorizedScopes !== undefined) {
    const held = await expandScopes(withAnonymous(scopes));
    checkAuthorizedScopes(verified.authorizedScopes, held);
    scopes = verified.authorizedScopes;
  }
  const expiry = Math.min(issuer.expires.getTime(), verified.temporary?.expiry ?? Infinity);
  return {
    status: 'auth-success',
    scheme: 'hawk',
    clientId: verified.clientId,
    scopes: await expandScopes(withAnonymous(scopes)),
    expires: new Date(expiry),
    ...(verified.payloadHash === undefined ? {} : { hash: verified.payloadHash }),
  };
}

/** In the order of the request, as Taskcluster's own service has it where nothing expands the scopes. */
function withAnonymous(scopes: readonly string[]): string[] {
  return merged(scopes, ANONYMOUS);
}

/** An issuer can only issue names and scopes that it has itself. */
function checkCertificate(
  { clientId, issuingClientId, temporary }: NativeVerified,
  issuer: LoadedClient,
): void {
  const createScope = `auth:create-client:${clientId}`;
  if (clientId !== issuingClientId && !satisfies(issuer.scopes, createScope)) {
    throw new RefusedError(
      `ext.certificate issuer \`${issuingClientId}\` doesn't have \`${createScope}\` for supplied clientId.`,
    );
  }
  if (temporary !== undefined && !satisfies(issuer.scopes, { AllOf: temporary.scopes })) {
    throw new RefusedError(
      `ext.certificate issuer \`${issuingClientId}\` doesn't satisfy all certificate scopes ` +
        `${temporary.scopes.join(', ')}.  The temporary credentials were not generated correctly.`,
    );
  }
}

function checkAuthorizedScopes(authorized: readonly string[], held: readonly string[]): void {
  if (!authorized.every(isScope)) {
    throw new RefusedError('ext.authorizedScopes must be an array of valid scopes');
  }
  if (!satisfies(held, { AllOf: authorized })) {
    throw new RefusedError(
      [
        'Supplied credentials do not satisfy authorizedScopes; credentials have scopes:',
        block(held),
        'authorizedScopes are:',
        block(authorized),
      ].join('\n\n'),
    );
  }
}

function block(scopes: readonly string[]): string {
  return ['```', ...scopes, '```'].join('\n');
}
