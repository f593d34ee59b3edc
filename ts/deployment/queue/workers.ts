/** Records the workers that claim: the time of their last claim, and the runs that they took. */
import { ApiError } from '../api/errors.js';
import type { KnownWorker, Store, WorkerName } from '../storage/store.js';

const MINUTE = 60 * 1000;
const DAY = 24 * 60 * MINUTE;

/** Interval between two writes of a worker's last claim, in milliseconds, to spare most claims a write. */
const NOTED_EVERY = 30 * MINUTE;

/** Records a worker and its task queue as active; tells whether the worker may have tasks. */
export async function workerSeen(store: Store, worker: WorkerName): Promise<boolean> {
  const now = new Date();
  const known = await store.workers.get(worker);
  if (known === undefined || known.lastActive.getTime() < now.getTime() - NOTED_EVERY) {
    await noteWorker(store, worker, new Date(now.getTime() + DAY));
  }
  return known === undefined || !isQuarantined(known, now);
}

/** As `workerSeen`, without regard to the last write. */
export async function noteWorker(store: Store, worker: WorkerName, expires: Date): Promise<void> {
  const times = { lastActive: new Date(), expires };
  await store.transaction(async ({ taskQueues, workers }) => {
    await taskQueues.seen({ id: worker.taskQueueId, ...times });
    await workers.seen(worker, times);
  });
}

/** Records a task queue as active for a worker that names no more than the queue. */
export async function queueSeen(store: Store, taskQueueId: string): Promise<void> {
  const now = new Date();
  const known = await store.taskQueues.get(taskQueueId, now);
  if (known === undefined || known.lastActive.getTime() < now.getTime() - NOTED_EVERY) {
    const expires = new Date(now.getTime() + 5 * DAY);
    await store.taskQueues.seen({ id: taskQueueId, lastActive: now, expires });
  }
}

/** @throws ApiError `RequestConflict` if the worker is in quarantine. */
export async function checkQuarantine(store: Store, worker: WorkerName): Promise<void> {
  const known = await store.workers.get(worker);
  if (known !== undefined && isQuarantined(known, new Date())) {
    throw new ApiError(
      'RequestConflict',
      'Worker `{{workerGroup}}/{{workerId}}` is in quarantine until {{quarantineUntil}}.',
      { ...worker, quarantineUntil: known.quarantineUntil.toJSON() },
    );
  }
}

export function isQuarantined({ quarantineUntil }: KnownWorker, time: Date): boolean {
  return quarantineUntil > time;
}
