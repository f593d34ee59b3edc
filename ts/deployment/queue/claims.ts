/**
 * Claims: a worker takes a pending run, gets temporary credentials that act for the task until the
 * claim ends, and renews both by reclaiming.
 */
import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { type NativeCredentials, native } from 'taskcluster-proxy/internal';
import { ApiError } from '../api/errors.js';
import type { Run, Store, Task, TaskRun } from '../storage/store.js';
import { claimed, foundRun, foundTask, isLastRun, reclaimed, taskStatus } from './task.js';
import { checkQuarantine, queueSeen, workerSeen } from './workers.js';

/** The claiming worker. */
export interface Worker {
  readonly workerGroup: string;
  readonly workerId: string;
}

/** A claim as `claimWork` and `reclaimTask` return it; the latter without the task. */
export interface Claim extends Worker {
  readonly status: ReturnType<typeof taskStatus>;
  readonly runId: number;
  readonly takenUntil: string;
  readonly task?: Task['definition'];
  readonly credentials: NativeCredentials;
}

export interface ClaimsOptions {
  readonly store: Store;
  /** The queue's own credentials, which sign those of tasks. */
  readonly credentials: NativeCredentials;
  /** Duration of a claim, in seconds. */
  readonly claimTimeout: number;
}

/** How long `claimWork` waits for a task, in milliseconds. */
const CLAIM_WORK_TIMEOUT = 20_000;

export class Claims {
  readonly #options: ClaimsOptions;
  /** Emits the id of each task queue that has a new pending task. */
  readonly #pending = new EventEmitter().setMaxListeners(0);
  #isStopping = false;

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /** To be called when a task has become pending; without an id, when a task of any queue may have. */
  wake(taskQueueId?: string): void {
    const woken = taskQueueId === undefined ? this.#pending.eventNames() : [taskQueueId];
    // `once` listens to errors as well, of which there are none: an id has a slash in it.
    for (const name of woken.filter((each) => each !== 'error')) {
      this.#pending.emit(name);
    }
  }

  /** Ends the waiting of all workers: from now on a worker without a task is answered at once. */
  stopWaiting(): void {
    this.#isStopping = true;
    this.wake();
  }

  /**
   * Claims up to `count` tasks, and waits a while if there is none yet. A worker in quarantine gets none.
   */
  async claimWork(
    taskQueueId: string,
    worker: Worker,
    count: number,
    clientGone: AbortSignal,
  ): Promise<Claim[]> {
    const end = new AbortController();
    const { signal } = end;
    const stop = () => end.abort();
    const timer = setTimeout(stop, CLAIM_WORK_TIMEOUT);
    clientGone.addEventListener('abort', stop);
    if (clientGone.aborted) {
      stop();
    }
    try {
      const { store } = this.#options;
      const mayWork = await workerSeen(store, { taskQueueId, ...worker });
      for (;;) {
        // Listen first, so that no task that arrives in between is missed.
        const woken = once(this.#pending, taskQueueId, { signal }).catch(() => undefined);
        const claims =
          signal.aborted || !mayWork ? [] : await this.#claimPending(taskQueueId, worker, count);
        if (claims.length > 0) {
          await store.workers.took({ taskQueueId, ...worker }, claims.map(taskRun));
        }
        if (claims.length > 0 || signal.aborted || this.#isStopping) {
          return claims;
        }
        await woken;
      }
    } finally {
      clearTimeout(timer);
      stop();
    }
  }

  /** Claims one run. @throws ApiError `ResourceNotFound`, `RequestConflict` */
  async claimTask(taskId: string, runId: number, worker: Worker): Promise<Claim> {
    const { store } = this.#options;
    const { taskQueueId } = foundTask(await store.tasks.get(taskId), taskId).definition;
    const name = { taskQueueId, ...nameOf(worker) };
    await checkQuarantine(store, name);
    const claim = await this.#claimRun(taskId, runId, worker);
    await queueSeen(store, taskQueueId);
    await store.workers.took(name, [taskRun(claim)]);
    return claim;
  }

  async #claimRun(taskId: string, runId: number, worker: Worker, hintId?: string) {
    const { store } = this.#options;
    checkDeadline(foundTask(await store.tasks.get(taskId), taskId), 'claimed');
    const taking = {
      ...nameOf(worker),
      takenUntil: this.#takenUntil(),
      ...(hintId === undefined ? {} : { hintId }),
    };
    const task = foundTask(
      await store.tasks.change(taskId, (each) => claimed(each, runId, taking)),
      taskId,
    );
    const run = foundRun(task, runId);
    if (!isLastRun(task, runId, 'running') || !isWorker(run, worker) || run.hintId !== hintId) {
      throw new ApiError(
        'RequestConflict',
        'Run {{runId}} was already claimed by another worker.',
        {
          runId,
        },
      );
    }
    return { ...this.#claim(task, runId, worker, run.takenUntil), task: task.definition };
  }

  /** Renews a claim. @throws ApiError `ResourceNotFound`, `RequestConflict` */
  async reclaimTask(taskId: string, runId: number): Promise<Claim> {
    const { store } = this.#options;
    const before = foundTask(await store.tasks.get(taskId), taskId);
    foundRun(before, runId);
    checkDeadline(before, 'reclaimed');
    const takenUntil = this.#takenUntil();
    const task = foundTask(
      await store.tasks.change(taskId, (each) => reclaimed(each, runId, takenUntil)),
      taskId,
    );
    const { workerGroup = '', workerId = '' } = foundRun(task, runId);
    if (!isLastRun(task, runId, 'running')) {
      throw new ApiError(
        'RequestConflict',
        'Run {{runId}} on task `{{taskId}}` is resolved or not running.',
        { taskId, runId },
      );
    }
    const { taskQueueId } = task.definition;
    await workerSeen(store, { taskQueueId, workerGroup, workerId });
    return this.#claim(task, runId, { workerGroup, workerId }, takenUntil);
  }

  /** Claims pending tasks; tries again if other workers were faster with all the tasks found. */
  async #claimPending(taskQueueId: string, worker: Worker, count: number): Promise<Claim[]> {
    for (;;) {
      const taskIds = await this.#options.store.tasks.pending(taskQueueId, count);
      const claims: Claim[] = [];
      for (const taskId of taskIds) {
        const claim = await this.#claimLastRun(taskId, worker);
        if (claim !== undefined) {
          claims.push(claim);
        }
      }
      if (claims.length > 0 || taskIds.length === 0) {
        return claims;
      }
    }
  }

  async #claimLastRun(taskId: string, worker: Worker): Promise<Claim | undefined> {
    const task = await this.#options.store.tasks.get(taskId);
    try {
      return await this.#claimRun(taskId, (task?.runs.length ?? 1) - 1, worker, randomUUID());
    } catch (error) {
      if (error instanceof ApiError) {
        return undefined;
      }
      throw error;
    }
  }

  /** Rounded up to a full second, since the text is compared. */
  #takenUntil(): string {
    return new Date((Math.ceil(Date.now() / 1000) + this.#options.claimTimeout) * 1000).toJSON();
  }

  #claim(task: Task, runId: number, worker: Worker, takenUntil = ''): Claim {
    return {
      status: taskStatus(task),
      runId,
      ...worker,
      takenUntil,
      credentials: this.#taskCredentials(task, runId, worker, new Date(takenUntil)),
    };
  }

  /** Credentials for the task: its own scopes, and those that a worker needs to report on it. */
  #taskCredentials(task: Task, runId: number, worker: Worker, until: Date): NativeCredentials {
    const { workerGroup, workerId } = worker;
    const run = `${task.taskId}/${runId}`;
    const clientId = `task-client/${run}/on/${workerGroup}/${workerId}/until/${until.getTime() / 1000}`;
    return native.createTemporaryCredentials(this.#options.credentials, {
      clientId,
      start: Date.now(),
      expiry: until.getTime(),
      scopes: [
        `queue:reclaim-task:${run}`,
        `queue:resolve-task:${run}`,
        `queue:create-artifact:${run}`,
        ...task.definition.scopes,
      ],
    });
  }
}

/** The outcome without other properties of the body. */
function nameOf({ workerGroup, workerId }: Worker): Worker {
  return { workerGroup, workerId };
}

function taskRun({ status: { taskId }, runId }: Claim): TaskRun {
  return { taskId, runId };
}

function isWorker(run: Run, { workerGroup, workerId }: Worker): boolean {
  return run.workerGroup === workerGroup && run.workerId === workerId;
}

function checkDeadline({ taskId, definition: { deadline } }: Task, verb: string): void {
  if (Date.parse(deadline) <= Date.now()) {
    throw new ApiError(
      'RequestConflict',
      `Task \`{{taskId}}\` can't be ${verb} past its deadline of {{deadline}}.`,
      { taskId, deadline },
    );
  }
}
