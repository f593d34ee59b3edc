/**
 * The queue: clients create tasks, tasks wait for their dependencies, workers claim and resolve them and
 * upload artifacts.
 *
 * It sends no messages (there is no Pulse) and starts no workers: it knows only what workers and operators
 * tell it.
 */
import { ApiBuilder } from '../api/builder.js';
import { declareArtifactEndpoints } from './artifact-endpoints.js';
import type { QueueContext } from './context.js';
import { declareCountEndpoints } from './count-endpoints.js';
import { declareGroupEndpoints } from './group-endpoints.js';
import { ROUTE_PARAMETERS } from './schemas.js';
import { declareTaskEndpoints } from './task-endpoints.js';
import { declareWorkEndpoints } from './work-endpoints.js';
import { declareWorkerEndpoints } from './worker-endpoints.js';

export const queue = new ApiBuilder<QueueContext>({
  serviceName: 'queue',
  title: 'Queue Service',
  description:
    'Takes tasks, hands them to workers, keeps track of their runs, and keeps their artifacts.',
  apiVersion: 'v1',
  params: ROUTE_PARAMETERS,
});

declareTaskEndpoints(queue);
declareWorkEndpoints(queue);
declareGroupEndpoints(queue);
declareCountEndpoints(queue);
declareWorkerEndpoints(queue);
declareArtifactEndpoints(queue);
