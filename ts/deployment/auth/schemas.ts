/** JSON schemas of what the auth service takes, as in Taskcluster's references. */

const scopes = {
  type: 'array',
  items: { type: 'string', pattern: '^[ -~]*$' },
  uniqueItems: true,
} as const;

export const authenticateHawkRequest = {
  $id: '/schemas/auth/v1/authenticate-hawk-request.json#',
  type: 'object',
  properties: {
    method: {
      type: 'string',
      enum: ['get', 'post', 'put', 'head', 'delete', 'options', 'trace', 'patch', 'connect'],
    },
    resource: { type: 'string' },
    host: { type: 'string', maxLength: 253 },
    port: { type: 'integer', minimum: 0, maximum: 65535 },
    authorization: { type: 'string' },
    sourceIp: { type: 'string' },
  },
  additionalProperties: false,
  required: ['method', 'resource', 'host', 'port'],
} as const;

export const scopeSet = {
  $id: '/schemas/auth/v1/scopeset.json#',
  type: 'object',
  properties: { scopes },
  additionalProperties: false,
  required: ['scopes'],
} as const;

export const testAuthenticateRequest = {
  $id: '/schemas/auth/v1/test-authenticate-request.json#',
  type: 'object',
  properties: {
    clientScopes: { ...scopes, default: [] },
    requiredScopes: { ...scopes, default: [] },
  },
  additionalProperties: false,
  required: ['clientScopes', 'requiredScopes'],
} as const;
