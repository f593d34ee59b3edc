/** Endpoints that count and list pending and claimed tasks. */
import type { ApiBuilder } from '../api/builder.js';
import { PAGE_QUERY, page } from '../api/pages.js';
import { claimedKey, type Task, waitingKey } from '../storage/store.js';
import {
  listClaimedTasksResponse,
  listPendingTasksResponse,
  pendingTasksResponse,
  taskQueueCountsResponse,
} from './answers.js';
import type { QueueContext } from './context.js';

type Queue = ApiBuilder<QueueContext>;

export function declareCountEndpoints(queue: Queue): void {
  declareCounts(queue);
  declareLists(queue);
}

function declareCounts(queue: Queue): void {
  queue.declare(
    {
      name: 'pendingTasks',
      method: 'get',
      route: '/pending/{*taskQueueId}',
      title: 'Get Number of Pending Tasks',
      category: 'Worker Metadata',
      stability: 'deprecated',
      output: pendingTasksResponse,
      anonymous: true,
      scopes: 'queue:pending-count:<taskQueueId>',
    },
    async ({ params: { taskQueueId } }, { store }) => ({
      ...taskQueue(taskQueueId),
      pendingTasks: await store.tasks.count(taskQueueId, 'pending'),
    }),
  );
  queue.declare(
    {
      name: 'taskQueueCounts',
      method: 'get',
      route: '/task-queues/{*taskQueueId}/counts',
      title: 'Get Number of Pending and Claimed Tasks',
      category: 'Worker Metadata',
      output: taskQueueCountsResponse,
      scopes: {
        AllOf: ['queue:pending-count:<taskQueueId>', 'queue:claimed-count:<taskQueueId>'],
      },
    },
    async ({ params: { taskQueueId } }, { store }) => ({
      ...taskQueue(taskQueueId),
      pendingTasks: await store.tasks.count(taskQueueId, 'pending'),
      claimedTasks: await store.tasks.count(taskQueueId, 'running'),
    }),
  );
}

function declareLists(queue: Queue): void {
  queue.declare(
    {
      name: 'listPendingTasks',
      method: 'get',
      route: '/task-queues/{*taskQueueId}/pending',
      query: PAGE_QUERY,
      title: 'List Pending Tasks',
      category: 'Worker Metadata',
      stability: 'experimental',
      output: listPendingTasksResponse,
      scopes: 'queue:pending-list:<taskQueueId>',
    },
    async ({ params: { taskQueueId }, query }, { store }) => {
      const { entries, continuationToken } = await page(
        query,
        (request) => store.tasks.waiting(taskQueueId, request),
        waitingKey,
      );
      const tasks = entries.map((task) => ({
        ...taskRun(task),
        inserted: task.runs.at(-1)?.scheduled,
      }));
      return { tasks, continuationToken };
    },
  );
  queue.declare(
    {
      name: 'listClaimedTasks',
      method: 'get',
      route: '/task-queues/{*taskQueueId}/claimed',
      query: PAGE_QUERY,
      title: 'List claimed Tasks',
      category: 'Worker Metadata',
      stability: 'experimental',
      output: listClaimedTasksResponse,
      scopes: 'queue:claimed-list:<taskQueueId>',
    },
    async ({ params: { taskQueueId }, query }, { store }) => {
      const { entries, continuationToken } = await page(
        query,
        (request) => store.tasks.claimed(taskQueueId, request),
        claimedKey,
      );
      const tasks = entries.map((task) => {
        const { workerGroup, workerId, started } = task.runs.at(-1) ?? {};
        return { ...taskRun(task), workerGroup, workerId, claimed: started };
      });
      return { tasks, continuationToken };
    },
  );
}

function taskRun({ taskId, runs, definition }: Task) {
  return { taskId, runId: runs.length - 1, task: definition };
}

function taskQueue(taskQueueId: string) {
  const [provisionerId, workerType] = taskQueueId.split('/');
  return { provisionerId, workerType, taskQueueId };
}
