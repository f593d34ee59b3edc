/**
 * A task's definition with its defaults, its status as workers and clients see it, and the changes of a
 * run. Pure functions: each returns a changed task and stores nothing.
 */
import type { FromSchema } from 'json-schema-to-ts';
import { ApiError } from '../api/errors.js';
import { instant } from '../api/instant.js';
import type { Priority, Run, Task, TaskDefinition } from '../storage/store.js';
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
  const deadline = instant(request.deadline);
  const expires = request.expires === undefined ? addYear(deadline) : instant(request.expires);
  return {
    ...request,
    ...taskQueue(request),
    taskGroupId: request.taskGroupId ?? taskId,
    created: instant(request.created).toJSON(),
    deadline: deadline.toJSON(),
    expires: expires.toJSON(),
  };
}

function addYear(time: Date): Date {
  const later = new Date(time);
  later.setFullYear(later.getFullYear() + 1);
  return later;
}

type TaskQueue = Pick<TaskDefinition, 'provisionerId' | 'workerType' | 'taskQueueId'>;

/** Reads the name of a task queue, given whole or as its two parts. */
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

/** @throws ApiError `InputError` unless created < now < deadline < expires, with some tolerance. */
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

/** A new task, not scheduled yet. */
export function newTask(taskId: string, definition: TaskDefinition): Task {
  return { taskId, definition, retriesLeft: definition.retries, runs: [] };
}

/** The status structure of the queue's answers. */
export function taskStatus({ taskId, definition, retriesLeft, runs }: Task) {
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
    state: stateOf({ runs }),
    runs: runs.map(({ hintId: _, ...run }, runId) => ({ runId, ...run })),
  };
}

/** The state of a task: that of its last run. */
export function stateOf({ runs }: Pick<Task, 'runs'>): Run['state'] | 'unscheduled' {
  return runs.at(-1)?.state ?? 'unscheduled';
}

/** Whether the task is resolved: it stays so unless a client reruns it. */
export function isResolved(task: Pick<Task, 'runs'>): boolean {
  return ['completed', 'failed', 'exception'].includes(stateOf(task));
}

/** Whether this is the task's last run and it is in this state. */
export function isLastRun(task: Task, runId: number, state: Run['state']): boolean {
  return task.runs.length - 1 === runId && task.runs[runId]?.state === state;
}

/** The task with its first run pending; unchanged if it is already scheduled. */
export function scheduled(task: Task): Task {
  return task.runs.length === 0 ? { ...task, runs: [pendingRun('scheduled')] } : task;
}

/** Most runs of a task. */
export const MAX_RUNS = 50;

/** The task with a new run and all its retries; unchanged while a run is not resolved. */
export function rerun(task: Task): Task {
  const { length } = task.runs;
  if (['pending', 'running'].includes(stateOf(task)) || length >= MAX_RUNS) {
    return task;
  }
  return {
    ...task,
    retriesLeft: Math.min(task.definition.retries, MAX_RUNS - length - 1),
    runs: [...task.runs, pendingRun('rerun')],
  };
}

/** The task with another priority; unchanged once it has been resolved, even if it was rerun. */
export function reprioritized(task: Task, priority: Priority, time: Date): Task {
  const { definition, runs } = task;
  const wasResolved =
    isResolved(task) || runs.some(({ reasonCreated }) => reasonCreated === 'rerun');
  return wasResolved ||
    definition.priority === priority ||
    Date.parse(definition.deadline) <= time.getTime()
    ? task
    : { ...task, definition: { ...definition, priority } };
}

/** The task with its last run, or a new one, ended; unchanged if it is resolved. */
export function ended(task: Task, reason: 'canceled' | 'deadline-exceeded'): Task {
  if (isResolved(task)) {
    return task;
  }
  const outcome = { state: 'exception', reasonResolved: reason, resolved: now() } as const;
  const runId = task.runs.length - 1;
  return runId < 0
    ? { ...task, runs: [{ ...outcome, reasonCreated: 'exception', scheduled: now() }] }
    : withRun(task, runId, outcome);
}

/** The worker of a run, the end of its claim, and the hint of a claim that named no run. */
export type Taking = Required<Pick<Run, 'workerGroup' | 'workerId' | 'takenUntil'>> &
  Pick<Run, 'hintId'>;

/** The task with this run started; unchanged unless it is the last run and pending. */
export function claimed(task: Task, runId: number, taking: Taking): Task {
  return isLastRun(task, runId, 'pending')
    ? withRun(task, runId, { ...taking, state: 'running', started: now() })
    : task;
}

/** The task with a longer claim on this run; unchanged unless the run is running. */
export function reclaimed(task: Task, runId: number, takenUntil: string): Task {
  return isLastRun(task, runId, 'running') ? withRun(task, runId, { takenUntil }) : task;
}

/** How a run that was running ends. */
export type Outcome = Pick<Run, 'state' | 'reasonResolved'> & {
  /** The reason of another run, if there are retries left. */
  readonly retry?: 'retry' | 'task-retry';
};

/** The task with this run resolved; unchanged unless it is the last run and running. */
export function resolved(task: Task, runId: number, { retry, ...outcome }: Outcome): Task {
  if (!isLastRun(task, runId, 'running')) {
    return task;
  }
  const over = withRun(task, runId, { ...outcome, resolved: now() });
  return retry === undefined || task.retriesLeft === 0
    ? over
    : { ...over, retriesLeft: task.retriesLeft - 1, runs: [...over.runs, pendingRun(retry)] };
}

/** The task at this time: past its deadline it is ended, past its claim it is retried. */
export function overdue(task: Task, time: Date): Task {
  if (Date.parse(task.definition.deadline) <= time.getTime()) {
    return ended(task, 'deadline-exceeded');
  }
  const { takenUntil } = task.runs.at(-1) ?? {};
  return takenUntil !== undefined && Date.parse(takenUntil) <= time.getTime()
    ? resolved(task, task.runs.length - 1, CLAIM_EXPIRED)
    : task;
}

const CLAIM_EXPIRED = {
  state: 'exception',
  reasonResolved: 'claim-expired',
  retry: 'retry',
} as const;

function pendingRun(reasonCreated: Run['reasonCreated']): Run {
  return { state: 'pending', reasonCreated, scheduled: now() };
}

function withRun(task: Task, runId: number, changes: Partial<Run>): Task {
  const runs = task.runs.map((run, index) => (index === runId ? { ...run, ...changes } : run));
  return { ...task, runs };
}

function now(): string {
  return new Date().toJSON();
}

/** Whether a task in this state satisfies a dependency. */
export function satisfiesDependency(
  state: ReturnType<typeof stateOf>,
  requires: TaskDefinition['requires'],
): boolean {
  return (
    state === 'completed' ||
    (requires === 'all-resolved' && (state === 'failed' || state === 'exception'))
  );
}

/**
 * A task by its id. The message is the endpoint's own, with `{{taskId}}` in it.
 *
 * @throws ApiError `ResourceNotFound`
 */
export function foundTask(
  task: Task | undefined,
  taskId: string,
  message = 'Task `{{taskId}}` not found. Are you sure it was created?',
): Task {
  if (task === undefined) {
    throw new ApiError('ResourceNotFound', message, { taskId });
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
