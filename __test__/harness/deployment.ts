// A local deployment for one test, and requests to it as exact as a test wants them: the target is
// sent and signed byte for byte, by npm `hawk`.
import { createHmac, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { ExecutionContext } from 'ava';
import hawk from 'hawk';
import {
  type Deployment,
  type DeploymentOptions,
  startDeployment,
} from '../../ts/deployment/index.js';
import { schemaFor } from './database.js';
import { until } from './deadline.js';
import { freshDirectory } from './directory.js';

export interface Client {
  clientId: string;
  accessToken: string;
  certificate?: string;
}

export async function deploymentFor(
  t: ExecutionContext,
  options: Partial<DeploymentOptions> = {},
): Promise<Deployment> {
  return startedFor(t, {
    folder: freshDirectory(t),
    checkOutput: true,
    onNotice: () => undefined,
    database: await schemaFor(),
    ...options,
  });
}

/** Starts a deployment with exactly these options; it is stopped after the test, even if that fails. */
export async function startedFor(
  t: Pick<ExecutionContext, 'teardown'>,
  options: DeploymentOptions,
): Promise<Deployment> {
  const deployment = await startDeployment(options);
  t.teardown(() => deployment.stop());
  return deployment;
}

/** Resolves when so many requests are running, as a deployment with metrics counts them. */
export async function runs({ metricsUrl }: Deployment, count: number): Promise<void> {
  const line = `\ntaskcluster_local_running_requests ${count}\n`;
  const read = async () => (await fetch(String(metricsUrl))).text();
  await until(async () => (await read()).includes(line), 'the requests');
}

export interface Sent {
  method?: string;
  target: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: what is in it is for the test to look at
  json: any;
}

export async function send(
  { rootUrl }: Pick<Deployment, 'rootUrl'>,
  { method = 'GET', target, headers = {}, body }: Sent,
): Promise<Answer> {
  const { hostname, port } = new URL(rootUrl);
  const host = hostname.replace(/^\[|\]$/g, '');
  const request = httpRequest({ host, port, method, path: target, headers, agent: false });
  request.end(body);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) {
    chunks.push(chunk as Buffer);
  }
  const text = Buffer.concat(chunks).toString();
  const isJson = response.headers['content-type']?.startsWith('application/json') === true;
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    text,
    json: isJson && text !== '' ? JSON.parse(text) : undefined,
  };
}

export interface Signing {
  client: Client;
  method?: string;
  target: string;
  /** `Host` as it is signed; the deployment's own when absent. */
  host?: string;
  port?: number;
  /** What stands in ext beside the client's certificate, or the text of all of it. */
  ext?: Record<string, unknown> | string;
  timestamp?: number;
  payload?: string;
  contentType?: string;
}

/** The `Authorization` of a request to the deployment. */
export function authorization({ rootUrl }: Pick<Deployment, 'rootUrl'>, signing: Signing): string {
  const { client, method = 'GET', payload, contentType } = signing;
  return hawk.client.header(signedUrl(rootUrl, signing), method, {
    credentials: hawkCredentials(client),
    ...extOf(client, signing.ext),
    timestamp: signing.timestamp ?? Math.floor(Date.now() / 1000),
    nonce: randomBytes(6).toString('base64url'),
    ...(payload === undefined ? {} : { payload, contentType: contentType ?? 'application/json' }),
  }).header;
}

/** The target with a bewit. */
export function withBewit(
  { rootUrl }: Pick<Deployment, 'rootUrl'>,
  signing: Signing,
  ttlSec = 3600,
): string {
  const bewit = hawk.uri.getBewit(signedUrl(rootUrl, signing), {
    credentials: hawkCredentials(signing.client),
    ...extOf(signing.client, signing.ext),
    ttlSec,
  });
  return `${signing.target}${signing.target.includes('?') ? '&' : '?'}bewit=${bewit}`;
}

function signedUrl(rootUrl: string, { target, host, port }: Signing) {
  const root = new URL(rootUrl);
  return {
    protocol: 'http:',
    hostname: host ?? root.hostname,
    port: port ?? Number(root.port),
    pathname: target,
    search: '',
  };
}

function hawkCredentials({ clientId, accessToken }: Client) {
  return { id: clientId, key: accessToken, algorithm: 'sha256' as const };
}

function extOf({ certificate }: Client, ext: Signing['ext']): { ext?: string } {
  if (typeof ext === 'string') {
    return { ext };
  }
  if (certificate === undefined && ext === undefined) {
    return {};
  }
  const parsed = certificate === undefined ? {} : { certificate: JSON.parse(certificate) };
  return { ext: Buffer.from(JSON.stringify({ ...parsed, ...ext })).toString('base64') };
}

/**
 * Temporary credentials by hand, so that any of them can be made wrong: `with` replaces fields
 * before the certificate is signed, `after` when it has been.
 */
export function temporary(
  issuer: Client,
  options: {
    name?: string;
    scopes: unknown;
    with?: Record<string, unknown>;
    after?: Record<string, unknown>;
  },
): Client {
  const { name } = options;
  const certificate: Record<string, unknown> = {
    version: 1,
    scopes: options.scopes,
    start: Date.now() - 60_000,
    expiry: Date.now() + 3_600_000,
    seed: randomBytes(33).toString('base64url'),
    ...(name === undefined ? {} : { issuer: issuer.clientId }),
    ...options.with,
  };
  const { version, issuer: named, seed, start, expiry, scopes } = certificate;
  const signed = [
    `version:${version}`,
    ...(name === undefined ? [] : [`clientId:${name}`, `issuer:${named}`]),
    `seed:${seed}`,
    `start:${start}`,
    `expiry:${expiry}`,
    'scopes:',
    ...(Array.isArray(scopes) ? scopes : []),
  ].join('\n');
  const mac = (text: string) => createHmac('sha256', issuer.accessToken).update(text);
  const signature = mac(signed).digest('base64');
  return {
    clientId: name ?? issuer.clientId,
    accessToken: mac(String(seed)).digest('base64url'),
    certificate: JSON.stringify({ ...certificate, signature, ...options.after }),
  };
}
