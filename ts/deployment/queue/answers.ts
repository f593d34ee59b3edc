/** JSON schemas of the queue's answers, as in Taskcluster's references. */
import { PRIORITIES } from '../storage/store.js';
import { createTaskRequest, identifier, slugid, time } from './schemas.js';

const text = { type: 'string' } as const;
const count = { type: 'integer', minimum: 0 } as const;
const continuationToken = text;

/** An object with these properties and no others; the optional ones may be missing. */
function object<Properties extends Record<string, unknown>>(
  properties: Properties,
  optional: readonly (keyof Properties & string)[] = [],
) {
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: 'object', properties, additionalProperties: false, required } as const;
}

function answer<Properties extends Record<string, unknown>>(
  name: string,
  title: string,
  properties: Properties,
  optional: readonly (keyof Properties & string)[] = [],
) {
  return { $id: `/schemas/queue/v1/${name}.json#`, title, ...object(properties, optional) };
}

/** A definition has the properties of the request that created it, with all defaults filled in. */
const definitions = Object.fromEntries(
  Object.entries<object>(createTaskRequest.properties).map(([name, schema]) => {
    const { default: _, ...rest } = schema as { readonly default?: unknown };
    return [name, rest];
  }),
);

export const task = answer('task', 'Task Definition Response', definitions);

const run = object(
  {
    runId: { type: 'integer', minimum: 0, maximum: 1000 },
    state: { enum: ['pending', 'running', 'completed', 'failed', 'exception'] },
    reasonCreated: { enum: ['scheduled', 'retry', 'task-retry', 'rerun', 'exception'] },
    reasonResolved: text,
    workerGroup: identifier,
    workerId: identifier,
    takenUntil: time,
    scheduled: time,
    started: time,
    resolved: time,
  },
  ['reasonResolved', 'workerGroup', 'workerId', 'takenUntil', 'started', 'resolved'],
);

const status = object({
  taskId: slugid,
  provisionerId: text,
  workerType: text,
  taskQueueId: text,
  schedulerId: identifier,
  projectId: text,
  taskGroupId: slugid,
  priority: { enum: PRIORITIES },
  deadline: time,
  expires: time,
  retriesLeft: count,
  state: { enum: ['unscheduled', 'pending', 'running', 'completed', 'failed', 'exception'] },
  runs: { type: 'array', items: run },
});

const definition = object(definitions);
const taskAndStatus = { type: 'array', items: object({ status, task: definition }) } as const;

export const taskStatusResponse = answer('task-status-response', 'Task Status Response', {
  status,
});

export const tasksResponse = answer(
  'tasks-response',
  'Task definitions response',
  {
    tasks: { type: 'array', items: object({ taskId: slugid, task: definition }) },
    continuationToken,
  },
  ['continuationToken'],
);

export const tasksStatusesResponse = answer(
  'tasks-statuses-response',
  'Tasks statuses response',
  { statuses: { type: 'array', items: object({ taskId: slugid, status }) }, continuationToken },
  ['continuationToken'],
);

const group = { taskGroupId: slugid, schedulerId: identifier, expires: time, sealed: time };

export const taskGroupResponse = answer('task-group-response', 'Task group response', group, [
  'sealed',
]);

export const listTaskGroupResponse = answer(
  'list-task-group-response',
  'List Task-Group Response',
  { ...group, tasks: taskAndStatus, continuationToken },
  ['sealed', 'continuationToken'],
);

export const cancelTaskGroupResponse = answer(
  'cancel-task-group-response',
  'Cancel Task-Group Response',
  {
    taskGroupId: slugid,
    taskGroupSize: count,
    cancelledCount: count,
    taskIds: { type: 'array', items: slugid, uniqueItems: true },
  },
);

export const listDependentTasksResponse = answer(
  'list-dependent-tasks-response',
  'List Dependent Tasks Response',
  { taskId: slugid, tasks: taskAndStatus, continuationToken },
  ['continuationToken'],
);

const claim = {
  status,
  runId: { type: 'integer', minimum: 0, maximum: 1000 },
  workerGroup: identifier,
  workerId: identifier,
  takenUntil: time,
  credentials: object({ clientId: text, accessToken: text, certificate: text }),
} as const;

export const taskReclaimResponse = answer('task-reclaim-response', 'Task Reclaim Response', claim);

export const taskClaimResponse = answer('task-claim-response', 'Task Claim Response', {
  ...claim,
  task: definition,
});

export const claimWorkResponse = answer('claim-work-response', 'Claim Work Response', {
  tasks: { type: 'array', items: object({ ...claim, task: definition }) },
});

export const postArtifactResponse = {
  $id: '/schemas/queue/v1/post-artifact-response.json#',
  title: 'Post Artifact Response',
  oneOf: [
    object({ storageType: { enum: ['s3'] }, putUrl: text, expires: time, contentType: text }),
    object({ storageType: { enum: ['reference'] } }),
    object({ storageType: { enum: ['link'] } }),
    object({ storageType: { enum: ['error'] } }),
  ],
};

const artifact = {
  storageType: { enum: ['s3', 'reference', 'link', 'error'] },
  name: { type: 'string', maxLength: 1024 },
  expires: time,
  contentType: { type: 'string', maxLength: 255 },
  contentLength: count,
} as const;

export const artifactResponse = answer('artifact-response', 'Artifact', artifact, [
  'contentLength',
]);

export const listArtifactsResponse = answer(
  'list-artifacts-response',
  'List Artifacts Response',
  { artifacts: { type: 'array', items: object(artifact, ['contentLength']) }, continuationToken },
  ['continuationToken'],
);

export const artifactContentResponse = {
  $id: '/schemas/queue/v1/artifact-content-response.json#',
  title: 'Artifact Content Response',
  oneOf: [
    object({ storageType: { enum: ['s3'] }, url: text }),
    object({ storageType: { enum: ['reference'] }, url: text }),
    object({ storageType: { enum: ['error'] }, reason: text, message: text }),
  ],
};

export const getArtifactResponse = answer('get-artifact-response', 'Get Artifact Response', {
  storageType: { enum: ['s3', 'reference'] },
  url: text,
});

const taskQueue = { provisionerId: text, workerType: text, taskQueueId: text };

export const pendingTasksResponse = answer(
  'pending-tasks-response',
  'Count Pending Tasks Response',
  { ...taskQueue, pendingTasks: count },
);

export const taskQueueCountsResponse = answer(
  'task-queue-counts-response',
  'Count Task Queue Tasks Response',
  { ...taskQueue, pendingTasks: count, claimedTasks: count },
);

/** A page of pending or claimed tasks. */
const listOf = (name: string, title: string, properties: Record<string, unknown>) =>
  answer(
    name,
    title,
    {
      tasks: { type: 'array', items: object({ ...taskRun, ...properties, task: definition }) },
      continuationToken,
    },
    ['continuationToken'],
  );

const taskRun = { taskId: slugid, runId: { type: 'integer', minimum: 0, maximum: 1000 } } as const;

export const listPendingTasksResponse = listOf(
  'list-pending-tasks-response',
  'List Pending Tasks Response',
  { inserted: time },
);

export const listClaimedTasksResponse = listOf(
  'list-claimed-tasks-response',
  'List Claimed Tasks Response',
  { workerGroup: identifier, workerId: identifier, claimed: time },
);

export const taskGroupPriorityChangeResponse = answer(
  'task-group-priority-change-response',
  'Task Group Priority Change Response',
  {
    taskGroupId: slugid,
    schedulerId: identifier,
    newPriority: { enum: PRIORITIES },
    tasksAffected: count,
    taskIds: { type: 'array', items: slugid, uniqueItems: true },
  },
);

/** The fields of a task queue or a provisioner beside its name. */
const served = {
  stability: { enum: ['experimental', 'stable', 'deprecated'] },
  description: text,
  expires: time,
  lastDateActive: time,
} as const;

/** The actions that an operator could take: none here, and none in Taskcluster's own services any more. */
const actions = { type: 'array', items: {}, maxItems: 0 } as const;

const provisioner = { provisionerId: text, ...served, actions };
const workerType = { ...taskQueue, ...served };
const servedQueue = { taskQueueId: text, ...served };

function pageOf(name: string, title: string, list: string, items: object) {
  return answer(name, title, { [list]: { type: 'array', items }, continuationToken }, [
    'continuationToken',
  ]);
}

export const provisionerResponse = answer(
  'provisioner-response',
  'Provisioner Response',
  provisioner,
);
export const listProvisionersResponse = pageOf(
  'list-provisioners-response',
  'List Provisioners Response',
  'provisioners',
  object(provisioner),
);
export const workerTypeResponse = answer('workertype-response', 'Worker-type Response', {
  ...workerType,
  actions,
});
export const listWorkerTypesResponse = pageOf(
  'list-workertypes-response',
  'List Worker-Types Response',
  'workerTypes',
  object(workerType),
);
export const taskQueueResponse = answer('taskqueue-response', 'Task queue Response', servedQueue);
export const listTaskQueuesResponse = pageOf(
  'list-taskqueues-response',
  'List Task-Queues Response',
  'taskQueues',
  object(servedQueue),
);

const worker = {
  workerGroup: identifier,
  workerId: identifier,
  quarantineUntil: time,
  firstClaim: time,
  lastDateActive: time,
} as const;

export const workerResponse = answer('worker-response', 'Worker Response', {
  ...taskQueue,
  ...worker,
  expires: time,
  actions,
  recentTasks: { type: 'array', items: object(taskRun) },
});
export const listWorkersResponse = pageOf(
  'list-workers-response',
  'List Workers Response',
  'workers',
  object({ ...worker, latestTask: object(taskRun) }, ['quarantineUntil', 'latestTask']),
);
