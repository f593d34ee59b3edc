/** JSON schemas of the queue's requests, as in Taskcluster's references. */
import { PRIORITIES, STABILITIES } from '../storage/store.js';

const SLUGID = '^[A-Za-z0-9_-]{8}[Q-T][A-Za-z0-9_-][CGKOSWaeimquy26-][A-Za-z0-9_-]{10}[AQgw]$';
const PROVISIONER_ID = '^[a-zA-Z0-9-_]{1,38}$';
const WORKER_TYPE = '^[a-z]([-a-z0-9]{0,36}[a-z0-9])?$';
const TASK_QUEUE_ID = '^[a-zA-Z0-9-_]{1,38}/[a-z]([-a-z0-9]{0,36}[a-z0-9])?$';

export const identifier = {
  type: 'string',
  minLength: 1,
  maxLength: 38,
  pattern: '^([a-zA-Z0-9-_]*)$',
} as const;
export const slugid = { type: 'string', pattern: SLUGID } as const;
export const time = { type: 'string', format: 'date-time' } as const;
const contentType = { type: 'string', maxLength: 255 } as const;
const contentLength = { type: 'integer', minimum: 0 } as const;
const scope = { type: 'string', pattern: '^[ -~]*$' } as const;

/** The patterns of the parameters in the queue's routes. */
export const ROUTE_PARAMETERS = {
  taskId: new RegExp(SLUGID),
  taskGroupId: new RegExp(SLUGID),
  taskQueueId: new RegExp(TASK_QUEUE_ID),
  provisionerId: new RegExp(PROVISIONER_ID),
  workerType: new RegExp(PROVISIONER_ID),
  workerGroup: new RegExp(PROVISIONER_ID),
  workerId: new RegExp(PROVISIONER_ID),
  runId: /^[1-9]*[0-9]+$/,
  name: /^[\x20-\x7e]+$/,
} as const;

export const createTaskRequest = {
  $id: '/schemas/queue/v1/create-task-request.json#',
  type: 'object',
  properties: {
    provisionerId: { type: 'string', pattern: PROVISIONER_ID },
    workerType: { type: 'string', pattern: WORKER_TYPE },
    taskQueueId: { type: 'string', pattern: TASK_QUEUE_ID },
    schedulerId: { ...identifier, default: '-' },
    projectId: {
      type: 'string',
      minLength: 1,
      maxLength: 500,
      pattern: '^([a-zA-Z0-9._/-]*)$',
      default: 'none',
    },
    taskGroupId: slugid,
    dependencies: { type: 'array', items: slugid, maxItems: 10000, uniqueItems: true, default: [] },
    requires: { type: 'string', enum: ['all-completed', 'all-resolved'], default: 'all-completed' },
    routes: {
      type: 'array',
      items: { type: 'string', minLength: 1, maxLength: 249 },
      maxItems: 64,
      uniqueItems: true,
      default: [],
    },
    priority: { type: 'string', enum: PRIORITIES, default: 'lowest' },
    retries: { type: 'integer', minimum: 0, maximum: 49, default: 5 },
    created: time,
    deadline: time,
    expires: time,
    scopes: { type: 'array', items: scope, default: [] },
    payload: { type: 'object' },
    metadata: {
      type: 'object',
      properties: {
        name: { type: 'string', maxLength: 255 },
        description: { type: 'string', maxLength: 32768 },
        owner: { type: 'string', maxLength: 255 },
        source: { type: 'string', maxLength: 4096, pattern: '^(https?://|ssh://|git@)' },
      },
      additionalProperties: false,
      required: ['name', 'description', 'owner', 'source'],
    },
    tags: {
      type: 'object',
      additionalProperties: { type: 'string', maxLength: 4096 },
      default: {},
    },
    extra: { type: 'object', default: {} },
  },
  additionalProperties: false,
  required: ['created', 'deadline', 'payload', 'metadata'],
} as const;

export const claimWorkRequest = {
  $id: '/schemas/queue/v1/claim-work-request.json#',
  type: 'object',
  properties: {
    workerGroup: identifier,
    workerId: identifier,
    tasks: { type: 'integer', minimum: 1, maximum: 32, default: 1 },
  },
  additionalProperties: false,
  required: ['workerGroup', 'workerId', 'tasks'],
} as const;

export const taskClaimRequest = {
  $id: '/schemas/queue/v1/task-claim-request.json#',
  type: 'object',
  properties: { workerGroup: identifier, workerId: identifier },
  additionalProperties: false,
  required: ['workerGroup', 'workerId'],
} as const;

/** The list may repeat ids and contain ids of unknown tasks. */
export const tasksRequest = {
  $id: '/schemas/queue/v1/tasks-request.json#',
  type: 'object',
  properties: { taskIds: { type: 'array', items: { type: 'string' }, default: [] } },
  additionalProperties: false,
} as const;

export const changeTaskPriorityRequest = {
  $id: '/schemas/queue/v1/change-task-priority-request.json#',
  type: 'object',
  properties: { newPriority: { type: 'string', enum: PRIORITIES } },
  additionalProperties: false,
  required: ['newPriority'],
} as const;

export const quarantineWorkerRequest = {
  $id: '/schemas/queue/v1/quarantine-worker-request.json#',
  type: 'object',
  properties: { quarantineUntil: time, quarantineInfo: { type: 'string', maxLength: 4000 } },
  additionalProperties: false,
  required: ['quarantineUntil'],
} as const;

/**
 * The declaration of a provisioner or a worker type. A body without a property names no scope, so that every caller
 * could send it: it is refused.
 */
const declaration = {
  type: 'object',
  properties: {
    stability: { type: 'string', enum: STABILITIES },
    description: { type: 'string' },
    expires: time,
  },
  additionalProperties: false,
  minProperties: 1,
} as const;

const action = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    title: { type: 'string' },
    context: { type: 'string', enum: ['provisioner', 'worker-type', 'worker'] },
    url: { type: 'string' },
    method: { type: 'string', enum: ['POST', 'PUT', 'DELETE', 'PATCH'] },
    description: { type: 'string' },
  },
  required: ['name', 'title', 'context', 'url', 'method', 'description'],
  additionalProperties: false,
} as const;

export const updateProvisionerRequest = {
  ...declaration,
  $id: '/schemas/queue/v1/update-provisioner-request.json#',
  properties: {
    ...declaration.properties,
    actions: { type: 'array', uniqueItems: true, items: action },
  },
} as const;

export const updateWorkerTypeRequest = {
  ...declaration,
  $id: '/schemas/queue/v1/update-workertype-request.json#',
} as const;

export const updateWorkerRequest = {
  $id: '/schemas/queue/v1/update-worker-request.json#',
  type: 'object',
  properties: { expires: time },
  additionalProperties: false,
  required: ['expires'],
} as const;

export const taskExceptionRequest = {
  $id: '/schemas/queue/v1/task-exception-request.json#',
  type: 'object',
  properties: {
    reason: {
      type: 'string',
      enum: [
        'worker-shutdown',
        'malformed-payload',
        'resource-unavailable',
        'internal-error',
        'intermittent-task',
      ],
    },
  },
  additionalProperties: false,
  required: ['reason'],
} as const;

export const postArtifactRequest = {
  $id: '/schemas/queue/v1/post-artifact-request.json#',
  oneOf: [
    {
      type: 'object',
      properties: { storageType: { const: 's3' }, expires: time, contentType, contentLength },
      additionalProperties: false,
      required: ['storageType', 'expires', 'contentType'],
    },
    {
      type: 'object',
      properties: { storageType: { const: 'object' }, expires: time, contentType, contentLength },
      additionalProperties: false,
      required: ['storageType', 'expires', 'contentType'],
    },
    {
      type: 'object',
      properties: {
        storageType: { const: 'reference' },
        expires: time,
        contentType,
        url: { type: 'string', format: 'uri' },
      },
      additionalProperties: false,
      required: ['storageType', 'expires', 'url', 'contentType'],
    },
    {
      type: 'object',
      properties: {
        storageType: { const: 'link' },
        expires: time,
        contentType,
        artifact: { type: 'string' },
      },
      additionalProperties: false,
      required: ['storageType', 'expires', 'artifact'],
    },
    {
      type: 'object',
      properties: {
        storageType: { const: 'error' },
        expires: time,
        reason: {
          type: 'string',
          enum: [
            'file-missing-on-worker',
            'invalid-resource-on-worker',
            'too-large-file-on-worker',
            'file-not-readable-on-worker',
          ],
        },
        message: { type: 'string', maxLength: 4096 },
      },
      additionalProperties: false,
      required: ['storageType', 'expires', 'reason', 'message'],
    },
  ],
} as const;

export const finishArtifactRequest = {
  $id: '/schemas/queue/v1/finish-artifact-request.json#',
  type: 'object',
  properties: { uploadId: slugid },
  additionalProperties: false,
  required: ['uploadId'],
} as const;
