/**
 * Serves the documents from which clients are generated: `/references/` and `/schemas/`, as Taskcluster's
 * references service does. They describe only the program and nothing that a deployment stores, so every
 * caller may read them.
 */
import express, { type Router } from 'express';
import type { PublicUrl } from '../public-url.js';
import { apiReference, type Declarations, openApi, schemasOf } from './reference.js';
import { REFERENCE_FORMAT } from './reference-format.js';

/** The placeholder of the root URL, which depends on the client's request. */
const PLACEHOLDER = 'https://root-url.invalid';

const METASCHEMA = '/schemas/common/metaschema.json#';

/** The router of all services' references and schemas, to be mounted at the root. */
export function documents(apis: readonly Declarations[], publicUrl: Pick<PublicUrl, 'of'>): Router {
  const rootUrl = PLACEHOLDER;
  const byPath = new Map<string, object>([
    ['/schemas/common/metaschema.json', JSON_SCHEMA],
    ['/schemas/common/api-reference-v0.json', REFERENCE_FORMAT],
    ['/references/manifest.json', manifest(apis, rootUrl)],
  ]);
  for (const api of apis) {
    const folder = `/references/${api.serviceName}/${api.apiVersion}`;
    byPath.set(`${folder}/api.json`, apiReference(api));
    byPath.set(`${folder}/openapi.json`, openApi(api, rootUrl));
    for (const schema of schemasOf(api)) {
      byPath.set(schema.$id.replace(/#$/, ''), { $schema: METASCHEMA, ...schema });
    }
  }
  // Made once and not for each request: some are long.
  const texts = new Map(
    [...byPath].map(([path, document]) => [
      path,
      JSON.stringify(absolute(document, rootUrl), null, 2),
    ]),
  );
  const router = express.Router({ caseSensitive: true });
  router.get(/^\/(references|schemas)\//, (request, response, next) => {
    const text = texts.get(request.path);
    if (text === undefined) {
      next();
    } else {
      const own = text.replaceAll(PLACEHOLDER, publicUrl.of(request));
      response.set('Access-Control-Allow-Origin', '*').type('application/json').send(own);
    }
  });
  return router;
}

/** The document with its own URL and the URL of its format. */
function absolute(document: object, rootUrl: string): object {
  const entries = Object.entries(document).map(([key, value]) =>
    /^\$(schema|id)$/.test(key) && String(value).startsWith('/')
      ? [key, `${rootUrl}${value}`]
      : [key, value],
  );
  return Object.fromEntries(entries);
}

/** The list of all references. */
function manifest(apis: readonly Declarations[], rootUrl: string): object {
  return {
    $schema: '/schemas/common/manifest-v3.json#',
    references: apis
      .map(
        ({ serviceName, apiVersion }) =>
          `${rootUrl}/references/${serviceName}/${apiVersion}/api.json`,
      )
      .sort(),
  };
}

/** The deployment's schemas use only keywords of every draft since the sixth. */
const JSON_SCHEMA = {
  $schema: 'http://json-schema.org/draft-06/schema#',
  $id: METASCHEMA,
  title: 'JSON schema, draft 6',
  allOf: [{ $ref: 'http://json-schema.org/draft-06/schema#' }],
} as const;
