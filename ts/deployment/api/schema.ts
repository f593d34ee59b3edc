/**
 * Validation of what comes in against JSON schemas, with the message that Taskcluster's services
 * give. Defaults of a schema are filled into what it accepts.
 */
import { Ajv, type JSONSchemaType } from 'ajv';
import addFormats from 'ajv-formats';

/** A JSON schema with an `$id` such as `/schemas/queue/v1/create-task-request.json#`. */
export interface Schema {
  readonly $id: string;
  readonly [keyword: string]: unknown;
}

const ajv = new Ajv({ useDefaults: true, allErrors: true, strict: false });
addFormats.default(ajv);

/** What is wrong with the value, as one message in Markdown, or `null`. */
export function schemaError(schema: Schema, value: unknown): string | null {
  const validate = ajv.getSchema(schema.$id) ?? ajv.compile(schema as JSONSchemaType<unknown>);
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
