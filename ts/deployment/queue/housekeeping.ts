/**
 * Periodic work: it resolves runs past their claim and tasks past their deadline, and removes expired rows
 * and files without a row.
 *
 * Any number of processes may do this at once on the same data: each step is a transaction that checks
 * again before it changes anything.
 */
import type { ObjectBucket } from '../storage/object-bucket.js';
import type { ObjectFolder } from '../storage/object-folder.js';
import type { Store } from '../storage/store.js';
import { resolveOverdue } from './lifecycle.js';

export interface HousekeepingOptions {
  readonly store: Store;
  readonly folder: ObjectFolder;
  readonly bucket?: ObjectBucket | undefined;
  /** Receives the error of a failed step; the next round tries again. */
  readonly onFault: (fault: unknown) => void;
  /** Interval between rounds, in milliseconds. */
  readonly interval?: number;
}

const INTERVAL = 500;
const REMOVAL_INTERVAL = 60_000;

/** Pause after an error, such as an unreachable database, in milliseconds. */
const PAUSE = 5_000;

/** Rows that are removed in one transaction. */
const BATCH = 100;

/** Age at which a file without a row is removed, in milliseconds. */
const GRACE = 60 * 60 * 1000;

/** Age at which entries of the history are removed, in milliseconds. */
const AUDIT_KEPT = 30 * 24 * 60 * 60 * 1000;

/** How the history names the services that remove what has expired. */
const EXPIRED_CLIENT = {
  entityType: 'client',
  clientId: 'static/taskcluster/auth',
  actionType: 'expired',
} as const;
const EXPIRED_SECRET = {
  entityType: 'secret',
  clientId: 'static/taskcluster/secrets',
  actionType: 'expired',
} as const;

export class Housekeeping {
  readonly #options: HousekeepingOptions;
  readonly #timer: NodeJS.Timeout;
  #running: Promise<void> | undefined;
  #pausedUntil = 0;
  #removeAfter = 0;

  constructor(options: HousekeepingOptions) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), options.interval ?? INTERVAL);
    this.#timer.unref();
  }

  /** Stops after the current round. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
  }

  #tick(): void {
    if (Date.now() < this.#pausedUntil) {
      return;
    }
    this.#running ??= this.#pass()
      .catch((fault: unknown) => {
        this.#pausedUntil = Date.now() + PAUSE;
        this.#options.onFault(fault);
      })
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #pass(): Promise<void> {
    const { store, folder, bucket } = this.#options;
    await resolveOverdue(store);
    if (Date.now() >= this.#removeAfter) {
      this.#removeAfter = Date.now() + REMOVAL_INTERVAL;
      await removeExpired(store, folder);
      await removeOrphans(store, folder);
      if (bucket !== undefined) {
        await removeExpiredObjects(store, bucket);
      }
    }
  }
}

/** Removes the rows that are past their `expires` at that time. */
export async function removeExpired(
  store: Store,
  folder: ObjectFolder,
  time = new Date(),
): Promise<void> {
  for (let isMore = true; isMore; ) {
    const files = await store.transaction((transaction) => removeArtifacts(transaction, time));
    await Promise.all(files.stored.map((file) => folder.remove(file)));
    isMore = files.count === BATCH;
  }
  // Looked for first: while a removal waits for its turn, new creations with dependencies wait behind it.
  while (await store.tasks.hasExpired(time)) {
    await store.transaction((transaction) => removeTasks(transaction, time));
  }
  await store.taskQueues.removeExpired(time);
  await store.workers.removeExpired(time);
  await store.groups.removeExpired(time);
  await store.transaction(async ({ clients, secrets, audit }) => {
    for (const entityId of await clients.removeExpired(time)) {
      await audit.add({ ...EXPIRED_CLIENT, entityId });
    }
    for (const entityId of await secrets.removeExpired(time)) {
      await audit.add({ ...EXPIRED_SECRET, entityId });
    }
  });
  await store.audit.removeBefore(new Date(time.getTime() - AUDIT_KEPT));
  await store.sessions.removeExpired(time);
}

/**
 * Removes artifacts that are past their `expires` at that time from a bucket. The objects go first: while the
 * bucket is unreachable their rows stay, so that no object is forgotten in it.
 */
export async function removeExpiredObjects(
  store: Store,
  bucket: ObjectBucket,
  time = new Date(),
): Promise<void> {
  for (let isMore = true; isMore; ) {
    const expired = await store.artifacts.expiredIn(bucket.address, time, BATCH);
    const names = expired.flatMap(({ content }) =>
      content.storageType === 's3' ? [content.objectName] : [],
    );
    if (names.length > 0) {
      await bucket.remove(names);
      await store.artifacts.removeThese(expired, time);
    }
    isMore = expired.length === BATCH;
  }
}

async function removeArtifacts(
  store: Store,
  time: Date,
): Promise<{ count: number; stored: string[] }> {
  const removed = await store.artifacts.removeExpired(time, BATCH);
  const stored: string[] = [];
  for (const { content } of removed) {
    const object =
      content.storageType === 's3' ? await store.objects.remove(content.objectName) : undefined;
    if (object !== undefined) {
      stored.push(object.file);
    }
  }
  return { count: removed.length, stored };
}

/** A resolution locks one task and then waits for others, and so does this: without turns they would wait for each other. */
async function removeTasks({ tasks }: Store, time: Date): Promise<void> {
  await tasks.lockDependencies();
  await tasks.removeExpired(time, BATCH);
}

/** Removes files of a process that was killed after it wrote the file and before it stored the row. */
export async function removeOrphans(
  store: Store,
  folder: ObjectFolder,
  age: number = GRACE,
): Promise<void> {
  for await (const file of folder.olderThan(age)) {
    if (!(await store.objects.hasFile(file))) {
      await folder.remove(file);
    }
  }
}
