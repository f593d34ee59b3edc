/**
 * Validation against JSON schemas, with the message that Taskcluster's services give: of what
 * comes in, into which defaults of a schema are filled, and of what goes out, which stays as it is.
 */
import { Ajv, type AnySchemaObject, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';

/** A JSON schema with an `$id` such as `/schemas/queue/v1/create-task-request.json#`. */
export interface Schema {
  readonly $id: string;
  readonly [keyword: string]: unknown;
}

const incoming = validator({ useDefaults: true, allErrors: true });
/** Of something long there may be something wrong with every letter. */
const long = validator({ useDefaults: true, allErrors: false });
const outgoing = validator({ useDefaults: false, allErrors: true });

function validator(options: { useDefaults: boolean; allErrors: boolean }): Ajv {
  const ajv = new Ajv({ ...options, strict: false });
  addFormats.default(ajv);
  return ajv;
}

/**
 * What is wrong with a value that came in, as one message in Markdown, or `null`. Of a long one what
 * was found first.
 */
export function schemaError(
  schema: Schema,
  value: unknown,
  { isLong = false }: { readonly isLong?: boolean } = {},
): string | null {
  return errorOf(isLong ? long : incoming, schema, value);
}

/** What is wrong with a value that is to go out, as JSON has it, or `null`. */
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

/** Where a schema is, from `/schemas/<service>/` on, with the `#` that references carry. */
export function schemaPath(serviceName: string, { $id }: Schema): string {
  const root = `/schemas/${serviceName}/`;
  if (!$id.startsWith(root)) {
    throw new Error(`schema ${$id} is none of ${serviceName}'s: its $id must begin with ${root}`);
  }
  return $id.slice(root.length);
}
