/** Endpoints for groups of tasks, and for the tasks that wait for one. */
import type { ApiBuilder } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import { PAGE_QUERY, page } from '../api/pages.js';
import type { Store, Task, TaskGroup } from '../storage/store.js';
import {
  cancelTaskGroupResponse,
  listDependentTasksResponse,
  listTaskGroupResponse,
  taskGroupPriorityChangeResponse,
  taskGroupResponse,
} from './answers.js';
import type { QueueContext } from './context.js';
import { resolveTask } from './lifecycle.js';
import { changeTaskPriorityRequest } from './schemas.js';
import { ended, reprioritized, taskStatus } from './task.js';

type Queue = ApiBuilder<QueueContext>;

export function declareGroupEndpoints(queue: Queue): void {
  declareReading(queue);
  declareSealing(queue);
  declareCancellation(queue);
  declarePriority(queue);
  declareDependents(queue);
}

/** @throws ApiError `ResourceNotFound` */
async function foundGroup(
  store: Store,
  taskGroupId: string,
  message = 'No task-group with taskGroupId: `{{taskGroupId}}`',
): Promise<TaskGroup> {
  const group = await store.groups.get(taskGroupId);
  if (group === undefined) {
    throw new ApiError('ResourceNotFound', message, { taskGroupId });
  }
  return group;
}

function serializeGroup({ taskGroupId, schedulerId, expires, sealed }: TaskGroup): object {
  return {
    taskGroupId,
    schedulerId,
    expires: expires.toJSON(),
    ...(sealed === undefined ? {} : { sealed: sealed.toJSON() }),
  };
}

function serializeTask(task: Task): object {
  return { status: taskStatus(task), task: task.definition };
}

function declareReading(queue: Queue): void {
  queue.declare(
    {
      name: 'listTaskGroup',
      method: 'get',
      route: '/task-group/:taskGroupId/list',
      query: PAGE_QUERY,
      title: 'List Task Group',
      category: 'Task Groups',
      output: listTaskGroupResponse,
      anonymous: true,
      scopes: 'queue:list-task-group:<taskGroupId>',
    },
    async ({ params: { taskGroupId }, query }, { store }) => {
      const group = await foundGroup(store, taskGroupId);
      const { entries, continuationToken } = await page(
        query,
        (request) => store.tasks.inGroup(taskGroupId, request),
        ({ taskId }) => taskId,
      );
      return { ...serializeGroup(group), tasks: entries.map(serializeTask), continuationToken };
    },
  );
  queue.declare(
    {
      name: 'getTaskGroup',
      method: 'get',
      route: '/task-group/:taskGroupId',
      title: 'Get Task Group',
      category: 'Task Groups',
      output: taskGroupResponse,
      anonymous: true,
      scopes: 'queue:list-task-group:<taskGroupId>',
    },
    async ({ params: { taskGroupId } }, { store }) =>
      serializeGroup(await foundGroup(store, taskGroupId)),
  );
}

function declareSealing(queue: Queue): void {
  queue.declare(
    {
      name: 'sealTaskGroup',
      method: 'post',
      route: '/task-group/:taskGroupId/seal',
      title: 'Seal Task Group',
      category: 'Task Groups',
      stability: 'experimental',
      output: taskGroupResponse,
      scopes: 'queue:seal-task-group:<schedulerId>/<taskGroupId>',
    },
    async ({ params: { taskGroupId }, authorize }, { store }) => {
      const group = await foundGroup(store, taskGroupId);
      await authorize({ taskGroupId, schedulerId: group.schedulerId });
      return serializeGroup((await store.groups.seal(taskGroupId, new Date())) ?? group);
    },
  );
}

/** How many tasks of a group are read at once. */
const BATCH = 100;

function declareCancellation(queue: Queue): void {
  queue.declare(
    {
      name: 'cancelTaskGroup',
      method: 'post',
      route: '/task-group/:taskGroupId/cancel',
      title: 'Cancel Task Group',
      category: 'Tasks',
      stability: 'experimental',
      output: cancelTaskGroupResponse,
      scopes: 'queue:cancel-task-group:<schedulerId>/<taskGroupId>',
    },
    async ({ params: { taskGroupId }, authorize }, { store }) => {
      const { schedulerId, sealed } = await foundGroup(store, taskGroupId);
      if (sealed === undefined) {
        throw new ApiError(
          'RequestConflict',
          'Cannot cancel unsealed task group: `{{taskGroupId}}`',
          { taskGroupId },
        );
      }
      await authorize({ taskGroupId, schedulerId });
      const taskIds = await cancelGroup(store, taskGroupId);
      const taskGroupSize = await store.tasks.countInGroup(taskGroupId);
      return { taskGroupId, taskGroupSize, cancelledCount: taskIds.length, taskIds };
    },
  );
}

/** Cancels the unresolved tasks, and returns their ids. */
function cancelGroup(store: Store, taskGroupId: string): Promise<string[]> {
  return changeGroup(
    store,
    taskGroupId,
    (task) => ended(task, 'canceled'),
    (taskId, change) => resolveTask(store, taskId, change),
  );
}

/** Replaces a group's tasks by the results of `change`, and returns the ids of those that changed. */
async function changeGroup(
  store: Store,
  taskGroupId: string,
  change: (task: Task) => Task,
  put: (taskId: string, change: (task: Task) => Task) => Promise<unknown>,
): Promise<string[]> {
  const changed: string[] = [];
  for (let after = ''; ; ) {
    const tasks = await store.tasks.inGroup(taskGroupId, { after, limit: BATCH });
    for (const { taskId } of tasks.filter((task) => change(task) !== task)) {
      let isChanged = false;
      await put(taskId, (task) => {
        const next = change(task);
        isChanged = next !== task;
        return next;
      });
      if (isChanged) {
        changed.push(taskId);
      }
    }
    const last = tasks.at(-1);
    if (last === undefined || tasks.length < BATCH) {
      return changed;
    }
    after = last.taskId;
  }
}

function declarePriority(queue: Queue): void {
  queue.declare(
    {
      name: 'changeTaskGroupPriority',
      method: 'post',
      route: '/task-group/:taskGroupId/priority',
      title: 'Change Task Group Priority',
      category: 'Task-Groups',
      stability: 'experimental',
      output: taskGroupPriorityChangeResponse,
      scopes: 'queue:change-task-group-priority:<schedulerId>/<taskGroupId>',
      input: changeTaskPriorityRequest,
    },
    async ({ params: { taskGroupId }, body: { newPriority }, authorize }, { store }) => {
      const { schedulerId } = await foundGroup(
        store,
        taskGroupId,
        'Task group `{{taskGroupId}}` not found.',
      );
      await authorize({ taskGroupId, schedulerId });
      const time = new Date();
      const taskIds = await changeGroup(
        store,
        taskGroupId,
        (task) => reprioritized(task, newPriority, time),
        (taskId, change) => store.tasks.change(taskId, change),
      );
      return { taskGroupId, schedulerId, newPriority, tasksAffected: taskIds.length, taskIds };
    },
  );
}

function declareDependents(queue: Queue): void {
  queue.declare(
    {
      name: 'listDependentTasks',
      method: 'get',
      route: '/task/:taskId/dependents',
      query: PAGE_QUERY,
      title: 'List Dependent Tasks',
      category: 'Tasks',
      output: listDependentTasksResponse,
      anonymous: true,
      scopes: 'queue:list-dependent-tasks:<taskId>',
    },
    async ({ params: { taskId }, query }, { store }) => {
      if ((await store.tasks.get(taskId)) === undefined) {
        throw new ApiError('ResourceNotFound', 'Task with taskId: `{{taskId}}` was not found', {
          taskId,
        });
      }
      const { entries, continuationToken } = await page(
        query,
        (request) => store.tasks.dependents(taskId, request),
        (task) => task.taskId,
      );
      return { taskId, tasks: entries.map(serializeTask), continuationToken };
    },
  );
}
