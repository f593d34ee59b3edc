/**
 * The auth service: who a request comes from and what it may do.
 *
 * What it is not yet: its clients and roles are given when the deployment starts; no endpoint
 * changes them.
 */

import type { SignatureValidator } from '../api/authenticate.js';
import { ApiBuilder, Reply } from '../api/builder.js';
import type { ScopeTemplate } from '../api/scope-template.js';
import type { ScopeResolver } from './clients.js';
import { authenticateHawkRequest, scopeSet, testAuthenticateRequest } from './schemas.js';
import { signatureValidator } from './signature-validator.js';

export interface AuthContext {
  readonly resolver: ScopeResolver;
  readonly validator: SignatureValidator;
}

export const auth = new ApiBuilder<AuthContext>({ serviceName: 'auth', apiVersion: 'v1' });

auth.declare(
  {
    name: 'authenticateHawk',
    method: 'post',
    route: '/authenticate-hawk',
    title: 'Authenticate Hawk Request',
    // Other services call it to learn who calls them; it reveals nothing but what a signature does.
    scopes: null,
    input: authenticateHawkRequest,
  },
  async ({ body }, { validator }) => {
    const found = await validator(body);
    if (found.status !== 'auth-failed') {
      return found;
    }
    const { status, message, challenge } = found;
    // Beside the body, whose form is fixed, so that other services can tell a client the time.
    const headers = challenge === undefined ? {} : { 'www-authenticate': challenge };
    return new Reply(200, { status, message }, headers);
  },
);

auth.declare(
  {
    name: 'authenticateAnonymous',
    method: 'get',
    route: '/authenticate-anonymous',
    title: 'Authenticate Anonymous Request',
    scopes: null,
  },
  (_request, { validator }) =>
    validator({ method: 'get', resource: '/', host: 'localhost', port: 80 }),
);

auth.declare(
  {
    name: 'expandScopes',
    method: 'post',
    route: '/scopes/expand',
    title: 'Expand Scopes',
    scopes: 'auth:expand-scopes',
    input: scopeSet,
  },
  async ({ body }, { resolver }) => ({ scopes: await resolver.expandScopes(body.scopes) }),
);

auth.declare(
  {
    name: 'currentScopes',
    method: 'get',
    route: '/scopes/current',
    title: 'Get Current Scopes',
    scopes: 'auth:current-scopes',
  },
  async (request) => ({ scopes: await request.scopes() }),
);

/** What the two endpoints for testing a client's signatures ask of its fake credentials. */
const TEST_SCOPES: ScopeTemplate = {
  AllOf: [{ for: 'scope', in: 'requiredScopes', each: '<scope>' }],
};

auth.declare(
  {
    name: 'testAuthenticate',
    method: 'post',
    route: '/test-authenticate',
    title: 'Test Authentication',
    scopes: null,
    input: testAuthenticateRequest,
  },
  async ({ body, callerBy }) => {
    const caller = callerBy(tester(body.clientScopes), TEST_SCOPES);
    await caller.authorize({ requiredScopes: body.requiredScopes });
    return { clientId: await caller.clientId(), scopes: await caller.scopes() };
  },
);

auth.declare(
  {
    name: 'testAuthenticateGet',
    method: 'get',
    route: '/test-authenticate-get/',
    title: 'Test Authentication (GET)',
    scopes: null,
  },
  async ({ callerBy }) => {
    const caller = callerBy(tester(['test:*', 'auth:create-client:test:*']), TEST_SCOPES);
    await caller.authorize({ requiredScopes: ['test:authenticate-get'] });
    return { clientId: await caller.clientId(), scopes: await caller.scopes() };
  },
);

/** A validator that knows one client: `tester`, whose access token everybody knows. */
function tester(scopes: readonly string[]): SignatureValidator {
  return signatureValidator({
    loadClient: async (clientId) => {
      if (clientId !== 'tester') {
        throw new Error(`Client with clientId '${clientId}' not found`);
      }
      const expires = new Date(Date.now() + 60 * 60 * 1000);
      return { clientId, accessToken: 'no-secret', scopes, expires };
    },
    expandScopes: async (held) => held,
  });
}
