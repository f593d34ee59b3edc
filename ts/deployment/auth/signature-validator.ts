/**
 * The rules by which a signed request is accepted, and which scopes it then carries: those of
 * Taskcluster's auth service.
 *
 * The client is found, the signature verified, certificate and `authorizedScopes` applied. Every
 * request carries `assume:anonymous` and what that expands to: added before `authorizedScopes` are
 * checked, so that they may name anonymous scopes, and again after they have restricted the
 * request, since nobody can be kept from asking anonymously (RFC 165).
 */
import {
  type NativeRefusal,
  type NativeRequest,
  type NativeVerified,
  native,
} from 'taskcluster-proxy/internal';
import type { Authentication, HawkRequest, SignatureValidator } from '../api/authenticate.js';
import { isScope, satisfies } from '../scopes.js';

/** A client as it may be used now. */
export interface LoadedClient {
  readonly clientId: string;
  readonly accessToken: string;
  /** Expanded. */
  readonly scopes: readonly string[];
  readonly expires: Date;
}

export interface SignatureValidatorOptions {
  /** Finds the client. @throws RefusedError where it may not be used */
  readonly loadClient: (clientId: string) => Promise<LoadedClient>;
  /** Adds what roles grant. */
  readonly expandScopes: (scopes: readonly string[]) => Promise<readonly string[]>;
}

/** By how many seconds a client's clock may be wrong. */
const TIMESTAMP_SKEW = 15 * 60;

/** For how long the scopes of a request without credentials may be relied on. */
const ANONYMOUS_LIFETIME = 15 * 60 * 1000;

/** What everybody holds, with credentials or without. */
const ANONYMOUS = ['assume:anonymous'];

/**
 * Why a request's credentials were refused, as its client is told. Any other error is not the
 * client's fault: it passes through, so that the request ends as one that may be tried again.
 */
export class RefusedError extends Error {
  override readonly name = 'RefusedError';
  /** The `WWW-Authenticate` that tells a client with a wrong clock the time. */
  readonly challenge: string | undefined;

  constructor(message: string, challenge?: string) {
    super(message);
    this.challenge = challenge;
  }
}

/** A signature that has been read, but not yet verified. */
interface Signature {
  /** Whose access token decides: the client's, or that of the issuer of its certificate. */
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

/** In the order that they came in, which expansion need not keep. */
function withAnonymous(scopes: readonly string[]): string[] {
  return [...new Set([...scopes, ...ANONYMOUS])];
}

/** Nobody can issue a name, or scopes, that are not his to give. */
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
