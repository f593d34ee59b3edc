/**
 * What third parties call themselves, once a user has let them: a token for their code (RFC 6749,
 * 4.1.3), and credentials for their token, which are those of a client that the user can see, change
 * and remove like any other of his.
 *
 * No cookie counts here. Pages of registered third parties may read the answers.
 */
import express, { type RequestHandler, type Router } from 'express';
import { createClient, type ScopeResolver } from '../auth/clients.js';
import { satisfies } from '../scopes.js';
import type { Store, ThirdPartyGrant } from '../storage/store.js';
import { type GrantedClient, keepGrant } from './authorization.js';
import { field } from './fields.js';
import { hashOf, newId } from './random-ids.js';
import type { RegisteredClients } from './registered-clients.js';
import { localUser } from './user.js';

export interface ThirdPartyOptions {
  readonly store: Store;
  readonly registered: RegisteredClients;
  readonly resolver: ScopeResolver;
}

/** To be mounted at `/login/oauth`. */
export function thirdParties(options: ThirdPartyOptions): Router {
  const router = express.Router({ caseSensitive: true });
  const cors = allow(options.registered.origins);
  const readForm = express.urlencoded({ extended: false, limit: BODY_LIMIT });
  const readJson = express.json({ limit: BODY_LIMIT });
  router.options(['/token', '/credentials'], cors, preflight);
  router.post('/token', cors, readForm, readJson, exchange(options));
  router.get('/credentials', cors, credentials(options));
  return router;
}

const BODY_LIMIT = '16kb';

/** The headers that npm `cors` sets with Taskcluster's options. */
function allow(origins: ReadonlySet<string>): RequestHandler {
  return ({ headers: { origin } }, response, next) => {
    response.vary('Origin').set('Access-Control-Allow-Credentials', 'true');
    if (origin !== undefined && origins.has(origin)) {
      response.set('Access-Control-Allow-Origin', origin);
    }
    next();
  };
}

const preflight: RequestHandler = ({ headers }, response) => {
  const asked = headers['access-control-request-headers'];
  response.vary('Access-Control-Request-Headers');
  response.set('Access-Control-Allow-Methods', 'GET,HEAD,PUT,PATCH,POST,DELETE');
  if (asked !== undefined) {
    response.set('Access-Control-Allow-Headers', asked);
  }
  response.status(204).set('Content-Length', '0').end();
};

/** By its code (RFC 6749, 5.2), with the status that Taskcluster's library has for it. */
const STATUS_OF_ERROR = {
  invalid_request: 400,
  invalid_grant: 403,
  unsupported_grant_type: 501,
} as const;

function exchange({ store, registered }: ThirdPartyOptions): RequestHandler {
  return async (request, response) => {
    const refuse = (error: keyof typeof STATUS_OF_ERROR, description: string) => {
      response.status(STATUS_OF_ERROR[error]).json({ error, error_description: description });
    };
    const [type, code] = [field(request.body, 'grant_type'), field(request.body, 'code')];
    response.set('Pragma', 'no-cache');
    if (type !== 'authorization_code') {
      refuse('unsupported_grant_type', `Unsupported grant type: ${type}`);
    } else if (!code) {
      refuse('invalid_request', 'Missing required parameter: code');
    } else {
      // Whoever tries a code has used it up, whether it was his or not.
      const granted = await store.thirdPartyGrants.take('code', hashOf(code), new Date());
      if (
        granted === undefined ||
        !isOf(granted, request.body) ||
        !isRegistered(granted, registered)
      ) {
        refuse('invalid_grant', 'Invalid authorization code');
        return;
      }
      const { userName, thirdParty: clientId, redirectUri } = granted;
      const client = granted.details as GrantedClient;
      const id = newId();
      const thirdParty = { clientId };
      await keepGrant(store, { kind: 'token', id, userName, thirdParty, redirectUri, client });
      response.json({ access_token: id, token_type: 'Bearer' });
    }
  };
}

/**
 * A client_id may be left out, as Taskcluster has it: it is no secret. A verifier has to be there
 * where there was a challenge, and nowhere else (RFC 9700, 2.1.1).
 */
function isOf({ thirdParty, redirectUri, details }: ThirdPartyGrant, form: unknown): boolean {
  const clientId = field(form, 'client_id') ?? thirdParty;
  const verifier = field(form, 'code_verifier');
  const challenge =
    verifier === undefined ? undefined : Buffer.from(hashOf(verifier)).toString('base64url');
  return (
    clientId === thirdParty &&
    field(form, 'redirect_uri') === redirectUri &&
    (details as GrantedClient).challenge === challenge
  );
}

function isRegistered(granted: ThirdPartyGrant, registered: RegisteredClients): boolean {
  return registered.find(granted.thirdParty, granted.redirectUri) !== undefined;
}

/** By how much earlier a third party is told to come for new ones. */
const RENEW_BEFORE = 30 * 1000;

function credentials(options: ThirdPartyOptions): RequestHandler {
  return async ({ headers }, response) => {
    const [, token] = /^Bearer +([\w-]+)$/i.exec(headers.authorization ?? '') ?? [];
    const client = token === undefined ? undefined : await clientFor(token, options);
    if (client === undefined) {
      const code = 'InputError';
      const message = 'Could not generate credentials for this access token';
      response
        .status(401)
        .set('WWW-Authenticate', token === undefined ? 'Bearer' : 'Bearer error="invalid_token"')
        .json({ code, name: code, message });
      return;
    }
    const { clientId, accessToken, expires } = client;
    response.json({
      expires: new Date(expires.getTime() - RENEW_BEFORE),
      credentials: { clientId, accessToken },
    });
  };
}

/** Makes the client, or gives it once more, if its user may still grant it. Tells nobody why not. */
async function clientFor(token: string, { store, registered, resolver }: ThirdPartyOptions) {
  const now = new Date();
  const granted = await store.thirdPartyGrants.get('token', hashOf(token), now);
  const user = granted && (await store.users.get(granted.userName));
  if (granted === undefined || user === undefined || !isRegistered(granted, registered)) {
    return undefined;
  }
  const { clientId, description, scopes, ...client } = granted.details as GrantedClient;
  const expires = new Date(client.expires);
  const held = await resolver.expandScopes(localUser(user).scopes());
  const needed = [`auth:create-client:${clientId}`, ...scopes];
  if (expires <= now || !satisfies(held, { AllOf: needed })) {
    return undefined;
  }
  const wanted = { clientId, description, scopes, expires, deleteOnExpiration: true };
  return createClient(store, wanted, `local/${user.name}`);
}
