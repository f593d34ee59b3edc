/** Endpoints that describe task queues and their workers, and put workers into quarantine. */
import type { ApiBuilder } from '../api/builder.js';
import { checkDescription } from '../api/description.js';
import { ApiError } from '../api/errors.js';
import { instant } from '../api/instant.js';
import { PAGE_QUERY, page } from '../api/pages.js';
import {
  type KnownWorker,
  type ServedQueue,
  type Store,
  type WorkerName,
  workerKey,
} from '../storage/store.js';
import {
  listProvisionersResponse,
  listTaskQueuesResponse,
  listWorkersResponse,
  listWorkerTypesResponse,
  provisionerResponse,
  taskQueueResponse,
  workerResponse,
  workerTypeResponse,
} from './answers.js';
import type { QueueContext } from './context.js';
import {
  quarantineWorkerRequest,
  updateProvisionerRequest,
  updateWorkerRequest,
  updateWorkerTypeRequest,
} from './schemas.js';
import { isQuarantined, noteWorker } from './workers.js';

type Queue = ApiBuilder<QueueContext>;

const CATEGORY = 'Worker Metadata';

/** Shortest lifetime of a worker's record after a change of its quarantine. */
const DAY = 24 * 60 * 60 * 1000;

export function declareWorkerEndpoints(queue: Queue): void {
  declareProvisioners(queue);
  declareWorkerTypes(queue);
  declareTaskQueues(queue);
  declareWorkers(queue);
  declareQuarantine(queue);
  declareDeclaration(queue);
}

const keyOf = ({ id }: ServedQueue) => id;

function serializeServed({ expires, lastActive, description, stability }: ServedQueue) {
  return {
    expires: expires.toJSON(),
    lastDateActive: lastActive.toJSON(),
    description,
    stability,
  };
}

function serializeProvisioner(provisioner: ServedQueue) {
  return { provisionerId: provisioner.id, ...serializeServed(provisioner), actions: [] };
}

function serializeQueue(queue: ServedQueue) {
  return { taskQueueId: queue.id, ...serializeServed(queue) };
}

function serializeWorkerType(queue: ServedQueue) {
  return { ...serializeQueue(queue), ...parts(queue.id) };
}

function parts(taskQueueId: string) {
  const [provisionerId, workerType] = taskQueueId.split('/');
  return { provisionerId, workerType };
}

function declareProvisioners(queue: Queue): void {
  queue.declare(
    {
      name: 'listProvisioners',
      method: 'get',
      route: '/provisioners',
      query: PAGE_QUERY,
      title: 'Get a list of all active provisioners',
      category: CATEGORY,
      stability: 'deprecated',
      output: listProvisionersResponse,
      anonymous: true,
      scopes: 'queue:list-provisioners',
    },
    async ({ query }, { store }) => {
      const { entries, continuationToken } = await page(
        query,
        (request) => store.taskQueues.provisioners(new Date(), request),
        keyOf,
      );
      return { provisioners: entries.map(serializeProvisioner), continuationToken };
    },
  );
  queue.declare(
    {
      name: 'getProvisioner',
      method: 'get',
      route: '/provisioners/:provisionerId',
      title: 'Get an active provisioner',
      category: CATEGORY,
      stability: 'deprecated',
      output: provisionerResponse,
      anonymous: true,
      scopes: 'queue:get-provisioner:<provisionerId>',
    },
    ({ params: { provisionerId } }, { store }) => shownProvisioner(store, provisionerId),
  );
  queue.declare(
    {
      name: 'declareProvisioner',
      method: 'put',
      route: '/provisioners/:provisionerId',
      title: 'Update a provisioner',
      category: CATEGORY,
      stability: 'deprecated',
      output: provisionerResponse,
      scopes: {
        AllOf: [
          {
            for: 'property',
            in: 'properties',
            each: 'queue:declare-provisioner:<provisionerId>#<property>',
          },
        ],
      },
      input: updateProvisionerRequest,
    },
    async ({ params: { provisionerId }, body, authorize }, { store }) => {
      await authorize({ provisionerId, properties: Object.keys(body) });
      // Nothing is written, as in Taskcluster's own queue, which no longer keeps provisioners.
      return shownProvisioner(store, provisionerId);
    },
  );
}

async function shownProvisioner(store: Store, provisionerId: string) {
  const provisioner = await store.taskQueues.provisioner(provisionerId, new Date());
  if (provisioner === undefined) {
    throw new ApiError(
      'ResourceNotFound',
      'Provisioner `{{provisionerId}}` not found. Are you sure it was created?',
      { provisionerId },
    );
  }
  return serializeProvisioner(provisioner);
}

function declareWorkerTypes(queue: Queue): void {
  queue.declare(
    {
      name: 'listWorkerTypes',
      method: 'get',
      route: '/provisioners/:provisionerId/worker-types',
      query: PAGE_QUERY,
      title: 'Get a list of all active worker-types',
      category: CATEGORY,
      stability: 'deprecated',
      output: listWorkerTypesResponse,
      anonymous: true,
      scopes: 'queue:list-worker-types:<provisionerId>',
    },
    async ({ params: { provisionerId }, query }, { store }) => {
      const { entries, continuationToken } = await page(
        query,
        (request) => store.taskQueues.list(new Date(), request, provisionerId),
        keyOf,
      );
      return { workerTypes: entries.map(serializeWorkerType), continuationToken };
    },
  );
  queue.declare(
    {
      name: 'getWorkerType',
      method: 'get',
      route: '/provisioners/:provisionerId/worker-types/:workerType',
      title: 'Get a worker-type',
      category: CATEGORY,
      stability: 'deprecated',
      output: workerTypeResponse,
      anonymous: true,
      scopes: 'queue:get-worker-type:<provisionerId>/<workerType>',
    },
    ({ params: { provisionerId, workerType } }, { store }) =>
      shownWorkerType(store, provisionerId, workerType),
  );
  queue.declare(
    {
      name: 'declareWorkerType',
      method: 'put',
      route: '/provisioners/:provisionerId/worker-types/:workerType',
      title: 'Update a worker-type',
      category: CATEGORY,
      stability: 'deprecated',
      output: workerTypeResponse,
      scopes: {
        AllOf: [
          {
            for: 'property',
            in: 'properties',
            each: 'queue:declare-worker-type:<provisionerId>/<workerType>#<property>',
          },
        ],
      },
      input: updateWorkerTypeRequest,
    },
    async ({ params: { provisionerId, workerType }, body, authorize }, { store }) => {
      await authorize({ provisionerId, workerType, properties: Object.keys(body) });
      const { expires, description, stability } = body;
      checkDescription(description ?? '');
      const now = new Date();
      await store.taskQueues.seen({
        id: `${provisionerId}/${workerType}`,
        lastActive: now,
        expires: expires === undefined ? new Date(now.getTime() + 5 * DAY) : instant(expires),
        description,
        stability,
      });
      return shownWorkerType(store, provisionerId, workerType);
    },
  );
}

async function shownWorkerType(store: Store, provisionerId: string, workerType: string) {
  const found = await store.taskQueues.get(`${provisionerId}/${workerType}`, new Date());
  if (found === undefined) {
    throw new ApiError(
      'ResourceNotFound',
      'Worker-type `{{workerType}}` with Provisioner `{{provisionerId}}` not found. Are you sure it was created?',
      { workerType, provisionerId },
    );
  }
  return { ...serializeWorkerType(found), actions: [] };
}

function declareTaskQueues(queue: Queue): void {
  queue.declare(
    {
      name: 'listTaskQueues',
      method: 'get',
      route: '/task-queues',
      query: PAGE_QUERY,
      title: 'Get a list of all active task queues',
      category: CATEGORY,
      output: listTaskQueuesResponse,
      scopes: 'queue:list-task-queues',
    },
    async ({ query }, { store }) => {
      const { entries, continuationToken } = await page(
        query,
        (request) => store.taskQueues.list(new Date(), request),
        keyOf,
      );
      return { taskQueues: entries.map(serializeQueue), continuationToken };
    },
  );
  queue.declare(
    {
      name: 'getTaskQueue',
      method: 'get',
      route: '/task-queues/:taskQueueId',
      title: 'Get a task queue',
      category: CATEGORY,
      output: taskQueueResponse,
      scopes: 'queue:get-task-queue:<taskQueueId>',
    },
    async ({ params: { taskQueueId } }, { store }) => {
      const found = await store.taskQueues.get(taskQueueId, new Date());
      if (found === undefined) {
        throw new ApiError(
          'ResourceNotFound',
          'Task queue with `{{taskQueueId}}` not found. Are you sure it was created?',
          { taskQueueId },
        );
      }
      return serializeQueue(found);
    },
  );
}

/** The worker that a route names. */
interface WorkerParameters {
  readonly provisionerId: string;
  readonly workerType: string;
  readonly workerGroup: string;
  readonly workerId: string;
}

function workerName({ provisionerId, workerType, ...worker }: WorkerParameters): WorkerName {
  return {
    taskQueueId: `${provisionerId}/${workerType}`,
    workerGroup: worker.workerGroup,
    workerId: worker.workerId,
  };
}

function serializeWorker(worker: KnownWorker) {
  return {
    taskQueueId: worker.taskQueueId,
    ...parts(worker.taskQueueId),
    workerGroup: worker.workerGroup,
    workerId: worker.workerId,
    quarantineUntil: worker.quarantineUntil.toJSON(),
    expires: worker.expires.toJSON(),
    firstClaim: worker.firstClaim.toJSON(),
    actions: [],
    recentTasks: worker.recentTasks,
    lastDateActive: worker.lastActive.toJSON(),
  };
}

/** The form of a worker in lists: fewer fields, and the quarantine only while it lasts. */
function summarizeWorker(worker: KnownWorker, time: Date) {
  const { workerGroup, workerId, firstClaim, lastActive, recentTasks, quarantineUntil } = worker;
  const latestTask = recentTasks.at(-1);
  return {
    workerGroup,
    workerId,
    firstClaim: firstClaim.toJSON(),
    lastDateActive: lastActive.toJSON(),
    ...(latestTask === undefined ? {} : { latestTask }),
    ...(isQuarantined(worker, time) ? { quarantineUntil: quarantineUntil.toJSON() } : {}),
  };
}

function declareWorkers(queue: Queue): void {
  queue.declare(
    {
      name: 'listWorkers',
      method: 'get',
      route: '/provisioners/:provisionerId/worker-types/:workerType/workers',
      query: { ...PAGE_QUERY, quarantined: /^(true|false)$/ },
      title: 'Get a list of all active workers of a workerType',
      category: CATEGORY,
      stability: 'deprecated',
      output: listWorkersResponse,
      anonymous: true,
      scopes: 'queue:list-workers:<provisionerId>/<workerType>',
    },
    async ({ params: { provisionerId, workerType }, query }, { store }) => {
      const taskQueueId = `${provisionerId}/${workerType}`;
      const { quarantined } = query;
      const only = quarantined === undefined ? undefined : quarantined === 'true';
      const time = new Date();
      const { entries, continuationToken } = await page(
        query,
        (request) => store.workers.list(taskQueueId, time, request, only),
        workerKey,
      );
      const workers = entries.map((worker) => summarizeWorker(worker, time));
      return { workers, continuationToken };
    },
  );
  queue.declare(
    {
      name: 'getWorker',
      method: 'get',
      route: '/provisioners/:provisionerId/worker-types/:workerType/workers/:workerGroup/:workerId',
      title: 'Get a worker from worker-type',
      category: CATEGORY,
      stability: 'deprecated',
      output: workerResponse,
      anonymous: true,
      scopes: 'queue:get-worker:<provisionerId>/<workerType>/<workerGroup>/<workerId>',
    },
    async ({ params }, { store }) => {
      const time = new Date();
      const name = workerName(params);
      const worker = await store.workers.get(name);
      const isThere =
        worker !== undefined &&
        (worker.expires >= time || isQuarantined(worker, time)) &&
        (await store.taskQueues.get(name.taskQueueId, time)) !== undefined;
      if (!isThere) {
        throw new ApiError(
          'ResourceNotFound',
          `${NOT_FOUND} Are you sure it was created?`,
          named(params),
        );
      }
      return serializeWorker(worker);
    },
  );
}

const NOT_FOUND =
  'Worker with workerId `{{workerId}}`, workerGroup `{{workerGroup}}`,worker-type `{{workerType}}` ' +
  'and provisionerId `{{provisionerId}}` not found.';

function named({ provisionerId, workerType, workerGroup, workerId }: WorkerParameters) {
  return { workerId, workerGroup, workerType, provisionerId };
}

function declareQuarantine(queue: Queue): void {
  queue.declare(
    {
      name: 'quarantineWorker',
      method: 'put',
      route: '/provisioners/:provisionerId/worker-types/:workerType/workers/:workerGroup/:workerId',
      title: 'Quarantine a worker',
      category: CATEGORY,
      stability: 'experimental',
      output: workerResponse,
      scopes: {
        AllOf: ['queue:quarantine-worker:<provisionerId>/<workerType>/<workerGroup>/<workerId>'],
      },
      input: quarantineWorkerRequest,
    },
    async ({ params, body: { quarantineUntil, quarantineInfo }, clientId }, { store }) => {
      const worker = await store.workers.quarantine(
        workerName(params),
        {
          clientId: await clientId(),
          updatedAt: new Date().toJSON(),
          quarantineUntil: instant(quarantineUntil).toJSON(),
          quarantineInfo: quarantineInfo || '[unspecified]',
        },
        new Date(Date.now() + DAY),
      );
      if (worker === undefined) {
        throw new ApiError('ResourceNotFound', NOT_FOUND, named(params));
      }
      return serializeWorker(worker);
    },
  );
}

function declareDeclaration(queue: Queue): void {
  queue.declare(
    {
      name: 'declareWorker',
      method: 'put',
      route: '/provisioners/:provisionerId/worker-types/:workerType/:workerGroup/:workerId',
      title: 'Declare a worker',
      category: CATEGORY,
      stability: 'experimental',
      output: workerResponse,
      scopes: {
        AllOf: [
          {
            for: 'property',
            in: 'properties',
            each: 'queue:declare-worker:<provisionerId>/<workerType>/<workerGroup>/<workerId>#<property>',
          },
        ],
      },
      input: updateWorkerRequest,
    },
    async ({ params, body, authorize }, { store }) => {
      await authorize({ ...named(params), properties: Object.keys(body) });
      const name = workerName(params);
      await noteWorker(store, name, instant(body.expires));
      const worker = await store.workers.get(name);
      if (worker === undefined) {
        throw new ApiError('ResourceNotFound', NOT_FOUND, named(params));
      }
      return serializeWorker(worker);
    },
  );
}
