/** Endpoints that create, list, describe and download artifacts. */
import { type ApiBuilder, type ApiRequest, Reply } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import { instant } from '../api/instant.js';
import { PAGE_QUERY, page } from '../api/pages.js';
import type { ScopeTemplate } from '../api/scope-template.js';
import type { Store, Task } from '../storage/store.js';
import {
  artifactContentResponse,
  artifactResponse,
  getArtifactResponse,
  listArtifactsResponse,
  postArtifactResponse,
} from './answers.js';
import {
  type ArtifactName,
  checkArtifact,
  createArtifact,
  findArtifact,
  followLinks,
  serializeArtifact,
} from './artifacts.js';
import type { QueueContext } from './context.js';
import { finishArtifactRequest, postArtifactRequest } from './schemas.js';

type Queue = ApiBuilder<QueueContext>;

/** Lifetime of the URLs of uploads and downloads, in seconds. */
const UPLOAD_LIFETIME = 45 * 60;
const DOWNLOAD_LIFETIME = 30 * 60;

export function declareArtifactEndpoints(queue: Queue): void {
  declareCreation(queue);
  declareFinish(queue);
  declareDownloads(queue);
  declareLists(queue);
  declareInfo(queue);
  declareContent(queue);
}

function declareCreation(queue: Queue): void {
  queue.declare(
    {
      name: 'createArtifact',
      method: 'post',
      route: '/task/:taskId/runs/:runId/artifacts/{*name}',
      title: 'Create Artifact',
      category: 'Artifacts',
      output: postArtifactResponse,
      scopes: 'queue:create-artifact:<taskId>/<runId>',
      input: postArtifactRequest,
    },
    async ({ params, body, rootUrl }, { store, objects }) => {
      const key = artifactName(params);
      checkArtifact(await store.tasks.get(key.taskId), key, instant(body.expires));
      const { content, contentType } = await createArtifact(store, objects, key, body);
      if (content.storageType !== 's3') {
        return { storageType: content.storageType };
      }
      return {
        storageType: content.storageType,
        contentType,
        expires: new Date(Date.now() + UPLOAD_LIFETIME * 1000).toJSON(),
        putUrl: await objects.putUrl(content, contentType, UPLOAD_LIFETIME, rootUrl),
      };
    },
  );
}

/** No artifact needs to be finished, since there is no object service. */
function declareFinish(queue: Queue): void {
  queue.declare(
    {
      name: 'finishArtifact',
      method: 'put',
      route: '/task/:taskId/runs/:runId/artifacts/{*name}',
      title: 'Finish Artifact',
      category: 'Artifacts',
      scopes: 'queue:create-artifact:<taskId>/<runId>',
      input: finishArtifactRequest,
    },
    async ({ params }, { store }) => {
      if ((await findArtifact(store, artifactName(params))) === undefined) {
        throw new ApiError(
          'ResourceNotFound',
          'Artifact with taskId `{{taskId}}`, runId {{runId}}, name `{{name}}` not found',
          { ...params },
        );
      }
      throw new ApiError('InputError', 'Only object artifacts can be finished');
    },
  );
}

function artifactName(params: { taskId: string; runId: string; name: string }): ArtifactName {
  return { ...params, runId: Number(params.runId) };
}

/** The artifact of this name in the task's latest run. @throws ApiError `ResourceNotFound` */
async function latest(store: Store, taskId: string, name: string): Promise<ArtifactName> {
  return { taskId, runId: latestRunId(await store.tasks.get(taskId)), name };
}

function latestRunId(task: Task | undefined): number {
  if (task === undefined) {
    throw new ApiError('ResourceNotFound', 'Task not found');
  }
  if (task.runs.length === 0) {
    throw new ApiError('ResourceNotFound', "Task doesn't have any runs");
  }
  return task.runs.length - 1;
}

/** The scopes for every name on the way to the artifact, links included. */
const GET_ARTIFACT: ScopeTemplate = {
  AllOf: [{ for: 'name', in: 'names', each: 'queue:get-artifact:<name>' }],
};

function declareDownloads(queue: Queue): void {
  queue.declare(
    {
      name: 'getArtifact',
      method: 'get',
      route: '/task/:taskId/runs/:runId/artifacts/{*name}',
      title: 'Get Artifact Data from Run',
      category: 'Artifacts',
      output: getArtifactResponse,
      anonymous: { name: 'public/*' },
      scopes: GET_ARTIFACT,
      authorizesFirst: true,
    },
    ({ params, ...request }, context) => download(artifactName(params), request, context),
  );
  queue.declare(
    {
      name: 'getLatestArtifact',
      method: 'get',
      route: '/task/:taskId/artifacts/{*name}',
      title: 'Get Artifact Data from Latest Run',
      category: 'Artifacts',
      output: getArtifactResponse,
      anonymous: { name: 'public/*' },
      scopes: GET_ARTIFACT,
      authorizesFirst: true,
    },
    async ({ params: { taskId, name }, ...request }, context) => {
      await request.authorize({ names: [name] });
      return download(await latest(context.store, taskId, name), request, context);
    },
  );
}

/** The caller of an artifact endpoint. */
type Asking = Pick<ApiRequest, 'authorize' | 'rootUrl'>;

/** A redirect to the artifact's content. */
async function download(key: ArtifactName, request: Asking, context: QueueContext): Promise<Reply> {
  const content = await contentOf(key, request, context);
  const headers = { 'x-taskcluster-artifact-storage-type': content.storageType };
  if (content.storageType === 'error') {
    return new Reply(424, { reason: content.reason, message: content.message }, headers);
  }
  return new Reply(303, content, { ...headers, location: content.url });
}

/** The answer of `artifact`: the URL of the content, or why there is none. */
type Content =
  | { readonly storageType: 's3' | 'reference'; readonly url: string }
  | { readonly storageType: 'error'; readonly reason: string; readonly message: string };

async function contentOf(
  key: ArtifactName,
  { authorize, rootUrl }: Asking,
  { store, objects }: QueueContext,
): Promise<Content> {
  const content = await followLinks(store, key, (names) => authorize({ names }));
  if (content.storageType !== 's3') {
    return content;
  }
  return { storageType: 's3', url: await objects.getUrl(content, DOWNLOAD_LIFETIME, rootUrl) };
}

function declareLists(queue: Queue): void {
  queue.declare(
    {
      name: 'listArtifacts',
      method: 'get',
      route: '/task/:taskId/runs/:runId/artifacts',
      query: PAGE_QUERY,
      title: 'Get Artifacts from Run',
      category: 'Artifacts',
      output: listArtifactsResponse,
      anonymous: true,
      scopes: 'queue:list-artifacts:<taskId>:<runId>',
    },
    async ({ params, query }, { store }) => {
      const { taskId } = params;
      const runId = Number(params.runId);
      if (runId > latestRunId(await store.tasks.get(taskId))) {
        throw new ApiError(
          'ResourceNotFound',
          'Task with taskId: `{{taskId}}` has no run with runId: {{runId}}',
          { taskId, runId },
        );
      }
      return listArtifacts(store, taskId, runId, query);
    },
  );
  queue.declare(
    {
      name: 'listLatestArtifacts',
      method: 'get',
      route: '/task/:taskId/artifacts',
      query: PAGE_QUERY,
      title: 'Get Artifacts from Latest Run',
      category: 'Artifacts',
      output: listArtifactsResponse,
      anonymous: true,
      scopes: 'queue:list-artifacts:<taskId>',
    },
    async ({ params: { taskId }, query }, { store }) =>
      listArtifacts(store, taskId, latestRunId(await store.tasks.get(taskId)), query),
  );
}

async function listArtifacts(
  store: Store,
  taskId: string,
  runId: number,
  query: Readonly<Record<string, string | undefined>>,
): Promise<object> {
  const { entries, continuationToken } = await page(
    query,
    (request) => store.artifacts.list(taskId, runId, request),
    ({ name }) => name,
  );
  return { artifacts: entries.map(serializeArtifact), continuationToken };
}

/** The description of an artifact takes the scope to list it, its content another one. */
function declareInfo(queue: Queue): void {
  queue.declare(
    {
      name: 'artifactInfo',
      method: 'get',
      route: '/task/:taskId/runs/:runId/artifact-info/{*name}',
      title: 'Get Artifact Information From Run',
      category: 'Artifacts',
      output: artifactResponse,
      anonymous: true,
      scopes: 'queue:list-artifacts:<taskId>:<runId>',
    },
    ({ params }, { store }) => artifactInfo(store, artifactName(params)),
  );
  queue.declare(
    {
      name: 'latestArtifactInfo',
      method: 'get',
      route: '/task/:taskId/artifact-info/{*name}',
      title: 'Get Artifact Information From Latest Run',
      category: 'Artifacts',
      output: artifactResponse,
      anonymous: true,
      scopes: 'queue:list-artifacts:<taskId>',
    },
    async ({ params: { taskId, name } }, { store }) =>
      artifactInfo(store, await latest(store, taskId, name)),
  );
}

async function artifactInfo(store: Store, { taskId, runId, name }: ArtifactName): Promise<object> {
  const artifact = await findArtifact(store, { taskId, runId, name });
  if (artifact === undefined) {
    throw new ApiError('ResourceNotFound', 'Artifact not found');
  }
  return serializeArtifact(artifact);
}

function declareContent(queue: Queue): void {
  queue.declare(
    {
      name: 'artifact',
      method: 'get',
      route: '/task/:taskId/runs/:runId/artifact-content/{*name}',
      title: 'Get Artifact Content From Run',
      category: 'Artifacts',
      output: artifactContentResponse,
      anonymous: { name: 'public/*' },
      scopes: GET_ARTIFACT,
      authorizesFirst: true,
    },
    ({ params, ...request }, context) => contentOf(artifactName(params), request, context),
  );
  queue.declare(
    {
      name: 'latestArtifact',
      method: 'get',
      route: '/task/:taskId/artifact-content/{*name}',
      title: 'Get Artifact Content From Latest Run',
      category: 'Artifacts',
      output: artifactContentResponse,
      anonymous: { name: 'public/*' },
      scopes: GET_ARTIFACT,
      authorizesFirst: true,
    },
    async ({ params: { taskId, name }, ...request }, context) => {
      await request.authorize({ names: [name] });
      return contentOf(await latest(context.store, taskId, name), request, context);
    },
  );
}
