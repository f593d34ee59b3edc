/**
 * The auth service: it authenticates requests and tells their scopes, and keeps the clients that sign and
 * the roles that grant.
 */
import type { SignatureValidator } from '../api/authenticate.js';
import { ApiBuilder, Reply } from '../api/builder.js';
import type { ScopeTemplate } from '../api/scope-template.js';
import { declareAuditEndpoints } from './audit.js';
import { declareClientEndpoints } from './client-endpoints.js';
import type { AuthContext } from './context.js';
import { declareGithubEndpoints } from './github.js';
import { CLIENT_ID, ROLE_ID } from './names.js';
import { declareRoleEndpoints } from './role-endpoints.js';
import {
  authenticateAnonymousResponse,
  authenticateHawkRequest,
  authenticateHawkResponse,
  scopeSet,
  testAuthenticateRequest,
  testAuthenticateResponse,
} from './schemas.js';
import { RefusedError, signatureValidator } from './signature-validator.js';

export const auth = new ApiBuilder<AuthContext>({
  serviceName: 'auth',
  apiVersion: 'v1',
  title: 'Auth Service',
  description: 'Tells which client signed a request and its scopes; keeps clients and roles.',
  params: { clientId: CLIENT_ID, roleId: ROLE_ID },
});

declareClientEndpoints(auth);
declareRoleEndpoints(auth);
declareAuditEndpoints(auth);
declareGithubEndpoints(auth);

const SCOPES = { category: 'Scopes and Auth' } as const;

auth.declare(
  {
    ...SCOPES,
    name: 'expandScopes',
    method: 'post',
    route: '/scopes/expand',
    title: 'Expand Scopes',
    description: 'The scopes with the roles expanded; without the scopes of the role anonymous.',
    anonymous: true,
    scopes: 'auth:expand-scopes',
    input: scopeSet,
    output: scopeSet,
  },
  async ({ body }, { resolver }) => ({ scopes: await resolver.expandScopes(body.scopes) }),
);

auth.declare(
  {
    ...SCOPES,
    name: 'currentScopes',
    method: 'get',
    route: '/scopes/current',
    title: 'Get Current Scopes',
    description: 'The scopes of this request, from all sources.',
    anonymous: true,
    scopes: 'auth:current-scopes',
    output: scopeSet,
  },
  async (request) => ({ scopes: await request.scopes() }),
);

auth.declare(
  {
    ...SCOPES,
    name: 'authenticateHawk',
    method: 'post',
    route: '/authenticate-hawk',
    title: 'Authenticate Hawk Request',
    description: 'For other services: tells which client signed a request, and its scopes.',
    // The signature in the body authorises the question.
    scopes: null,
    input: authenticateHawkRequest,
    output: authenticateHawkResponse,
  },
  async ({ body }, { validator }) => {
    const found = await validator(body);
    if (found.status !== 'auth-failed') {
      return found;
    }
    const { status, message, challenge } = found;
    // A header, since the form of the body is fixed: other services pass it on to tell a client the time.
    const headers = challenge === undefined ? {} : { 'www-authenticate': challenge };
    return new Reply(200, { status, message }, headers);
  },
);

auth.declare(
  {
    ...SCOPES,
    name: 'authenticateAnonymous',
    method: 'get',
    route: '/authenticate-anonymous',
    title: 'Authenticate Anonymous Request',
    description: 'For other services: the scopes of a request without credentials.',
    scopes: null,
    output: authenticateAnonymousResponse,
  },
  (_request, { validator }) =>
    validator({ method: 'get', resource: '/', host: 'localhost', port: 80 }),
);

/** The scopes that the two endpoints for testing signatures need of the fake credentials. */
const TEST_SCOPES: ScopeTemplate = {
  AllOf: [{ for: 'scope', in: 'requiredScopes', each: '<scope>' }],
};

auth.declare(
  {
    ...SCOPES,
    name: 'testAuthenticate',
    method: 'post',
    route: '/test-authenticate',
    title: 'Test Authentication',
    description:
      'For tests of a client library: accepts requests of the client `tester` with the access token ' +
      '`no-secret`, which has the scopes in the body.',
    scopes: null,
    input: testAuthenticateRequest,
    output: testAuthenticateResponse,
  },
  async ({ body, callerBy }) => {
    const caller = callerBy(tester(body.clientScopes), TEST_SCOPES);
    await caller.authorize({ requiredScopes: body.requiredScopes });
    return { clientId: await caller.clientId(), scopes: await caller.scopes() };
  },
);

auth.declare(
  {
    ...SCOPES,
    name: 'testAuthenticateGet',
    method: 'get',
    route: '/test-authenticate-get/',
    title: 'Test Authentication (GET)',
    description:
      'As `testAuthenticate`, with the scopes `test:*` and `auth:create-client:test:*`; the endpoint ' +
      'needs `test:authenticate-get`.',
    scopes: null,
    output: testAuthenticateResponse,
  },
  async ({ callerBy }) => {
    const caller = callerBy(tester(['test:*', 'auth:create-client:test:*']), TEST_SCOPES);
    await caller.authorize({ requiredScopes: ['test:authenticate-get'] });
    return { clientId: await caller.clientId(), scopes: await caller.scopes() };
  },
);

/** A validator that knows one client: `tester`, which has a public access token. */
function tester(scopes: readonly string[]): SignatureValidator {
  return signatureValidator({
    loadClient: async (clientId) => {
      if (clientId !== 'tester') {
        throw new RefusedError(`Client with clientId '${clientId}' not found`);
      }
      const expires = new Date(Date.now() + 60 * 60 * 1000);
      return { clientId, accessToken: 'no-secret', scopes, expires };
    },
    expandScopes: async (held) => held,
  });
}
