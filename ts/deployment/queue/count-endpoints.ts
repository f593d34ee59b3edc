/** Endpoints that tell how much work there is. */
import type { ApiBuilder } from '../api/builder.js';
import { pendingTasksResponse, taskQueueCountsResponse } from './answers.js';
import type { QueueContext } from './index.js';

export function declareCountEndpoints(queue: ApiBuilder<QueueContext>): void {
  queue.declare(
    {
      name: 'pendingTasks',
      method: 'get',
      route: '/pending/{*taskQueueId}',
      title: 'Get Number of Pending Tasks',
      category: 'Worker Metadata',
      stability: 'deprecated',
      output: pendingTasksResponse,
      everybody: true,
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

function taskQueue(taskQueueId: string) {
  const [provisionerId, workerType] = taskQueueId.split('/');
  return { provisionerId, workerType, taskQueueId };
}
