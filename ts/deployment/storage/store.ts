import type { PageRequest } from '../api/pages.js';
import type { Change } from '../review/changes.js';
/**
 * The stored data of the services, as an interface. An implementation makes each call one transaction. Values
 * are never changed in place, neither by the store nor by callers.
 *
 * The store checks no scopes and knows no clock. It keeps only the records of artifacts; their bytes are in
 * `object-folder.ts` or `object-bucket.ts`.
 */

/** The given fields of a client of the auth service. */
export interface NewClient {
  readonly clientId: string;
  readonly accessToken: string;
  /** As granted, roles not expanded. */
  readonly scopes: readonly string[];
  readonly expires: Date;
  readonly disabled: boolean;
  /** In Markdown. */
  readonly description?: string;
  /** Whether housekeeping removes the client once it has expired. */
  readonly deleteOnExpiration?: boolean;
}

/** A client and its dates. */
export interface Client extends Required<NewClient> {
  readonly created: Date;
  readonly lastModified: Date;
  /** Approximate: it is written every few hours. */
  readonly lastDateUsed: Date;
  /** When the current access token was created. */
  readonly lastRotated: Date;
}

/**
 * The scopes that `assume:<roleId>` grants. A `roleId` that ends in `*` matches every role with that prefix,
 * and `<..>` in its scopes is replaced by the text that matches the `*`.
 */
export interface NewRole {
  readonly roleId: string;
  readonly scopes: readonly string[];
  /** In Markdown. */
  readonly description?: string;
}

/** A role and its dates. */
export interface Role extends Required<NewRole> {
  readonly created: Date;
  readonly lastModified: Date;
}

/** A task's definition, times as in JSON, every default filled in. */
export interface TaskDefinition {
  readonly provisionerId: string;
  readonly workerType: string;
  readonly taskQueueId: string;
  readonly schedulerId: string;
  readonly projectId: string;
  readonly taskGroupId: string;
  readonly dependencies: readonly string[];
  readonly requires: 'all-completed' | 'all-resolved';
  readonly routes: readonly string[];
  readonly priority: Priority;
  readonly retries: number;
  readonly created: string;
  readonly deadline: string;
  readonly expires: string;
  readonly scopes: readonly string[];
  readonly payload: unknown;
  readonly metadata: unknown;
  readonly tags: unknown;
  readonly extra: unknown;
}

/** From the first served to the last. */
export const PRIORITIES = [
  'highest',
  'very-high',
  'high',
  'medium',
  'low',
  'very-low',
  'lowest',
] as const;

export type Priority = (typeof PRIORITIES)[number];

/** One attempt at a task. Its number is its index in the list. */
export interface Run {
  readonly state: 'pending' | 'running' | 'completed' | 'failed' | 'exception';
  readonly reasonCreated: 'scheduled' | 'retry' | 'task-retry' | 'rerun' | 'exception';
  readonly reasonResolved?: string;
  readonly workerGroup?: string;
  readonly workerId?: string;
  /** One per claim of work, absent where the run was claimed by its id. Not for clients. */
  readonly hintId?: string;
  readonly takenUntil?: string;
  readonly scheduled: string;
  readonly started?: string;
  readonly resolved?: string;
}

/** A task and its state. */
export interface Task {
  readonly taskId: string;
  readonly definition: TaskDefinition;
  readonly retriesLeft: number;
  readonly runs: readonly Run[];
}

/** Tasks that belong together. All of them are of one scheduler. */
export interface TaskGroup {
  readonly taskGroupId: string;
  readonly schedulerId: string;
  /** When the last of its tasks expires. */
  readonly expires: Date;
  /** Since when no task can be added. */
  readonly sealed?: Date;
}

/** A task queue, or a provisioner as all that begin with its name, and when it was last served. */
export interface ServedQueue {
  readonly id: string;
  readonly lastActive: Date;
  readonly expires: Date;
  readonly description: string;
  readonly stability: Stability;
}

export const STABILITIES = ['experimental', 'stable', 'deprecated'] as const;
export type Stability = (typeof STABILITIES)[number];

/** Makes a task queue active, and changes the parts of its description that are given. */
export interface SeenQueue extends Pick<ServedQueue, 'id' | 'lastActive' | 'expires'> {
  readonly description?: string | undefined;
  readonly stability?: Stability | undefined;
}

/** The name of a worker. */
export interface WorkerName {
  readonly taskQueueId: string;
  readonly workerGroup: string;
  readonly workerId: string;
}

export interface TaskRun {
  readonly taskId: string;
  readonly runId: number;
}

/** A worker that has claimed tasks. */
export interface KnownWorker extends WorkerName {
  readonly firstClaim: Date;
  /** Approximate: it is written every half hour. */
  readonly lastActive: Date;
  readonly expires: Date;
  /** The end of its quarantine; in the past for a worker that may have tasks. */
  readonly quarantineUntil: Date;
  /** The last twenty runs that it took, the latest last. */
  readonly recentTasks: readonly TaskRun[];
}

/** The record of a change of a worker's quarantine. */
export interface Quarantine {
  readonly clientId: string;
  readonly updatedAt: string;
  readonly quarantineUntil: string;
  readonly quarantineInfo: string;
}

/** The record of an artifact. The object `objectName` is its content, if the deployment stores that. */
export interface Artifact {
  readonly taskId: string;
  readonly runId: number;
  readonly name: string;
  readonly contentType: string;
  readonly contentLength?: number;
  readonly expires: Date;
  readonly content: ArtifactContent;
}

/** An object that an artifact's bytes are, and the `s3://` address of its bucket; a file without one. */
export interface ObjectContent {
  readonly storageType: 's3';
  readonly objectName: string;
  readonly bucket?: string;
}

/** By `storageType`: kept here, elsewhere, under another name, or missing and why. */
export type ArtifactContent =
  | ObjectContent
  | { readonly storageType: 'reference'; readonly url: string }
  | { readonly storageType: 'link'; readonly artifact: string }
  | { readonly storageType: 'error'; readonly reason: string; readonly message: string };

/** An uploaded object and the file that holds it. */
export interface StoredObject {
  readonly name: string;
  /** A name unique to the upload, even among uploads of the same object. */
  readonly file: string;
  readonly size: number;
  readonly contentType: string;
  readonly contentEncoding?: string;
}

/** A secret; its value is any JSON object. */
export interface Secret {
  readonly name: string;
  readonly secret: Readonly<Record<string, unknown>>;
  readonly expires: Date;
}

/** A user who may sign in with a password. */
export interface LocalUser {
  readonly name: string;
  /** As `web/passwords.ts` writes it. */
  readonly passwordHash: string;
  readonly roles: readonly string[];
}

/** A new session. */
export interface NewSession {
  /** The hash of the id, which only the holder knows. */
  readonly idHash: Uint8Array;
  readonly userName: string;
  readonly expires: Date;
}

/** A session and the current record of its user. */
export interface OpenSession {
  readonly user: LocalUser;
  readonly expires: Date;
}

/** The sort key of lists of pending tasks. */
export function waitingKey({ taskId, runs }: Task): string {
  return `${runs.at(-1)?.scheduled}/${taskId}`;
}

/** The sort key of lists of claimed tasks. */
export function claimedKey({ taskId, runs }: Task): string {
  return `${runs.at(-1)?.started}/${taskId}`;
}

/** The sort key of the workers of a task queue. */
export function workerKey({ workerGroup, workerId }: WorkerName): string {
  return `${workerGroup}/${workerId}`;
}

/** The author of a change, and the address of the request, if there was one. */
export interface Author {
  readonly clientId: string;
  readonly address: string;
}

/** The effect of a change of a role or a client. */
export interface GrantChange {
  /** Its scopes; `null` where it may do nothing: it is not there, or disabled. */
  readonly before: readonly string[] | null;
  readonly after: readonly string[] | null;
  /** The endpoints that it opens or closes for every caller, and for the holder of the role or client. */
  readonly anonymous: readonly Change[];
  readonly holder: readonly Change[];
}

/** An entry of the history: a client has changed an entity. */
export interface AuditEntry {
  readonly entityType: 'client' | 'role' | 'secret';
  readonly entityId: string;
  /** The author. */
  readonly clientId: string;
  /** How, in the words of Taskcluster's services. */
  readonly actionType:
    | 'created'
    | 'updated'
    | 'deleted'
    | 'client enabled'
    | 'client disabled'
    | 'access token reset'
    | 'expired';
  /** The author's address; absent for a change by a process itself. */
  readonly address?: string;
  /** The effect of a change of scopes. */
  readonly grants?: GrantChange | undefined;
}

/** A query of the history. */
export interface AuditFilter {
  readonly entityType?: string | undefined;
  readonly entityId?: string | undefined;
  readonly clientId?: string | undefined;
  readonly since?: Date | undefined;
}

/** A stored entry; later ones have higher numbers. */
export interface AuditRecord extends AuditEntry {
  readonly number: number;
  readonly created: Date;
}

/** All data that outlive a request. */
export interface Store {
  /**
   * Runs `work` in one transaction: all its changes of the given store take effect together, or none if it
   * throws.
   */
  transaction<Result>(work: (store: Store) => Promise<Result>): Promise<Result>;
  readonly clients: {
    get(clientId: string): Promise<Client | undefined>;
    /** Adds the client, or replaces the fields of the one with its id. */
    put(client: NewClient): Promise<void>;
    /** Adds the client, or returns the existing one with its id. */
    add(client: Client): Promise<Client>;
    /** Replaces the client by the result of `change`; other transactions wait meanwhile. */
    change(clientId: string, change: (client: Client) => Client): Promise<Client | undefined>;
    /** Records the time of its last use. */
    used(clientId: string, time: Date): Promise<void>;
    remove(clientId: string): Promise<void>;
    /** The clients with this prefix of their ids, by id. */
    list(prefix: string, page: PageRequest): Promise<readonly Client[]>;
    /** Removes the expired clients that have `deleteOnExpiration`, and returns their ids. */
    removeExpired(time: Date): Promise<readonly string[]>;
  };
  readonly roles: {
    /** By id. */
    all(): Promise<readonly Role[]>;
    /** A number that changes with every change of a role. */
    version(): Promise<number>;
    /** Adds the role, or replaces the fields of the one with its id. */
    put(role: NewRole): Promise<void>;
    /**
     * Replaces a role by the result of `change`, removes it for `undefined`, and keeps it for the same
     * role; other changes of roles wait meanwhile. Every process is notified.
     */
    change(
      roleId: string,
      change: (role: Role | undefined, all: readonly Role[]) => Role | undefined,
    ): Promise<Role | undefined>;
  };
  readonly audit: {
    add(entry: AuditEntry): Promise<void>;
    /** The first entries after a number. */
    ofEntity(
      entityType: string,
      entityId: string,
      after: number,
      limit: number,
    ): Promise<readonly AuditRecord[]>;
    byClient(clientId: string, after: number, limit: number): Promise<readonly AuditRecord[]>;
    /** The latest entries first; with a number, only those before it. */
    latest(filter: AuditFilter, limit: number, before?: number): Promise<readonly AuditRecord[]>;
    removeBefore(time: Date): Promise<void>;
  };
  readonly tasks: {
    get(taskId: string): Promise<Task | undefined>;
    /** The existing tasks of these ids, by id; all of them without a page. */
    several(taskIds: readonly string[], page?: PageRequest): Promise<readonly Task[]>;
    /** By id. */
    inGroup(taskGroupId: string, page: PageRequest): Promise<readonly Task[]>;
    /** The tasks that depend on this one, by id. */
    dependents(taskId: string, page: PageRequest): Promise<readonly Task[]>;
    /** Adds the task, or returns the existing one with its id. */
    add(task: Task): Promise<{ readonly added: boolean; readonly task: Task }>;
    /**
     * Replaces the task by the result of `change` and returns it; `change` sees the latest state, and other
     * changes of the task wait meanwhile. Only the priority of the definition can change. Every process is
     * notified of a run that becomes pending.
     */
    change(taskId: string, change: (task: Task) => Task): Promise<Task | undefined>;
    /** As `change`, for the existing tasks of these ids, by id. */
    changeAll(taskIds: readonly string[], change: (task: Task) => Task): Promise<readonly Task[]>;
    /** Ids of tasks that can be claimed now, first the highest priority, then the oldest. */
    pending(taskQueueId: string, limit: number): Promise<readonly string[]>;
    /** Ids of tasks that are past their deadline or their claim, the most overdue first. */
    overdue(time: Date, limit: number): Promise<readonly string[]>;
    count(taskQueueId: string, state: Run['state']): Promise<number>;
    /** The pending tasks, by `waitingKey`, without those past their deadline. */
    waiting(taskQueueId: string, page: PageRequest): Promise<readonly Task[]>;
    /** The claimed tasks, by `claimedKey`. */
    claimed(taskQueueId: string, page: PageRequest): Promise<readonly Task[]>;
    countInGroup(taskGroupId: string): Promise<number>;
    /** Number of unresolved tasks, by the state of their last run. */
    countOpen(): Promise<Readonly<Record<string, number>>>;
    /**
     * Until the transaction ends, no other one resolves a task, so that a task with dependencies can be added. Other
     * transactions may hold resolutions, too.
     */
    holdResolutions(): Promise<void>;
    /** Until the transaction ends, no other one resolves a task or holds resolutions. Those that wait take turns. */
    lockDependencies(): Promise<void>;
    /** Stores the dependencies of a new task, and which of them it has to wait for. */
    depend(
      taskId: string,
      requires: TaskDefinition['requires'],
      requiredIds: readonly string[],
      openIds: readonly string[],
    ): Promise<void>;
    /**
     * Ends the waiting of the tasks that depend on this one by one of these relations, and returns the ids of
     * those that now wait for nothing.
     */
    settle(
      requiredId: string,
      relations: readonly TaskDefinition['requires'][],
    ): Promise<readonly string[]>;
    hasExpired(time: Date): Promise<boolean>;
    /** Removes expired tasks up to a limit. Needs `lockDependencies`. */
    removeExpired(time: Date, limit: number): Promise<void>;
  };
  /** Task queues that workers have served lately. */
  readonly taskQueues: {
    get(taskQueueId: string, time: Date): Promise<ServedQueue | undefined>;
    /** The task queues of one provisioner or of all, by id. */
    list(time: Date, page: PageRequest, provisionerId?: string): Promise<readonly ServedQueue[]>;
    provisioner(provisionerId: string, time: Date): Promise<ServedQueue | undefined>;
    provisioners(time: Date, page: PageRequest): Promise<readonly ServedQueue[]>;
    /** Records that a worker serves it now. The expiry never moves back. */
    seen(queue: SeenQueue): Promise<void>;
    removeExpired(time: Date): Promise<void>;
  };
  readonly workers: {
    /** The worker, even if it has expired or is in quarantine. */
    get(worker: WorkerName): Promise<KnownWorker | undefined>;
    /** By `workerKey`: those that have not expired or are in quarantine; if asked, only one of both. */
    list(
      taskQueueId: string,
      time: Date,
      page: PageRequest,
      isQuarantined?: boolean,
    ): Promise<readonly KnownWorker[]>;
    /** Records that it is active now, adding it if necessary. The expiry never moves back. */
    seen(worker: WorkerName, times: Pick<ServedQueue, 'lastActive' | 'expires'>): Promise<void>;
    /** Records the runs that a known worker has taken. */
    took(worker: WorkerName, runs: readonly TaskRun[]): Promise<void>;
    /** Extends its record to `expires` at least. */
    quarantine(
      worker: WorkerName,
      quarantine: Quarantine,
      expires: Date,
    ): Promise<KnownWorker | undefined>;
    /** Removes expired workers, except those in quarantine. */
    removeExpired(time: Date): Promise<void>;
  };
  readonly groups: {
    get(taskGroupId: string): Promise<TaskGroup | undefined>;
    /** Adds the group, or extends the existing one; other changes of the group wait. */
    join(group: TaskGroup): Promise<TaskGroup>;
    /** Seals the group, unless it is sealed already. */
    seal(taskGroupId: string, time: Date): Promise<TaskGroup | undefined>;
    removeExpired(time: Date): Promise<void>;
  };
  readonly artifacts: {
    get(taskId: string, runId: number, name: string): Promise<Artifact | undefined>;
    /** Adds or replaces an artifact by the result of `change`, which gets the existing one. */
    change(
      taskId: string,
      runId: number,
      name: string,
      change: (artifact: Artifact | undefined) => Artifact,
    ): Promise<Artifact>;
    /** The artifacts of a run after the name `after`, by name. */
    list(taskId: string, runId: number, page: PageRequest): Promise<readonly Artifact[]>;
    /** Removes expired artifacts that are in no bucket, up to a limit, and returns them. */
    removeExpired(time: Date, limit: number): Promise<readonly Artifact[]>;
    /** The artifacts in this bucket that are expired at this time, up to a limit. */
    expiredIn(bucket: string, time: Date, limit: number): Promise<readonly Artifact[]>;
    /** Removes these artifacts, except those with a later expiry by now. */
    removeThese(artifacts: readonly Artifact[], time: Date): Promise<void>;
    /** Another bucket than this one that contains artifacts. */
    otherBucket(bucket: string | undefined): Promise<string | undefined>;
  };
  readonly objects: {
    get(name: string): Promise<StoredObject | undefined>;
    /** Adds or replaces the object, and returns the replaced one. */
    put(object: StoredObject): Promise<StoredObject | undefined>;
    /** Removes the object, and returns it. */
    remove(name: string): Promise<StoredObject | undefined>;
    /** Whether this file is the content of an object. */
    hasFile(file: string): Promise<boolean>;
  };
  readonly secrets: {
    get(name: string): Promise<Secret | undefined>;
    put(secret: Secret): Promise<void>;
    remove(name: string): Promise<void>;
    /** The secrets that are not expired at this time, by name. */
    names(time: Date, page: PageRequest): Promise<readonly string[]>;
    /** Returns the names of those that it removes. */
    removeExpired(time: Date): Promise<readonly string[]>;
  };
  readonly users: {
    get(name: string): Promise<LocalUser | undefined>;
    /** By name. */
    all(): Promise<readonly LocalUser[]>;
    /** Adds the user; false if the name is taken. */
    add(user: LocalUser): Promise<boolean>;
    /**
     * Adds or replaces the user; another password ends the user's sessions.
     */
    put(user: LocalUser): Promise<void>;
    /** Replaces the hash of the same password, unless the password has changed meanwhile. */
    rehash(name: string, from: string, to: string): Promise<void>;
    /** Removes the user and ends the user's sessions; false for an unknown name. */
    remove(name: string): Promise<boolean>;
  };
  readonly sessions: {
    /** Begins a session, unless the user's password has changed meanwhile. */
    open(session: NewSession, passwordHash: string): Promise<boolean>;
    /** The session, unless it is expired at this time. */
    get(idHash: Uint8Array, time: Date): Promise<OpenSession | undefined>;
    remove(idHash: Uint8Array): Promise<void>;
    removeExpired(time: Date): Promise<void>;
  };
}
