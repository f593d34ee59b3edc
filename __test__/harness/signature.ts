// Credentials of the tests' clients, and the check of a signature made with them: npm `hawk` with
// the rules that Taskcluster's auth service puts on top of it (certificates, `authorizedScopes`).
//
// The access token of a client follows from its name, so that upstream needs no list of clients.
import crypto from 'node:crypto';
import hawk from 'hawk';
import taskcluster from 'taskcluster-client';

export interface CredentialSet {
  clientId: string;
  accessToken: string;
  /** JSON; absent for permanent credentials. */
  certificate?: string;
}

/** What a signature that verifies says. */
export interface Signature {
  clientId: string;
  /** `temporary` where a certificate came with it. */
  kind: 'permanent' | 'temporary';
  authorizedScopes?: string[];
  nonce: string;
  /** Seconds since 1970. */
  ts: number;
  mac: string;
}

export interface SignedRequest {
  method: string;
  target: string;
  host: string;
  port: number;
  authorization: string;
}

interface Certificate {
  version: number;
  scopes: string[];
  start: number;
  expiry: number;
  seed: string;
  signature: string;
  issuer?: string;
}

interface Ext {
  certificate?: Certificate;
  authorizedScopes?: string[];
}

const HOUR_MS = 3_600_000;

export function accessTokenOf(clientId: string): string {
  return crypto.createHash('sha256').update(`access token of ${clientId}`).digest('base64url');
}

export function permanentCredentials(clientId = 'tests/permanent'): CredentialSet {
  return { clientId, accessToken: accessTokenOf(clientId) };
}

/** Named temporary credentials of the issuer `tests/issuer`; unnamed ones where no name is given. */
export function temporaryCredentials(
  scopes: string[],
  clientId?: string,
  { start = new Date(Date.now() - HOUR_MS), expiry = new Date(Date.now() + HOUR_MS) } = {},
): CredentialSet {
  const issuer = permanentCredentials('tests/issuer');
  const credentials = taskcluster.createTemporaryCredentials({
    credentials: issuer,
    scopes,
    start,
    expiry,
    ...(clientId === undefined ? {} : { clientId }),
  });
  return {
    clientId: credentials.clientId,
    accessToken: credentials.accessToken,
    certificate: credentials.certificate,
  };
}

/** Throws hawk's own error, or one that says what of the certificate does not hold. */
export async function verifySignature(
  request: SignedRequest,
  clock: { offsetMs?: number; skewSec?: number } = {},
): Promise<Signature> {
  const { target, ...rest } = request;
  const claimed = hawk.utils.parseAuthorizationHeader(request.authorization);
  const ext = decodeExt(claimed.ext);
  const { artifacts } = await hawk.server.authenticate(
    { ...rest, url: target },
    async (id) => ({ key: keyOf(id, ext), algorithm: 'sha256' }),
    { localtimeOffsetMsec: clock.offsetMs ?? 0, timestampSkewSec: clock.skewSec ?? 60 },
  );
  return {
    clientId: artifacts.id,
    ...meaning(ext),
    nonce: artifacts.nonce,
    ts: Number(artifacts.ts),
    mac: artifacts.mac,
  };
}

/** Checks a signed URL as the server that it names would. */
export async function verifyBewit(
  signedUrl: string,
): Promise<Omit<Signature, 'nonce' | 'ts'> & { expires: number }> {
  const { target, host, port } = splitUrl(signedUrl);
  const bewit = /[?&]bewit=([^&]*)/.exec(target)?.[1] ?? '';
  const ext = decodeExt(Buffer.from(bewit, 'base64url').toString('latin1').split('\\')[3]);
  const { attributes } = await hawk.uri.authenticate(
    { method: 'GET', url: target, host, port },
    async (id) => ({ key: keyOf(id, ext), algorithm: 'sha256' }),
  );
  return {
    clientId: attributes.id,
    ...meaning(ext),
    mac: attributes.mac,
    expires: Number(attributes.exp),
  };
}

/** A URL in its parts, with every byte of its path and query kept (`new URL` normalises them). */
export function splitUrl(url: string): { target: string; host: string; port: number } {
  const [, scheme, authority = '', target = ''] = /^(https?):\/\/([^/?]*)(.*)$/.exec(url) ?? [];
  return {
    target: target.startsWith('/') ? target : `/${target}`,
    ...splitAuthority(authority, scheme === 'https' ? 443 : 80),
  };
}

export function splitAuthority(
  authority: string,
  defaultPort: number,
): { host: string; port: number } {
  const [, host = '', port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(authority) ?? [];
  return { host, port: port === undefined ? defaultPort : Number(port) };
}

function decodeExt(encoded: string | undefined): Ext {
  return encoded ? (JSON.parse(Buffer.from(encoded, 'base64').toString('utf8')) as Ext) : {};
}

function meaning(ext: Ext): Pick<Signature, 'kind' | 'authorizedScopes'> {
  return {
    kind: ext.certificate ? 'temporary' : 'permanent',
    ...(ext.authorizedScopes === undefined ? {} : { authorizedScopes: ext.authorizedScopes }),
  };
}

/** The key that a signature must have been made with (`limitClientWithExt` in the auth service). */
function keyOf(clientId: string, { certificate }: Ext): string {
  if (!certificate) {
    return accessTokenOf(clientId);
  }
  const issuerToken = accessTokenOf(certificate.issuer ?? clientId);
  const signed = [
    `version:${certificate.version}`,
    ...(certificate.issuer ? [`clientId:${clientId}`, `issuer:${certificate.issuer}`] : []),
    `seed:${certificate.seed}`,
    `start:${certificate.start}`,
    `expiry:${certificate.expiry}`,
    'scopes:',
    ...certificate.scopes,
  ].join('\n');
  const mac = (text: string) => crypto.createHmac('sha256', issuerToken).update(text);
  if (mac(signed).digest('base64') !== certificate.signature) {
    throw new Error('ext.certificate.signature is not valid, or wrong clientId provided');
  }
  return mac(certificate.seed).digest('base64url');
}
