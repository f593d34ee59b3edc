/** What the queue notes of workers as they claim: when they were there, and what they took. */
import { ApiError } from '../api/errors.js';
import type { KnownWorker, Store, WorkerName } from '../storage/store.js';

const MINUTE = 60 * 1000;
const DAY = 24 * 60 * MINUTE;

/** How often it is noted that a worker is there, in milliseconds: a claim writes no more than it must. */
const NOTED_EVERY = 30 * MINUTE;

/** Notes that a worker is there, and that its task queue is served; tells whether it may have tasks. */
export async function workerSeen(store: Store, worker: WorkerName): Promise<boolean> {
  const now = new Date();
  const known = await store.workers.get(worker);
  if (known === undefined || known.lastActive.getTime() < now.getTime() - NOTED_EVERY) {
    await noteWorker(store, worker, new Date(now.getTime() + DAY));
  }
  return known === undefined || !isQuarantined(known, now);
}

/** As `workerSeen`, whenever that was last noted. */
export async function noteWorker(store: Store, worker: WorkerName, expires: Date): Promise<void> {
  const times = { lastActive: new Date(), expires };
  await store.transaction(async ({ taskQueues, workers }) => {
    await taskQueues.seen({ id: worker.taskQueueId, ...times });
    await workers.seen(worker, times);
  });
}

/** Notes that somebody serves a task queue who says no more of himself. */
export async function queueSeen(store: Store, taskQueueId: string): Promise<void> {
  const now = new Date();
  const known = await store.taskQueues.get(taskQueueId, now);
  if (known === undefined || known.lastActive.getTime() < now.getTime() - NOTED_EVERY) {
    const expires = new Date(now.getTime() + 5 * DAY);
    await store.taskQueues.seen({ id: taskQueueId, lastActive: now, expires });
  }
}

/** @throws ApiError `RequestConflict` where a worker may have no tasks. */
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
