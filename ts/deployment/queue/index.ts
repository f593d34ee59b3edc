/**
 * The queue: tasks are created, claimed by workers, worked on and resolved; their artifacts are
 * kept.
 *
 * What it is not yet: runs are not resolved when their claim or their task's deadline passes, and
 * a task with dependencies is refused.
 */
import { isDeepStrictEqual } from 'node:util';
import { ApiBuilder, type ApiRequest, Reply } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import type { ScopeTemplate } from '../api/scope-template.js';
import type { ObjectStore } from '../storage/object-store.js';
import { PRIORITIES, type Store, type Task, type TaskDefinition } from '../storage/store.js';
import {
  type ArtifactName,
  checkArtifact,
  createArtifact,
  followLinks,
  serializeArtifact,
} from './artifacts.js';
import type { Claims } from './claims.js';
import {
  claimWorkRequest,
  createTaskRequest,
  postArtifactRequest,
  ROUTE_PARAMETERS,
  taskClaimRequest,
} from './schemas.js';
import {
  checkTimes,
  defineTask,
  foundRun,
  foundTask,
  isLastRun,
  newTask,
  taskStatus,
  withRun,
} from './task.js';

export interface QueueContext {
  readonly store: Store;
  readonly claims: Claims;
  readonly objects: ObjectStore;
  readonly rootUrl: string;
}

/** For how long the URLs of uploads and downloads are good, in seconds. */
const UPLOAD_LIFETIME = 45 * 60;
const DOWNLOAD_LIFETIME = 30 * 60;

const PAGE_SIZE = 1000;
const PAGE_QUERY = { continuationToken: /./, limit: /^[0-9]+$/ };

export const queue = new ApiBuilder<QueueContext>({
  serviceName: 'queue',
  apiVersion: 'v1',
  params: ROUTE_PARAMETERS,
});

queue.declare(
  {
    name: 'task',
    method: 'get',
    route: '/task/:taskId',
    title: 'Get Task Definition',
    scopes: 'queue:get-task:<taskId>',
  },
  async ({ params: { taskId } }, { store }) =>
    foundTask(await store.tasks.get(taskId), taskId).definition,
);

queue.declare(
  {
    name: 'status',
    method: 'get',
    route: '/task/:taskId/status',
    title: 'Get task status',
    scopes: 'queue:status:<taskId>',
  },
  async ({ params: { taskId } }, { store }) => ({
    status: taskStatus(foundTask(await store.tasks.get(taskId), taskId)),
  }),
);

queue.declare(
  {
    name: 'createTask',
    method: 'put',
    route: '/task/:taskId',
    title: 'Create New Task',
    scopes: {
      AllOf: [
        { for: 'scope', in: 'scopes', each: '<scope>' },
        { for: 'route', in: 'routes', each: 'queue:route:<route>' },
        'queue:create-task:project:<projectId>',
        'queue:scheduler-id:<schedulerId>',
        {
          AnyOf: [
            {
              for: 'priority',
              in: 'priorities',
              each: 'queue:create-task:<priority>:<provisionerId>/<workerType>',
            },
          ],
        },
      ],
    },
    input: createTaskRequest,
  },
  async ({ params: { taskId }, body, authorize }, { store, claims }) => {
    const definition = defineTask(taskId, body);
    await authorize(creationParameters(definition));
    checkTimes(definition);
    if (definition.scopes.some((scope) => scope.endsWith('**'))) {
      throw new ApiError('InputError', 'scopes must not end with `**`');
    }
    const task = await store.tasks.add(newTask(taskId, definition));
    if (!isDeepStrictEqual(task.definition, definition)) {
      throw new ApiError(
        'RequestConflict',
        `taskId \`${taskId}\` already used by another task.\nThis could be the result of faulty idempotency!`,
      );
    }
    claims.wake(definition.taskQueueId);
    return { status: taskStatus(task) };
  },
);

/** A scope for a priority is good for those below it too. */
function creationParameters(definition: TaskDefinition) {
  const { provisionerId, workerType, projectId, schedulerId, scopes, routes } = definition;
  const priorities = PRIORITIES.slice(0, PRIORITIES.indexOf(definition.priority) + 1);
  return { provisionerId, workerType, projectId, schedulerId, scopes, routes, priorities };
}

queue.declare(
  {
    name: 'claimWork',
    method: 'post',
    route: '/claim-work/{*taskQueueId}',
    title: 'Claim Work',
    scopes: {
      AllOf: ['queue:claim-work:<taskQueueId>', 'queue:worker-id:<workerGroup>/<workerId>'],
    },
    input: claimWorkRequest,
  },
  async ({ params: { taskQueueId }, body, authorize, signal }, { claims }) => {
    const { workerGroup, workerId, tasks } = body;
    await authorize({ taskQueueId, workerGroup, workerId });
    const worker = { workerGroup, workerId };
    return { tasks: await claims.claimWork(taskQueueId, worker, tasks, signal) };
  },
);

queue.declare(
  {
    name: 'claimTask',
    method: 'post',
    route: '/task/:taskId/runs/:runId/claim',
    title: 'Claim Task',
    scopes: {
      AllOf: [
        'queue:claim-task:<provisionerId>/<workerType>',
        'queue:worker-id:<workerGroup>/<workerId>',
      ],
    },
    input: taskClaimRequest,
  },
  async ({ params, body, authorize }, { store, claims }) => {
    const task = foundTask(await store.tasks.get(params.taskId), params.taskId);
    const { provisionerId, workerType } = task.definition;
    await authorize({ ...body, provisionerId, workerType });
    return claims.claimTask(task.taskId, Number(params.runId), body);
  },
);

queue.declare(
  {
    name: 'reclaimTask',
    method: 'post',
    route: '/task/:taskId/runs/:runId/reclaim',
    title: 'Reclaim task',
    scopes: 'queue:reclaim-task:<taskId>/<runId>',
  },
  ({ params: { taskId, runId } }, { claims }) => claims.reclaimTask(taskId, Number(runId)),
);

for (const [name, state] of [
  ['reportCompleted', 'completed'],
  ['reportFailed', 'failed'],
] as const) {
  queue.declare(
    {
      name,
      method: 'post',
      route: `/task/:taskId/runs/:runId/${state}`,
      title: `Report Run ${state === 'completed' ? 'Completed' : 'Failed'}`,
      scopes: 'queue:resolve-task:<taskId>/<runId>',
    },
    async ({ params: { taskId, runId } }, { store }) => ({
      status: taskStatus(await resolveRun(store, taskId, Number(runId), state)),
    }),
  );
}

/** Resolves a running run; doing so again with the same outcome changes nothing. */
async function resolveRun(
  store: Store,
  taskId: string,
  runId: number,
  state: 'completed' | 'failed',
): Promise<Task> {
  const changed = await store.tasks.change(taskId, (task) =>
    isLastRun(task, runId, 'running')
      ? withRun(task, runId, { state, reasonResolved: state, resolved: new Date().toJSON() })
      : task,
  );
  const task = foundTask(changed, taskId);
  foundRun(task, runId);
  if (!isLastRun(task, runId, state)) {
    throw new ApiError(
      'RequestConflict',
      `Run ${runId} on task \`${taskId}\` is resolved or not running.`,
    );
  }
  return task;
}

queue.declare(
  {
    name: 'createArtifact',
    method: 'post',
    route: '/task/:taskId/runs/:runId/artifacts/{*name}',
    title: 'Create Artifact',
    scopes: 'queue:create-artifact:<taskId>/<runId>',
    input: postArtifactRequest,
  },
  async ({ params, body }, { store, objects, rootUrl }) => {
    const key = artifactName(params);
    checkArtifact(await store.tasks.get(key.taskId), key, new Date(body.expires));
    const { content, contentType } = await createArtifact(store, key, body);
    const { storageType } = content;
    if (storageType !== 's3') {
      return { storageType };
    }
    return {
      storageType,
      contentType,
      expires: new Date(Date.now() + UPLOAD_LIFETIME * 1000).toJSON(),
      putUrl: rootUrl + objects.putTarget(content.objectName, contentType, UPLOAD_LIFETIME),
    };
  },
);

function artifactName(params: { taskId: string; runId: string; name: string }): ArtifactName {
  return { ...params, runId: Number(params.runId) };
}

const LIST_QUERY = { query: PAGE_QUERY, method: 'get' } as const;

queue.declare(
  {
    ...LIST_QUERY,
    name: 'listArtifacts',
    route: '/task/:taskId/runs/:runId/artifacts',
    title: 'Get Artifacts from Run',
    scopes: 'queue:list-artifacts:<taskId>:<runId>',
  },
  async ({ params, query }, { store }) => {
    const task = foundTask(await store.tasks.get(params.taskId), params.taskId);
    foundRun(task, Number(params.runId));
    return listArtifacts(store, task, Number(params.runId), query);
  },
);

queue.declare(
  {
    ...LIST_QUERY,
    name: 'listLatestArtifacts',
    route: '/task/:taskId/artifacts',
    title: 'Get Artifacts from Latest Run',
    scopes: 'queue:list-artifacts:<taskId>',
  },
  async ({ params: { taskId }, query }, { store }) => {
    const task = foundTask(await store.tasks.get(taskId), taskId);
    return listArtifacts(store, task, task.runs.length - 1, query);
  },
);

async function listArtifacts(
  store: Store,
  { taskId }: Task,
  runId: number,
  { continuationToken = '', limit }: Readonly<Record<string, string | undefined>>,
): Promise<object> {
  const size = Math.min(Number(limit ?? PAGE_SIZE), PAGE_SIZE);
  const after = Buffer.from(continuationToken, 'base64url').toString();
  const found = await store.artifacts.list(taskId, runId, { after, limit: size + 1 });
  const page = found.slice(0, size);
  const last = found.length > size ? page.at(-1) : undefined;
  return {
    artifacts: page.map(serializeArtifact),
    continuationToken: last && Buffer.from(last.name).toString('base64url'),
  };
}

/** Every name on the way to the artifact counts, links included. */
const GET_ARTIFACT: ScopeTemplate = {
  AllOf: [{ for: 'name', in: 'names', each: 'queue:get-artifact:<name>' }],
};

queue.declare(
  {
    name: 'getArtifact',
    method: 'get',
    route: '/task/:taskId/runs/:runId/artifacts/{*name}',
    title: 'Get Artifact Data from Run',
    scopes: GET_ARTIFACT,
  },
  ({ params, authorize }, context) => download(artifactName(params), authorize, context),
);

queue.declare(
  {
    name: 'getLatestArtifact',
    method: 'get',
    route: '/task/:taskId/artifacts/{*name}',
    title: 'Get Artifact Data from Latest Run',
    scopes: GET_ARTIFACT,
  },
  async ({ params: { taskId, name }, authorize }, context) => {
    await authorize({ names: [name] });
    const task = foundTask(await context.store.tasks.get(taskId), taskId);
    return download({ taskId, runId: task.runs.length - 1, name }, authorize, context);
  },
);

/** Where the artifact can be had, as a redirect that clients follow. */
async function download(
  key: ArtifactName,
  authorize: ApiRequest['authorize'],
  { store, objects, rootUrl }: QueueContext,
): Promise<Reply> {
  const content = await followLinks(store, key, (names) => authorize({ names }));
  const { storageType } = content;
  const headers = { 'x-taskcluster-artifact-storage-type': storageType };
  if (content.storageType === 'error') {
    return new Reply(424, { reason: content.reason, message: content.message }, headers);
  }
  const url =
    content.storageType === 'reference'
      ? content.url
      : rootUrl + objects.getTarget(content.objectName, DOWNLOAD_LIFETIME);
  return new Reply(303, { storageType, url }, { ...headers, location: url });
}
