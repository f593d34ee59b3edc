/** JSON schemas of the auth service's requests and answers, as in Taskcluster's references. */
import { CLIENT_ID, ROLE_ID } from './names.js';

const scopes = {
  type: 'array',
  items: { type: 'string', pattern: '^[ -~]*$' },
  uniqueItems: true,
} as const;

const time = { type: 'string', format: 'date-time' } as const;
const description = { type: 'string', maxLength: 10240 } as const;
const clientId = { type: 'string', pattern: CLIENT_ID.source } as const;
const continuationToken = { type: 'string' } as const;

export const authenticateHawkRequest = {
  $id: '/schemas/auth/v1/authenticate-hawk-request.json#',
  title: 'Hawk Signature Authentication Request',
  type: 'object',
  properties: {
    method: { type: 'string', pattern: '^[a-z-]+$' },
    resource: { type: 'string' },
    host: { type: 'string', maxLength: 253 },
    port: { type: 'integer', minimum: 0, maximum: 65535 },
    authorization: { type: 'string' },
    sourceIp: { type: 'string' },
  },
  additionalProperties: false,
  required: ['method', 'resource', 'host', 'port'],
} as const;

const noAuthentication = {
  type: 'object',
  properties: {
    status: { enum: ['no-auth'] },
    scheme: { enum: ['none'] },
    scopes,
    expires: time,
  },
  additionalProperties: false,
  required: ['status', 'scheme', 'scopes', 'expires'],
} as const;

export const authenticateHawkResponse = {
  $id: '/schemas/auth/v1/authenticate-hawk-response.json#',
  title: 'Hawk Signature Authentication Response',
  oneOf: [
    {
      type: 'object',
      properties: {
        status: { enum: ['auth-success'] },
        scheme: { enum: ['hawk'] },
        clientId,
        scopes,
        expires: time,
        hash: { type: 'string' },
      },
      additionalProperties: false,
      required: ['status', 'scheme', 'clientId', 'scopes', 'expires'],
    },
    {
      type: 'object',
      properties: { status: { enum: ['auth-failed'] }, message: { type: 'string' } },
      additionalProperties: false,
      required: ['status', 'message'],
    },
    noAuthentication,
  ],
} as const;

export const authenticateAnonymousResponse = {
  $id: '/schemas/auth/v1/authenticate-anonymous-response.json#',
  title: 'Anonymous Authentication Response',
  ...noAuthentication,
} as const;

export const scopeSet = {
  $id: '/schemas/auth/v1/scopeset.json#',
  title: 'Set of scopes',
  type: 'object',
  properties: { scopes },
  additionalProperties: false,
  required: ['scopes'],
} as const;

export const testAuthenticateRequest = {
  $id: '/schemas/auth/v1/test-authenticate-request.json#',
  title: 'Test Authenticate Request',
  type: 'object',
  properties: {
    clientScopes: { ...scopes, default: [] },
    requiredScopes: { ...scopes, default: [] },
  },
  additionalProperties: false,
  required: ['clientScopes', 'requiredScopes'],
} as const;

export const testAuthenticateResponse = {
  $id: '/schemas/auth/v1/test-authenticate-response.json#',
  title: 'Test Authenticate Response',
  type: 'object',
  properties: { clientId, scopes },
  additionalProperties: false,
  required: ['clientId', 'scopes'],
} as const;

export const createClientRequest = {
  $id: '/schemas/auth/v1/create-client-request.json#',
  title: 'Create Client Request',
  type: 'object',
  properties: {
    expires: time,
    deleteOnExpiration: { type: 'boolean', default: false },
    description,
    scopes,
  },
  additionalProperties: false,
  required: ['expires', 'description'],
} as const;

const clientProperties = {
  clientId,
  expires: time,
  deleteOnExpiration: { type: 'boolean' },
  description,
  created: time,
  lastModified: time,
  lastDateUsed: time,
  lastRotated: time,
  scopes,
  expandedScopes: scopes,
  disabled: { type: 'boolean' },
} as const;

const client = {
  type: 'object',
  properties: clientProperties,
  additionalProperties: false,
  required: Object.keys(clientProperties),
} as const;

export const getClientResponse = {
  $id: '/schemas/auth/v1/get-client-response.json#',
  title: 'Get Client Response',
  ...client,
} as const;

export const createClientResponse = {
  $id: '/schemas/auth/v1/create-client-response.json#',
  title: 'Create Client Response',
  type: 'object',
  properties: {
    ...clientProperties,
    accessToken: { type: 'string', pattern: '^[a-zA-Z0-9_-]{22,66}$' },
  },
  additionalProperties: false,
  required: [...Object.keys(clientProperties), 'accessToken'],
} as const;

export const listClientsResponse = {
  $id: '/schemas/auth/v1/list-clients-response.json#',
  title: 'List Client Response',
  type: 'object',
  properties: { clients: { type: 'array', items: client }, continuationToken },
  additionalProperties: false,
  required: ['clients'],
} as const;

export const createRoleRequest = {
  $id: '/schemas/auth/v1/create-role-request.json#',
  title: 'Create Role Request',
  type: 'object',
  properties: { scopes, description },
  additionalProperties: false,
  required: ['scopes', 'description'],
} as const;

const roleProperties = {
  roleId: { type: 'string', pattern: ROLE_ID.source },
  scopes,
  description,
  created: time,
  lastModified: time,
  expandedScopes: scopes,
} as const;

const role = {
  type: 'object',
  properties: roleProperties,
  additionalProperties: false,
  required: Object.keys(roleProperties),
} as const;

export const getRoleResponse = {
  $id: '/schemas/auth/v1/get-role-response.json#',
  title: 'Get Role Response',
  ...role,
} as const;

export const listRolesResponse = {
  $id: '/schemas/auth/v1/list-roles-response.json#',
  title: 'Get All Roles (no pagination)',
  type: 'array',
  items: role,
} as const;

export const listRoles2Response = {
  $id: '/schemas/auth/v1/list-roles2-response.json#',
  title: 'Get All Roles Response',
  type: 'object',
  properties: { roles: { type: 'array', items: role }, continuationToken },
  additionalProperties: false,
  required: ['roles'],
} as const;

export const listRoleIdsResponse = {
  $id: '/schemas/auth/v1/list-role-ids-response.json#',
  title: 'Get Role Ids Response',
  type: 'object',
  properties: { roleIds: { type: 'array', items: { type: 'string' } }, continuationToken },
  additionalProperties: false,
  required: ['roleIds'],
} as const;

export const getEntityHistoryResponse = {
  $id: '/schemas/auth/v1/get-entity-history-response.json#',
  title: 'Get Entity History Response',
  type: 'object',
  properties: {
    auditHistory: {
      type: 'array',
      items: {
        type: 'object',
        properties: {
          clientId: { type: 'string' },
          actionType: { type: 'string' },
          created: time,
          entityId: { type: 'string' },
          entityType: { type: 'string' },
        },
        additionalProperties: false,
        required: ['clientId', 'actionType', 'created', 'entityId', 'entityType'],
      },
    },
    continuationToken,
  },
  additionalProperties: false,
  required: ['auditHistory'],
} as const;

const readOrWrite = { type: 'string', enum: ['read', 'write'] } as const;

export const githubRepoTokenRequest = {
  $id: '/schemas/auth/v1/github-repo-token-request.json#',
  title: 'Github repository token request',
  type: 'object',
  properties: {
    permissions: {
      type: 'object',
      minProperties: 1,
      properties: {
        actions: readOrWrite,
        administration: readOrWrite,
        artifact_metadata: readOrWrite,
        attestations: readOrWrite,
        checks: readOrWrite,
        code_quality: readOrWrite,
        codespaces: readOrWrite,
        contents: readOrWrite,
        dependabot_secrets: readOrWrite,
        deployments: readOrWrite,
        discussions: readOrWrite,
        environments: readOrWrite,
        issues: readOrWrite,
        merge_queues: readOrWrite,
        metadata: readOrWrite,
        packages: readOrWrite,
        pages: readOrWrite,
        pull_requests: readOrWrite,
        repository_custom_properties: readOrWrite,
        repository_hooks: readOrWrite,
        repository_projects: { type: 'string', enum: ['read', 'write', 'admin'] },
        secret_scanning_alerts: readOrWrite,
        secrets: readOrWrite,
        security_events: readOrWrite,
        single_file: readOrWrite,
        statuses: readOrWrite,
        vulnerability_alerts: readOrWrite,
        workflows: { type: 'string', enum: ['write'] },
      },
      additionalProperties: false,
    },
    repositories: {
      type: 'array',
      minItems: 1,
      maxItems: 500,
      items: { type: 'string', pattern: '^[A-Za-z0-9._-]+$' },
    },
  },
  additionalProperties: false,
  required: ['permissions', 'repositories'],
} as const;

export const githubTokenResponse = {
  $id: '/schemas/auth/v1/github-token-response.json#',
  title: 'Github token response',
  type: 'object',
  properties: { token: { type: 'string' }, expires: time },
  additionalProperties: false,
  required: ['token', 'expires'],
} as const;
