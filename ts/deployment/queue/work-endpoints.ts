/** Endpoints for workers: they claim tasks and report the outcome. */
import type { ApiBuilder } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import type { Store, Task } from '../storage/store.js';
import {
  claimWorkResponse,
  taskClaimResponse,
  taskReclaimResponse,
  taskStatusResponse,
} from './answers.js';
import type { QueueContext } from './context.js';
import { resolveTask } from './lifecycle.js';
import { claimWorkRequest, taskClaimRequest, taskExceptionRequest } from './schemas.js';
import { foundRun, foundTask, isLastRun, type Outcome, resolved, taskStatus } from './task.js';

type Queue = ApiBuilder<QueueContext>;

export function declareWorkEndpoints(queue: Queue): void {
  declareClaims(queue);
  declareReclaim(queue);
  declareReport(queue, 'reportCompleted', 'completed');
  declareReport(queue, 'reportFailed', 'failed');
  declareException(queue);
}

function declareClaims(queue: Queue): void {
  queue.declare(
    {
      name: 'claimWork',
      method: 'post',
      route: '/claim-work/{*taskQueueId}',
      title: 'Claim Work',
      category: 'Worker Interface',
      output: claimWorkResponse,
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
      category: 'Worker Interface',
      stability: 'deprecated',
      output: taskClaimResponse,
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
}

function declareReclaim(queue: Queue): void {
  queue.declare(
    {
      name: 'reclaimTask',
      method: 'post',
      route: '/task/:taskId/runs/:runId/reclaim',
      title: 'Reclaim task',
      category: 'Worker Interface',
      output: taskReclaimResponse,
      scopes: 'queue:reclaim-task:<taskId>/<runId>',
    },
    ({ params: { taskId, runId } }, { claims }) => claims.reclaimTask(taskId, Number(runId)),
  );
}

function declareReport(
  queue: Queue,
  name: 'reportCompleted' | 'reportFailed',
  state: 'completed' | 'failed',
): void {
  queue.declare(
    {
      name,
      method: 'post',
      route: `/task/:taskId/runs/:runId/${state}`,
      title: `Report Run ${state === 'completed' ? 'Completed' : 'Failed'}`,
      category: 'Worker Interface',
      output: taskStatusResponse,
      scopes: 'queue:resolve-task:<taskId>/<runId>',
    },
    async ({ params, body }, { store }) => {
      // Old workers reported a failure as a completion without success.
      const outcome = (body as { success?: unknown }).success === false ? 'failed' : state;
      const runId = Number(params.runId);
      return { status: taskStatus(await resolveRun(store, params.taskId, runId, outcome)) };
    },
  );
}

/** Resolves a running run; a repeated report of the same outcome changes nothing. */
async function resolveRun(
  store: Store,
  taskId: string,
  runId: number,
  state: 'completed' | 'failed',
): Promise<Task> {
  const before = foundRun(foundTask(await store.tasks.get(taskId), taskId), runId);
  if (before.state !== 'running' && before.state !== state) {
    throw new ApiError(
      'RequestConflict',
      'Run {{runId}} of task `{{taskId}}` is not running or {{targetState}}.',
      { taskId, runId, targetState: state },
    );
  }
  const task = await resolve(store, taskId, runId, { state, reasonResolved: state });
  if (!isLastRun(task, runId, state)) {
    throw notRunning(taskId, runId);
  }
  return task;
}

async function resolve(store: Store, taskId: string, runId: number, outcome: Outcome) {
  return foundTask(
    await resolveTask(store, taskId, (task) => resolved(task, runId, outcome)),
    taskId,
  );
}

function notRunning(taskId: string, runId: number): ApiError {
  return new ApiError(
    'RequestConflict',
    'Run {{runId}} on task `{{taskId}}` is resolved or not running.',
    { taskId, runId },
  );
}

/** Reasons for which the queue itself adds another run, and the reason of that run. */
const RETRIED = { 'worker-shutdown': 'retry', 'intermittent-task': 'task-retry' } as const;

function declareException(queue: Queue): void {
  queue.declare(
    {
      name: 'reportException',
      method: 'post',
      route: '/task/:taskId/runs/:runId/exception',
      title: 'Report Task Exception',
      category: 'Worker Interface',
      output: taskStatusResponse,
      scopes: 'queue:resolve-task:<taskId>/<runId>',
      input: taskExceptionRequest,
    },
    async ({ params: { taskId, runId: text }, body: { reason } }, { store }) => {
      const runId = Number(text);
      foundRun(
        foundTask(
          await store.tasks.get(taskId),
          taskId,
          'Task `{{taskId}}` not found. Are you sure it exists?',
        ),
        runId,
      );
      const retry = RETRIED[reason as keyof typeof RETRIED];
      const task = await resolve(store, taskId, runId, {
        state: 'exception',
        reasonResolved: reason,
        ...(retry === undefined ? {} : { retry }),
      });
      const run = foundRun(task, runId);
      const isOver = run.state === 'exception' && run.reasonResolved === reason;
      if (!isOver || task.runs.length - 1 > runId + 1) {
        throw notRunning(taskId, runId);
      }
      return { status: taskStatus(task) };
    },
  );
}
