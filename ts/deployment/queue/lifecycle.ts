/**
 * Moves stored tasks through their states: it creates a task in a group, lets it wait for other tasks, and
 * schedules the tasks that wait for a resolved one. `task.ts` has the changes of a single task.
 *
 * Each step is one transaction, so that no step is left half done: the transaction that resolves a task
 * also schedules the tasks that wait for it.
 */
import { isDeepStrictEqual } from 'node:util';
import { ApiError } from '../api/errors.js';
import type { Store, Task, TaskDefinition } from '../storage/store.js';
import { isResolved, newTask, overdue, satisfiesDependency, scheduled, stateOf } from './task.js';

/**
 * Adds a task, or finds the one that the same request made before. It is scheduled unless it has
 * to wait for others. Creations run side by side; those of one group wait for each other at their end only.
 *
 * @throws ApiError `RequestConflict`, `InputError`
 */
export function addTask(store: Store, taskId: string, definition: TaskDefinition): Promise<Task> {
  return store.transaction(async (transaction) => {
    if (definition.dependencies.length > 0) {
      await transaction.tasks.holdResolutions();
    }
    const { added, task } = await transaction.tasks.add(newTask(taskId, definition));
    if (!added && !isDeepStrictEqual(task.definition, definition)) {
      throw new ApiError(
        'RequestConflict',
        'taskId `{{taskId}}` already used by another task.\nThis could be the result of faulty idempotency!',
        { taskId },
      );
    }
    const begun = added ? await begin(transaction, task) : task;
    // At the end, since from here other creations in this group wait until the transaction is over.
    await joinGroup(transaction, definition);
    if (begun instanceof ApiError) {
      throw begun;
    }
    return begun;
  });
}

/** @throws ApiError `RequestConflict` where the group is another scheduler's, or sealed. */
async function joinGroup(
  store: Store,
  { taskGroupId, schedulerId, expires }: TaskDefinition,
): Promise<void> {
  const group = await store.groups.join({ taskGroupId, schedulerId, expires: new Date(expires) });
  if (group.schedulerId !== schedulerId) {
    throw new ApiError(
      'RequestConflict',
      'Task group `{{taskGroupId}}` contains tasks with a schedulerId other\n' +
        'than `{{schedulerId}}`. All tasks in the same task-group must have\n' +
        'the same schedulerId.',
      { taskGroupId, schedulerId },
    );
  }
  if (group.sealed !== undefined) {
    throw new ApiError(
      'RequestConflict',
      'Task group `{{taskGroupId}}` is sealed and does not accept new tasks.',
      { taskGroupId },
    );
  }
}

/**
 * Stores the dependencies of a new task, and schedules it if it has to wait for none. Returns the error of
 * dependencies that it must not have, since an error of its group goes before.
 */
async function begin(store: Store, task: Task): Promise<Task | ApiError> {
  const { dependencies, requires, deadline } = task.definition;
  const required = dependencies.length > 0 ? await store.tasks.several(dependencies) : [];
  const error = wrongDependencies(dependencies, required, deadline);
  if (error !== undefined) {
    return error;
  }
  const open = required.filter((each) => !satisfiesDependency(stateOf(each), requires));
  if (dependencies.length > 0) {
    const openIds = open.map(({ taskId }) => taskId);
    await store.tasks.depend(task.taskId, requires, dependencies, openIds);
  }
  return open.length > 0 ? task : ((await store.tasks.change(task.taskId, scheduled)) ?? task);
}

/**
 * A dependency must exist before a task can wait for it. Otherwise another client could create a task under
 * that id, and so decide when the waiting task runs.
 *
 * Returns an `InputError`.
 */
function wrongDependencies(
  dependencies: readonly string[],
  required: readonly Task[],
  deadline: string,
): ApiError | undefined {
  const known = new Set(required.map(({ taskId }) => taskId));
  const missing = dependencies.filter((taskId) => !known.has(taskId));
  const expiring = required
    .filter(({ definition }) => Date.parse(definition.expires) < Date.parse(deadline))
    .map(({ taskId }) => taskId);
  const lines: string[] = [];
  if (missing.length > 0) {
    lines.push(
      '`task.dependencies` references non-existing tasks: ',
      ...missing.map((taskId) => ` * ${taskId}`),
      'All taskIds in `task.dependencies` **must** exist',
      'before the task is created.',
    );
  }
  if (missing.length === 0 && expiring.length > 0) {
    lines.push(
      '`task.dependencies` references tasks that expires',
      'before `task.deadline` this is not allowed, see tasks: ',
      ...expiring.map((taskId) => ` * ${taskId},`),
      'All taskIds in `task.dependencies` **must** have',
      '`task.expires` greater than the `deadline` for this task.',
    );
  }
  return lines.length > 0 ? new ApiError('InputError', `${lines.join('\n')}\n`) : undefined;
}

/**
 * Replaces a task by the result of `change` and returns it; other transactions wait meanwhile. If the change
 * resolves the task, tasks that wait for nothing else are scheduled.
 */
export function resolveTask(
  store: Store,
  taskId: string,
  change: (task: Task) => Task,
): Promise<Task | undefined> {
  return store.transaction(async (transaction) => {
    await transaction.tasks.lockDependencies();
    let wasResolved = false;
    const task = await transaction.tasks.change(taskId, (before) => {
      wasResolved = isResolved(before);
      return change(before);
    });
    if (task !== undefined && !wasResolved && isResolved(task)) {
      await scheduleDependents(transaction, task);
    }
    return task;
  });
}

/** A task past its own deadline is not scheduled: the deadline ends it. */
async function scheduleDependents(store: Store, task: Task): Promise<void> {
  const relations = (['all-completed', 'all-resolved'] as const).filter((requires) =>
    satisfiesDependency(stateOf(task), requires),
  );
  const taskIds = await store.tasks.settle(task.taskId, relations);
  for (let from = 0; from < taskIds.length; from += BATCH) {
    await store.tasks.changeAll(taskIds.slice(from, from + BATCH), (each) =>
      Date.parse(each.definition.deadline) < Date.now() ? each : scheduled(each),
    );
  }
}

/** Tasks in one look-up, and in one change. */
const BATCH = 100;

/** Ends tasks past their deadline and runs past their claim. Several processes may do so at once. */
export async function resolveOverdue(store: Store): Promise<void> {
  for (;;) {
    const time = new Date();
    const taskIds = await store.tasks.overdue(time, BATCH);
    for (const taskId of taskIds) {
      await resolveTask(store, taskId, (task) => overdue(task, time));
    }
    if (taskIds.length < BATCH) {
      return;
    }
  }
}
