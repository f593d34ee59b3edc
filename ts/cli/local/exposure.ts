/**
 * `taskcluster-local exposure`: what a running deployment lets somebody do, endpoint by endpoint.
 * It reads the deployment's own references, so that it tells of any Taskcluster deployment.
 */
import type { Command } from 'commander';
import { type Credentials, CredentialsError, signHeader } from 'taskcluster-proxy';
import type { ApiReference } from '../../deployment/api/reference.js';
import type { ScopeTemplatePart } from '../../deployment/api/scope-template.js';
import { type Exposure, exposure } from '../../deployment/exposure.js';
import { union } from '../../deployment/scopes.js';

interface Options {
  readonly rootUrl?: string;
  readonly clientId?: string;
  readonly scope: readonly string[];
  readonly json: boolean;
}

/** Something that keeps the question from being answered; one sentence for the user. */
class ExposureError extends Error {
  override readonly name = 'ExposureError';
}

export function declareExposure(program: Command): void {
  program
    .command('exposure')
    .description(
      'List every endpoint of a deployment, the scopes it needs, and whether somebody passes now: ' +
        'everybody (who sends no credentials), a client, or whoever holds some scopes. Looking up ' +
        'clients and roles takes credentials if everybody may not: TASKCLUSTER_CLIENT_ID, ' +
        'TASKCLUSTER_ACCESS_TOKEN and TASKCLUSTER_CERTIFICATE.',
    )
    .option('--root-url <url>', 'the deployment; TASKCLUSTER_ROOT_URL when not given')
    .option('--client-id <id>', 'tell for this client')
    .option('--scope <scope>', 'tell for this scope; may be repeated', collect, [])
    .option('--json', 'print a JSON array', false)
    .action(print);
}

function collect(value: string, values: readonly string[]): string[] {
  return [...values, value];
}

async function print(options: Options): Promise<void> {
  try {
    const { TASKCLUSTER_ROOT_URL = '' } = process.env;
    const deployment = new RemoteDeployment(options.rootUrl ?? TASKCLUSTER_ROOT_URL);
    const held = await heldScopes(deployment, options);
    const rows = exposure(await deployment.references(), held);
    console.log(options.json ? JSON.stringify(rows, null, 2) : table(rows));
  } catch (error) {
    if (!(error instanceof ExposureError || error instanceof CredentialsError)) {
      throw error;
    }
    console.error(`taskcluster-local: ${error.message}`);
    process.exitCode = 1;
  }
}

/** The scopes to tell for, with all that roles add to them and what everybody has. */
async function heldScopes(deployment: RemoteDeployment, options: Options): Promise<string[]> {
  const { clientId, scope } = options;
  const everybody = await deployment.anonymousScopes();
  const client = clientId === undefined ? [] : await deployment.clientScopes(clientId);
  const given = scope.length === 0 ? [] : await deployment.expandScopes(scope);
  return union(everybody, client, given);
}

class RemoteDeployment {
  readonly #rootUrl: string;
  readonly #credentials = credentialsOf(process.env);

  constructor(rootUrl: string) {
    if (!/^https?:/.test(rootUrl) || !URL.canParse(rootUrl)) {
      throw new ExposureError(
        `'${rootUrl}' is not a root URL: set TASKCLUSTER_ROOT_URL or pass --root-url`,
      );
    }
    this.#rootUrl = rootUrl.replace(/\/+$/, '');
  }

  /** What a request without credentials holds. */
  async anonymousScopes(): Promise<string[]> {
    const body = { method: 'get', resource: '/', host: 'localhost', port: 80 };
    const answer = await this.#ask('POST', '/api/auth/v1/authenticate-hawk', body);
    return (answer as { scopes: string[] }).scopes;
  }

  async clientScopes(clientId: string): Promise<string[]> {
    const path = `/api/auth/v1/clients/${encodeURIComponent(clientId)}`;
    return ((await this.#ask('GET', path)) as { expandedScopes: string[] }).expandedScopes;
  }

  async expandScopes(scopes: readonly string[]): Promise<string[]> {
    const answer = await this.#ask('POST', '/api/auth/v1/scopes/expand', { scopes });
    return (answer as { scopes: string[] }).scopes;
  }

  async references(): Promise<ApiReference[]> {
    const manifest = await this.#ask('GET', '/references/manifest.json');
    const urls = (manifest as { references: string[] }).references;
    const paths = urls.map((url) => new URL(url, this.#rootUrl).pathname);
    const apis = paths.filter((path) => path.endsWith('/api.json'));
    return Promise.all(apis.map(async (path) => (await this.#ask('GET', path)) as ApiReference));
  }

  async #ask(method: string, path: string, body?: object): Promise<unknown> {
    const url = this.#rootUrl + path;
    const authorization =
      this.#credentials && signHeader({ credentials: this.#credentials, method, url });
    const init = {
      method,
      headers: {
        ...(authorization && { authorization }),
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    };
    const response = await fetch(url, init).catch((error: Error) => {
      throw new ExposureError(`cannot reach ${url}: ${reason(error)}`);
    });
    const text = await response.text();
    if (!response.ok) {
      throw new ExposureError(`${url} answers ${response.status}: ${firstLine(text)}`);
    }
    return JSON.parse(text);
  }
}

function credentialsOf(env: NodeJS.ProcessEnv): Credentials | undefined {
  const {
    TASKCLUSTER_CLIENT_ID: clientId,
    TASKCLUSTER_ACCESS_TOKEN: accessToken,
    TASKCLUSTER_CERTIFICATE: certificate,
  } = env;
  return clientId && accessToken
    ? { clientId, accessToken, ...(certificate && { certificate }) }
    : undefined;
}

function reason(error: Error): string {
  const { cause } = error;
  return cause instanceof Error ? cause.message || String(cause) : error.message;
}

/** Of Taskcluster's errors the sentence, without what was asked. */
function firstLine(text: string): string {
  try {
    return String((JSON.parse(text) as { message: string }).message).split('\n---\n')[0] ?? '';
  } catch {
    return text.slice(0, 200);
  }
}

const WORDS = { always: 'yes', sometimes: 'for some', never: 'no' } as const;

function table(rows: readonly Exposure[]): string {
  const cells = rows.map(({ service, endpoint, method, path, scopes, passes }) => [
    WORDS[passes],
    `${service}.${endpoint}`,
    `${method} ${path}`,
    scopes === null ? '(none needed)' : readable(scopes),
  ]);
  const all = [['passes', 'endpoint', 'request', 'scopes'], ...cells];
  const widths = [0, 1, 2].map((column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  return all.map(line).join('\n');
}

function readable(template: ScopeTemplatePart): string {
  if (typeof template === 'string') {
    return template;
  }
  if ('AllOf' in template) {
    return joined(template.AllOf, ' and ');
  }
  if ('AnyOf' in template) {
    return joined(template.AnyOf, ' or ');
  }
  if ('for' in template) {
    return `${template.each} for each of ${template.in}`;
  }
  const otherwise = template.else === undefined ? '' : ` else ${inner(template.else)}`;
  return `if ${template.if} then ${inner(template.then)}${otherwise}`;
}

function joined(parts: readonly ScopeTemplatePart[], word: string): string {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? readable(first) : parts.map(inner).join(word);
}

function inner(template: ScopeTemplatePart): string {
  const text = readable(template);
  return text.includes(' ') && typeof template !== 'string' ? `(${text})` : text;
}
