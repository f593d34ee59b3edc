/**
 * Reads a deployment through its API: its references, and the scopes of clients and roles. The deployment
 * need not be a local one; Taskcluster's own services answer the same.
 */
import { type Credentials, signHeader } from 'taskcluster-proxy';
import type { ApiReference } from '../../deployment/api/reference.js';
import type { RoleScopes } from '../../deployment/auth/roles.js';
import { type KnownClient, ReviewError, type Source } from '../../deployment/review/subject.js';

export class RemoteDeployment implements Source {
  readonly #rootUrl: string;
  readonly #credentials: Credentials | undefined;

  /** @throws ReviewError */
  constructor(rootUrl: string, credentials: Credentials | undefined) {
    if (!/^https?:/.test(rootUrl) || !URL.canParse(rootUrl)) {
      throw new ReviewError(
        `'${rootUrl}' is not a root URL: set TASKCLUSTER_ROOT_URL or pass --root-url`,
      );
    }
    this.#rootUrl = rootUrl.replace(/\/+$/, '');
    this.#credentials = credentials;
  }

  async anonymous(): Promise<string[]> {
    const body = { method: 'get', resource: '/', host: 'localhost', port: 80 };
    const answer = await this.#ask('POST', '/api/auth/v1/authenticate-hawk', body);
    return (answer as { scopes: string[] }).scopes;
  }

  async client(clientId: string): Promise<KnownClient> {
    const path = `/api/auth/v1/clients/${encodeURIComponent(clientId)}`;
    const client = (await this.#ask('GET', path)) as KnownClient & { expires: string };
    return { ...client, expires: new Date(client.expires) };
  }

  async roles(): Promise<RoleScopes[]> {
    return (await this.#ask('GET', '/api/auth/v1/roles/')) as RoleScopes[];
  }

  async expand(scopes: readonly string[]): Promise<string[]> {
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

  /**
   * The definition of a task; undefined if the id is malformed or unknown, or if this caller may not read the
   * task.
   */
  async task(taskId: string): Promise<object | undefined> {
    try {
      const path = `/api/queue/v1/task/${encodeURIComponent(taskId)}`;
      return (await this.#ask('GET', path)) as object;
    } catch (error) {
      if (error instanceof AnswerError && [400, 403, 404].includes(error.status)) {
        return undefined;
      }
      throw error;
    }
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
      throw new ReviewError(`cannot reach ${url}: ${reason(error)}`);
    });
    const text = await response.text();
    if (!response.ok) {
      throw new AnswerError(url, response.status, text);
    }
    try {
      return JSON.parse(text);
    } catch {
      throw new ReviewError(`${url} answers with no JSON: name a Taskcluster deployment`);
    }
  }
}

class AnswerError extends ReviewError {
  readonly status: number;

  constructor(url: string, status: number, text: string) {
    super(`${url} answers ${status}: ${firstLine(text)}`);
    this.status = status;
  }
}

/** The credentials of the environment, as Taskcluster's clients read them. */
export function ownCredentials(env: NodeJS.ProcessEnv = process.env): Credentials | undefined {
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

/** The sentence of a Taskcluster error, without the details of the request. */
function firstLine(text: string): string {
  try {
    return String((JSON.parse(text) as { message: string }).message).split('\n---\n')[0] ?? '';
  } catch {
    return text.slice(0, 200);
  }
}
