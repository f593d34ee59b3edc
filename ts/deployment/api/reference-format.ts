// biome-ignore-all lint/suspicious/noThenProperty: scope expression templates have it
/** The JSON schema of API references, version 0, on which clients may rely. */

const name = { type: 'string', pattern: '^[a-zA-Z][a-zA-Z0-9_]*$' } as const;
const names = { type: 'array', items: { type: 'string' }, uniqueItems: true } as const;
const scope = { type: 'string', pattern: '^[\\x20-\\x7e]*$' } as const;
const template = { $ref: '#/definitions/template' } as const;
const part = { $ref: '#/definitions/part' } as const;

export const REFERENCE_FORMAT = {
  $schema: '/schemas/common/metaschema.json#',
  $id: '/schemas/common/api-reference-v0.json#',
  title: 'API reference',
  definitions: {
    template: {
      oneOf: [
        scope,
        object({ AllOf: { type: 'array', items: part } }),
        object({ AnyOf: { type: 'array', items: part } }),
        object({ if: name, then: template }, { else: template }),
      ],
    },
    part: { oneOf: [template, object({ for: name, in: name, each: scope })] },
  },
  ...object({
    $schema: { type: 'string' },
    title: { type: 'string' },
    description: { type: 'string' },
    serviceName: { type: 'string', pattern: '^[a-z][a-z0-9_-]*$', minLength: 1, maxLength: 22 },
    apiVersion: { type: 'string', pattern: '^v[0-9]+$' },
    entries: {
      type: 'array',
      uniqueItems: true,
      items: object(
        {
          type: { enum: ['function'] },
          method: { enum: ['get', 'post', 'put', 'head', 'delete', 'patch'] },
          route: { type: 'string' },
          args: names,
          name: { type: 'string' },
          stability: { enum: ['deprecated', 'experimental', 'stable'] },
          title: { type: 'string' },
          description: { type: 'string' },
          category: { type: 'string' },
        },
        {
          query: names,
          scopes: template,
          input: { type: 'string' },
          output: { type: 'string' },
        },
      ),
    },
  }),
} as const;

/** An object with all the required properties, any of the optional ones, and no others. */
function object(required: Record<string, object>, optional: Record<string, object> = {}) {
  return {
    type: 'object',
    properties: { ...required, ...optional },
    required: Object.keys(required),
    additionalProperties: false,
  };
}
