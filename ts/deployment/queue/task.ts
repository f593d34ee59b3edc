/**
 * A task's definition with its defaults, its status as workers and clients see it, and the changes
 * that a run goes through. Pure: what is given in comes out changed, and nothing is stored here.
 */
import type { FromSchema } from 'json-schema-to-ts';
import { ApiError } from '../api/errors.js';
import type { Run, Task, TaskDefinition } from '../storage/store.js';
import type { createTaskRequest } from './schemas.js';

/** The body of `createTask`, defaults of its schema filled in. */
export type CreateTaskRequest = FromSchema<typeof createTaskRequest>;

const CLOCK_SKEW = 15 * 60 * 1000;
const MAX_DEADLINE_DAYS = 5;
const DAY = 24 * 60 * 60 * 1000;

/**
 * The definition that a request asks for. Its times are checked by `checkTimes`, so that a caller
 * without the scopes learns nothing first.
 *
 * @throws ApiError `InputError`
 */
export function defineTask(taskId: string, request: CreateTaskRequest): TaskDefinition {
  if (request.dependencies.length > 0) {
    throw new ApiError(
      'InputError',
      'This deployment does not track dependencies: create the task once they are resolved',
    );
  }
  const deadline = new Date(request.deadline);
  const expires = request.expires ?? addYear(deadline);
  return {
    ...request,
    ...taskQueue(request),
    taskGroupId: request.taskGroupId ?? taskId,
    created: new Date(request.created).toJSON(),
    deadline: deadline.toJSON(),
    expires: new Date(expires).toJSON(),
  };
}

function addYear(time: Date): Date {
  const later = new Date(time);
  later.setFullYear(later.getFullYear() + 1);
  return later;
}

type TaskQueue = Pick<TaskDefinition, 'provisionerId' | 'workerType' | 'taskQueueId'>;

/** A task queue is named whole, or by its two parts. */
function taskQueue(request: CreateTaskRequest): TaskQueue {
  const parts = [request.provisionerId, request.workerType];
  const joined = parts.includes(undefined) ? undefined : parts.join('/');
  const taskQueueId = request.taskQueueId ?? joined;
  if (taskQueueId === undefined) {
    throw new ApiError(
      'InputError',
      'at least a provisionerId and a workerType or a taskQueueId must be provided',
    );
  }
  if (joined !== undefined && joined !== taskQueueId) {
    throw new ApiError('InputError', 'taskQueueId must match "provisionerId/workerType"');
  }
  const [provisionerId = '', workerType = ''] = taskQueueId.split('/');
  return { provisionerId, workerType, taskQueueId };
}

/** @throws ApiError `InputError` unless created < now < deadline < expires, give or take. */
export function checkTimes(definition: TaskDefinition): void {
  const now = Date.now();
  const created = Date.parse(definition.created);
  const deadline = Date.parse(definition.deadline);
  const refuse = (message: string) => {
    throw new ApiError('InputError', message);
  };
  if (created < now - CLOCK_SKEW) {
    refuse('`created` cannot be in the past (max 15min drift)');
  }
  if (created > now + CLOCK_SKEW) {
    refuse('`created` cannot be in the future (max 15min drift)');
  }
  if (created > deadline) {
    refuse('`deadline` cannot be earlier than `created`');
  }
  if (deadline < now) {
    refuse('`deadline` cannot be in the past');
  }
  if (deadline > now + MAX_DEADLINE_DAYS * DAY + CLOCK_SKEW) {
    refuse(`\`deadline\` cannot be more than ${MAX_DEADLINE_DAYS} days into the future`);
  }
  if (deadline > Date.parse(definition.expires)) {
    refuse('`expires` cannot be before `deadline`');
  }
}

/** A new task, whose first run waits for a worker. */
export function newTask(taskId: string, definition: TaskDefinition): Task {
  const run: Run = {
    state: 'pending',
    reasonCreated: 'scheduled',
    scheduled: new Date().toJSON(),
  };
  return { taskId, definition, retriesLeft: definition.retries, runs: [run] };
}

/** The status structure of the queue's answers. */
export function taskStatus({ taskId, definition, retriesLeft, runs }: Task): object {
  const { provisionerId, workerType, taskQueueId, schedulerId, projectId, taskGroupId } =
    definition;
  return {
    taskId,
    provisionerId,
    workerType,
    taskQueueId,
    schedulerId,
    projectId,
    taskGroupId,
    priority: definition.priority,
    deadline: definition.deadline,
    expires: definition.expires,
    retriesLeft,
    state: runs.at(-1)?.state ?? 'unscheduled',
    runs: runs.map((run, runId) => ({ runId, ...run })),
  };
}

/** The task with one of its runs changed. */
export function withRun(task: Task, runId: number, changes: Partial<Run>): Task {
  const runs = task.runs.map((run, index) => (index === runId ? { ...run, ...changes } : run));
  return { ...task, runs };
}

/** Whether this is the task's last run and it is in this state. */
export function isLastRun(task: Task, runId: number, state: Run['state']): boolean {
  return task.runs.length - 1 === runId && task.runs[runId]?.state === state;
}

/** A task by its id. @throws ApiError `ResourceNotFound` */
export function foundTask(task: Task | undefined, taskId: string): Task {
  if (task === undefined) {
    throw new ApiError(
      'ResourceNotFound',
      '`{{taskId}}` does not correspond to a task that exists.\nAre you sure this task has already been submitted?',
      { taskId },
    );
  }
  return task;
}

/** A run by its number. @throws ApiError `ResourceNotFound` */
export function foundRun(task: Task, runId: number): Run {
  const run = task.runs[runId];
  if (run === undefined) {
    throw new ApiError('ResourceNotFound', 'Run {{runId}} not found on task `{{taskId}}`.', {
      taskId: task.taskId,
      runId,
    });
  }
  return run;
}
