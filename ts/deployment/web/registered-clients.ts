/**
 * Third parties that may ask users for credentials, as the operator registers them: what
 * Taskcluster's web server has as `REGISTERED_CLIENTS`, field for field.
 */
import { schemaError } from '../api/schema.js';
import { CLIENT_ID } from '../auth/names.js';
import { readTimeExpression } from './time-expression.js';

/** A client in the sense of OAuth 2 (RFC 6749), not one of the auth service. */
export interface RegisteredClient {
  readonly clientId: string;
  /** `code` for the authorization code grant, `token` for the implicit one. */
  readonly responseType: 'code' | 'token';
  /** Taskcluster scopes, which may end in `*`; a request has to ask for exactly these. */
  readonly scope: readonly string[];
  /** Where users may be sent back to; compared as text. */
  readonly redirectUri: readonly string[];
  /** Users are not asked. Holds for `code` only. */
  readonly whitelisted?: boolean;
  /** The longest that credentials last, such as `1 year`. */
  readonly maxExpires: string;
}

/** A third party that cannot be. The message says what to change. */
export class RegisteredClientError extends Error {
  override readonly name = 'RegisteredClientError';
}

/** That of credentials that do not expire. */
const LONGEST = 1000 * 365 * 24 * 60 * 60 * 1000;

const SCHEMA = {
  $id: '/schemas/web-server/v1/registered-clients.json#',
  type: 'array',
  items: {
    type: 'object',
    properties: {
      clientId: { type: 'string', pattern: CLIENT_ID.source, maxLength: 200 },
      responseType: { enum: ['code', 'token'] },
      scope: { type: 'array', items: { type: 'string', pattern: '^[!-~]+$' } },
      redirectUri: { type: 'array', minItems: 1, items: { type: 'string' } },
      whitelisted: { type: 'boolean' },
      maxExpires: { type: 'string' },
    },
    additionalProperties: false,
    required: ['clientId', 'responseType', 'scope', 'redirectUri', 'maxExpires'],
  },
} as const;

export class RegisteredClients {
  readonly #clients = new Map<string, RegisteredClient>();
  /** Whose pages may read what the endpoints for third parties answer. */
  readonly origins: ReadonlySet<string>;

  /** @throws RegisteredClientError */
  constructor(clients: readonly RegisteredClient[]) {
    const error = schemaError(SCHEMA, clients);
    if (error !== null) {
      throw new RegisteredClientError(`the registered clients are not as they should be:${error}`);
    }
    for (const client of clients) {
      check(client);
      if (this.#clients.has(client.clientId)) {
        throw new RegisteredClientError(`${client.clientId} is registered twice: take one away`);
      }
      this.#clients.set(client.clientId, client);
    }
    const uris = clients.flatMap(({ redirectUri }) => redirectUri);
    this.origins = new Set(
      uris.map((uri) => new URL(uri).origin).filter((each) => each !== 'null'),
    );
  }

  /** The one of this id, if users may be sent to this address of it. */
  find(clientId: string, redirectUri: string): RegisteredClient | undefined {
    const client = this.#clients.get(clientId);
    return client?.redirectUri.includes(redirectUri) ? client : undefined;
  }
}

function check({ clientId, redirectUri, maxExpires }: RegisteredClient): void {
  const wrong = redirectUri.find((uri) => !isRedirectUri(uri));
  if (wrong !== undefined) {
    throw new RegisteredClientError(
      `users of ${clientId} cannot be sent to '${wrong}': a redirectUri is an http or https URL, ` +
        "or one with an application's own scheme such as com.example.app, and has no fragment",
    );
  }
  const span = readTimeExpression(maxExpires) ?? 0;
  if (span <= 0 || span > LONGEST) {
    throw new RegisteredClientError(
      `the maxExpires of ${clientId} is no span of time: write one such as 3 days, 1 year or 1000 years`,
    );
  }
}

/** Schemes of one word may be run by the browser itself, as `javascript:` is (RFC 8252, 7.1). */
function isRedirectUri(text: string): boolean {
  if (!URL.canParse(text) || text.includes('#')) {
    return false;
  }
  const { protocol, hostname, username, password } = new URL(text);
  const isWeb = protocol === 'http:' || protocol === 'https:';
  const hasHost = /^[a-z0-9._-]+$|^\[[0-9a-f:]+\]$/.test(hostname);
  return isWeb ? hasHost && username + password === '' : protocol.includes('.');
}
