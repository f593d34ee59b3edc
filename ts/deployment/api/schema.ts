/**
 * Validation against JSON schemas, with the messages of Taskcluster's services: of input, which also gets
 * the defaults of its schema, and of output, which stays unchanged.
 */
import { Ajv, type AnySchemaObject, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';

/** A JSON schema with an `$id` such as `/schemas/queue/v1/create-task-request.json#`. */
export interface Schema {
  readonly $id: string;
  readonly [keyword: string]: unknown;
}

const incoming = validator({ useDefaults: true, allErrors: true });
/** Reports the first error only, for long values: these may have an error at every character. */
const long = validator({ useDefaults: true, allErrors: false });
const outgoing = validator({ useDefaults: false, allErrors: true });

function validator(options: { useDefaults: boolean; allErrors: boolean }): Ajv {
  const ajv = new Ajv({ ...options, strict: false });
  addFormats.default(ajv);
  return ajv;
}

/**
 * The errors of an input value, as one message in Markdown, or `null`. Only the first error of a long one.
 */
export function schemaError(
  schema: Schema,
  value: unknown,
  { isLong = false }: { readonly isLong?: boolean } = {},
): string | null {
  return errorOf(isLong ? long : incoming, schema, value);
}

/** The errors of an output value in its JSON form, or `null`. */
export function outputError(schema: Schema, value: unknown): string | null {
  return errorOf(outgoing, schema, JSON.parse(JSON.stringify(value ?? null)));
}

function errorOf(ajv: Ajv, schema: Schema, value: unknown): string | null {
  const validate = compiled(ajv, schema);
  if (validate(value)) {
    return null;
  }
  const errors = (validate.errors ?? []).map((error) => {
    const { additionalProperty: extra } = error.params as { additionalProperty?: string };
    return extra === undefined
      ? error
      : { ...error, message: `${error.message}: ${JSON.stringify(extra)}` };
  });
  return [
    '\nSchema Validation Failed!',
    `\nRejecting Schema: ${schema.$id}`,
    `\nErrors:\n  * ${ajv.errorsText(errors, { separator: '\n  * ' })}`,
  ].join('');
}

function compiled(ajv: Ajv, schema: Schema): ValidateFunction {
  return ajv.getSchema(schema.$id) ?? ajv.compile(schema as AnySchemaObject);
}

/** The path of a schema after `/schemas/<service>/`, with the `#` that references have. */
export function schemaPath(serviceName: string, { $id }: Schema): string {
  const root = `/schemas/${serviceName}/`;
  if (!$id.startsWith(root)) {
    throw new Error(`schema ${$id} is none of ${serviceName}'s: its $id must begin with ${root}`);
  }
  return $id.slice(root.length);
}
