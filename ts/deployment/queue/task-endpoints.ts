/** Endpoints that create, describe, schedule, rerun and cancel tasks. */
import type { ApiBuilder } from '../api/builder.js';
import { ApiError } from '../api/errors.js';
import { PAGE_QUERY, page } from '../api/pages.js';
import type { ScopeTemplate } from '../api/scope-template.js';
import { PRIORITIES, type Store, type Task, type TaskDefinition } from '../storage/store.js';
import { task, taskStatusResponse, tasksResponse, tasksStatusesResponse } from './answers.js';
import type { QueueContext } from './context.js';
import { addTask, resolveTask } from './lifecycle.js';
import {
  changeTaskPriorityRequest,
  createTaskRequest,
  ROUTE_PARAMETERS,
  tasksRequest,
} from './schemas.js';
import {
  checkTimes,
  defineTask,
  ended,
  foundTask,
  MAX_RUNS,
  reprioritized,
  rerun,
  scheduled,
  stateOf,
  taskStatus,
} from './task.js';

type Queue = ApiBuilder<QueueContext>;

export function declareTaskEndpoints(queue: Queue): void {
  declareReading(queue);
  declareReadingMany(queue);
  declareCreation(queue);
  declareScheduling(queue);
  declareRerun(queue);
  declareCancellation(queue);
  declarePriority(queue);
}

function declareReading(queue: Queue): void {
  queue.declare(
    {
      name: 'task',
      method: 'get',
      route: '/task/:taskId',
      title: 'Get Task Definition',
      category: 'Tasks',
      output: task,
      anonymous: true,
      scopes: 'queue:get-task:<taskId>',
    },
    async ({ params: { taskId } }, { store }) =>
      foundTask(
        await store.tasks.get(taskId),
        taskId,
        '`{{taskId}}` does not correspond to a task that exists.\nAre you sure this task has already been submitted?',
      ).definition,
  );
  queue.declare(
    {
      name: 'status',
      method: 'get',
      route: '/task/:taskId/status',
      title: 'Get task status',
      category: 'Tasks',
      output: taskStatusResponse,
      anonymous: true,
      scopes: 'queue:status:<taskId>',
    },
    async ({ params: { taskId } }, { store }) => {
      const task = foundTask(
        await store.tasks.get(taskId),
        taskId,
        '`{{taskId}}` does not correspond to a task that exists.\nAre you sure this task exists?',
      );
      return { status: taskStatus(task) };
    },
  );
}

/** The existing tasks of a list of ids, in one query. */
function declareReadingMany(queue: Queue): void {
  queue.declare(
    {
      name: 'tasks',
      method: 'post',
      route: '/tasks',
      title: 'Get multiple task definitions',
      category: 'Tasks',
      stability: 'experimental',
      output: tasksResponse,
      query: PAGE_QUERY,
      anonymous: true,
      scopes: { AllOf: [{ for: 'taskId', in: 'taskIds', each: 'queue:get-task:<taskId>' }] },
      input: tasksRequest,
    },
    async ({ body: { taskIds }, query, authorize }, { store }) => {
      await authorize({ taskIds });
      const { entries, continuationToken } = await tasksOf(store, taskIds, query);
      const tasks = entries.map(({ taskId, definition }) => ({ taskId, task: definition }));
      return { tasks, continuationToken };
    },
  );
  queue.declare(
    {
      name: 'statuses',
      method: 'post',
      route: '/tasks/status',
      title: 'Get multiple task definitions',
      category: 'Tasks',
      stability: 'experimental',
      output: tasksStatusesResponse,
      query: PAGE_QUERY,
      anonymous: true,
      scopes: { AllOf: [{ for: 'taskId', in: 'taskIds', each: 'queue:status:<taskId>' }] },
      input: tasksRequest,
    },
    async ({ body: { taskIds }, query, authorize }, { store }) => {
      await authorize({ taskIds });
      const { entries, continuationToken } = await tasksOf(store, taskIds, query);
      const statuses = entries.map((task) => ({ taskId: task.taskId, status: taskStatus(task) }));
      return { statuses, continuationToken };
    },
  );
}

function tasksOf(
  store: Store,
  taskIds: readonly string[],
  query: Readonly<Record<string, string | undefined>>,
) {
  const known = taskIds.filter((taskId) => ROUTE_PARAMETERS.taskId.test(taskId));
  return page(
    query,
    (request) => store.tasks.several(known, request),
    ({ taskId }) => taskId,
  );
}

function declareCreation(queue: Queue): void {
  queue.declare(
    {
      name: 'createTask',
      method: 'put',
      route: '/task/:taskId',
      title: 'Create New Task',
      category: 'Tasks',
      output: taskStatusResponse,
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
    async ({ params: { taskId }, body, authorize }, { store }) => {
      const definition = defineTask(taskId, body);
      await authorize(creationParameters(definition));
      checkTimes(definition);
      if (definition.scopes.some((scope) => scope.endsWith('**'))) {
        throw new ApiError('InputError', 'scopes must not end with `**`');
      }
      return { status: taskStatus(await addTask(store, taskId, definition)) };
    },
  );
}

/** A scope for a priority includes all lower priorities. */
function creationParameters(definition: TaskDefinition) {
  const { provisionerId, workerType, projectId, schedulerId, scopes, routes } = definition;
  const priorities = PRIORITIES.slice(0, PRIORITIES.indexOf(definition.priority) + 1);
  return { provisionerId, workerType, projectId, schedulerId, scopes, routes, priorities };
}

/** The scopes to schedule, rerun or cancel a task: by its id, its project, or its group's scheduler. */
function controlScopes(verb: 'schedule' | 'rerun' | 'cancel'): ScopeTemplate {
  return {
    AnyOf: [
      `queue:${verb}-task:<schedulerId>/<taskGroupId>/<taskId>`,
      `queue:${verb}-task-in-project:<projectId>`,
      { AllOf: [`queue:${verb}-task`, 'assume:scheduler-id:<schedulerId>/<taskGroupId>'] },
    ],
  };
}

function controlParameters({ taskId, definition }: Task) {
  const { schedulerId, taskGroupId, projectId } = definition;
  return { taskId, schedulerId, taskGroupId, projectId };
}

/** @throws ApiError `RequestConflict` if it is too late for `verb`. */
function checkDeadline({ taskId, definition: { deadline } }: Task, verb: string): void {
  if (Date.parse(deadline) < Date.now()) {
    throw new ApiError(
      'RequestConflict',
      `Task \`{{taskId}}\` can't be ${verb} past its deadline of {{deadline}}.`,
      { taskId, deadline },
    );
  }
}

function declareScheduling(queue: Queue): void {
  queue.declare(
    {
      name: 'scheduleTask',
      method: 'post',
      route: '/task/:taskId/schedule',
      title: 'Schedule Defined Task',
      category: 'Tasks',
      output: taskStatusResponse,
      scopes: controlScopes('schedule'),
    },
    async ({ params: { taskId }, authorize }, { store }) => {
      const task = foundTask(
        await store.tasks.get(taskId),
        taskId,
        'taskId `{{taskId}}` not found. Are you sure it exists?',
      );
      await authorize(controlParameters(task));
      checkDeadline(task, 'scheduled');
      return { status: taskStatus(foundTask(await store.tasks.change(taskId, scheduled), taskId)) };
    },
  );
}

function declareRerun(queue: Queue): void {
  queue.declare(
    {
      name: 'rerunTask',
      method: 'post',
      route: '/task/:taskId/rerun',
      title: 'Rerun a Resolved Task',
      category: 'Tasks',
      output: taskStatusResponse,
      scopes: controlScopes('rerun'),
    },
    async ({ params: { taskId }, authorize }, { store }) => {
      const before = foundTask(
        await store.tasks.get(taskId),
        taskId,
        '`{{taskId}}` does not correspond to a task that exists.\nAre you sure this task has been submitted before?',
      );
      await authorize(controlParameters(before));
      checkDeadline(before, 'rescheduled');
      const task = foundTask(await store.tasks.change(taskId, rerun), taskId);
      if (!['pending', 'running'].includes(stateOf(task)) && task.runs.length >= MAX_RUNS) {
        throw new ApiError('RequestConflict', `Maximum number of runs reached (${MAX_RUNS}).`);
      }
      return { status: taskStatus(task) };
    },
  );
}

function declareCancellation(queue: Queue): void {
  queue.declare(
    {
      name: 'cancelTask',
      method: 'post',
      route: '/task/:taskId/cancel',
      title: 'Cancel Task',
      category: 'Tasks',
      output: taskStatusResponse,
      scopes: controlScopes('cancel'),
    },
    async ({ params: { taskId }, authorize }, { store }) => {
      const before = foundTask(await store.tasks.get(taskId), taskId);
      await authorize(controlParameters(before));
      checkDeadline(before, 'canceled');
      const task = await resolveTask(store, taskId, (each) => ended(each, 'canceled'));
      return { status: taskStatus(foundTask(task, taskId)) };
    },
  );
}

function declarePriority(queue: Queue): void {
  queue.declare(
    {
      name: 'changeTaskPriority',
      method: 'post',
      route: '/task/:taskId/priority',
      title: 'Change Task Priority',
      category: 'Tasks',
      stability: 'experimental',
      output: taskStatusResponse,
      scopes: {
        AnyOf: [
          'queue:change-task-priority:<taskId>',
          'queue:change-task-priority-in-queue:<taskQueueId>',
        ],
      },
      input: changeTaskPriorityRequest,
    },
    async ({ params: { taskId }, body: { newPriority }, authorize }, { store }) => {
      const before = foundTask(await store.tasks.get(taskId), taskId);
      await authorize({ taskId, taskQueueId: before.definition.taskQueueId });
      const time = new Date();
      checkDeadline(before, 'reprioritized');
      let isChanged = false;
      const task = await store.tasks.change(taskId, (each) => {
        const changed = reprioritized(each, newPriority, time);
        isChanged = changed !== each;
        return changed;
      });
      if (!isChanged) {
        throw new ApiError(
          'RequestConflict',
          'Task `{{taskId}}` is already resolved and cannot be reprioritized.',
          { taskId },
        );
      }
      return { status: taskStatus(foundTask(task, taskId)) };
    },
  );
}
