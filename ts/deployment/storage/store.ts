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

/** The start of a page of a list, and its greatest length. */
export interface PageRequest {
  /** The key of the last entry of the page before; empty for the first page. */
  readonly after: string;
  readonly limit: number;
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
  readonly everybody: readonly Change[];
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
    /** Adds it, or changes the one that has its id to this. */
    put(client: NewClient): Promise<void>;
    /** Adds the client, or gives the one that has its id already. */
    add(client: Client): Promise<Client>;
    /** Replaces the client by the result of `change`; other transactions wait meanwhile. */
    change(clientId: string, change: (client: Client) => Client): Promise<Client | undefined>;
    /** Notes when it was used. */
    used(clientId: string, time: Date): Promise<void>;
    remove(clientId: string): Promise<void>;
    /** The clients with this prefix of their ids, by id. */
    list(prefix: string, page: PageRequest): Promise<readonly Client[]>;
    /** Removes those that were to be once they had expired, and returns their ids. */
    removeExpired(time: Date): Promise<readonly string[]>;
  };
  readonly roles: {
    /** By id. */
    all(): Promise<readonly Role[]>;
    /** A number that is another one once any of them has changed. */
    version(): Promise<number>;
    /** Adds it, or changes the one that has its id to this. */
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
    /** The first ones after a number. */
    ofEntity(
      entityType: string,
      entityId: string,
      after: number,
      limit: number,
    ): Promise<readonly AuditRecord[]>;
    byClient(clientId: string, after: number, limit: number): Promise<readonly AuditRecord[]>;
    /** The latest first, those before a number if there is one. */
    latest(filter: AuditFilter, limit: number, before?: number): Promise<readonly AuditRecord[]>;
    removeBefore(time: Date): Promise<void>;
  };
  readonly tasks: {
    get(taskId: string): Promise<Task | undefined>;
    /** Those that exist, by id; all of them without a page. */
    several(taskIds: readonly string[], page?: PageRequest): Promise<readonly Task[]>;
    /** By id. */
    inGroup(taskGroupId: string, page: PageRequest): Promise<readonly Task[]>;
    /** Those that were made to wait for this one, by id. */
    dependents(taskId: string, page: PageRequest): Promise<readonly Task[]>;
    /** Adds the task, or gives the one that has its id already. */
    add(task: Task): Promise<{ readonly added: boolean; readonly task: Task }>;
    /**
     * Replaces the task by the result of `change` and returns it; `change` sees the latest state, and other
     * changes of the task wait meanwhile. Only the priority of the definition can change. Every process is
     * notified of a run that becomes pending.
     */
    change(taskId: string, change: (task: Task) => Task): Promise<Task | undefined>;
    /** Ids of tasks that can be claimed now, first the highest priority, then the oldest. */
    pending(taskQueueId: string, limit: number): Promise<readonly string[]>;
    /** Ids of tasks that are past their deadline or the claim on them, first the longest so. */
    overdue(time: Date, limit: number): Promise<readonly string[]>;
    count(taskQueueId: string, state: Run['state']): Promise<number>;
    /** Those that wait for a worker, by `waitingKey`; without those past their deadline. */
    waiting(taskQueueId: string, page: PageRequest): Promise<readonly Task[]>;
    /** Those that workers have claimed, by `claimedKey`. */
    claimed(taskQueueId: string, page: PageRequest): Promise<readonly Task[]>;
    countInGroup(taskGroupId: string): Promise<number>;
    /** How many are not resolved, by the state of their last run. */
    countOpen(): Promise<Readonly<Record<string, number>>>;
    /** Until the transaction ends, no other transaction resolves a task or adds one with dependencies. */
    lockDependencies(): Promise<void>;
    /** Notes which tasks a new one depends on, and which of them it has to wait for. */
    depend(
      taskId: string,
      requires: TaskDefinition['requires'],
      requiredIds: readonly string[],
      openIds: readonly string[],
    ): Promise<void>;
    /**
     * Notes that what depends on this task by one of these relations need not wait for it any
     * more, and returns the ids of those that wait for nothing now.
     */
    settle(
      requiredId: string,
      relations: readonly TaskDefinition['requires'][],
    ): Promise<readonly string[]>;
    /** Removes so many at most, and returns how many there were. */
    removeExpired(time: Date, limit: number): Promise<number>;
  };
  /** That have been served of late. */
  readonly taskQueues: {
    get(taskQueueId: string, time: Date): Promise<ServedQueue | undefined>;
    /** By id, of one provisioner or of all. */
    list(time: Date, page: PageRequest, provisionerId?: string): Promise<readonly ServedQueue[]>;
    provisioner(provisionerId: string, time: Date): Promise<ServedQueue | undefined>;
    provisioners(time: Date, page: PageRequest): Promise<readonly ServedQueue[]>;
    /** Notes that it is served now. Nothing makes it expire earlier. */
    seen(queue: ServedQueue): Promise<void>;
    removeExpired(time: Date): Promise<void>;
  };
  readonly workers: {
    /** Also one that has expired, or is in quarantine. */
    get(worker: WorkerName): Promise<KnownWorker | undefined>;
    /** By `workerKey`: those that have not expired or are in quarantine; if asked, only one of both. */
    list(
      taskQueueId: string,
      time: Date,
      page: PageRequest,
      isQuarantined?: boolean,
    ): Promise<readonly KnownWorker[]>;
    /** Notes that it is there now, adding it if need be. Nothing makes it expire earlier. */
    seen(worker: WorkerName, times: Pick<ServedQueue, 'lastActive' | 'expires'>): Promise<void>;
    /** Notes what a worker has taken, if there is such a worker. */
    took(worker: WorkerName, runs: readonly TaskRun[]): Promise<void>;
    /** Lets it live until `expires` at least. */
    quarantine(
      worker: WorkerName,
      quarantine: Quarantine,
      expires: Date,
    ): Promise<KnownWorker | undefined>;
    /** Without those in quarantine. */
    removeExpired(time: Date): Promise<void>;
  };
  readonly groups: {
    get(taskGroupId: string): Promise<TaskGroup | undefined>;
    /** Adds the group, or extends the existing one; other changes of the group wait. */
    join(group: TaskGroup): Promise<TaskGroup>;
    /** Seals it, unless it has been sealed before. */
    seal(taskGroupId: string, time: Date): Promise<TaskGroup | undefined>;
    removeExpired(time: Date): Promise<void>;
  };
  readonly artifacts: {
    get(taskId: string, runId: number, name: string): Promise<Artifact | undefined>;
    /** Adds or replaces what `change` returns, which sees what there is. */
    change(
      taskId: string,
      runId: number,
      name: string,
      change: (artifact: Artifact | undefined) => Artifact,
    ): Promise<Artifact>;
    /** By name, those after `after`. */
    list(taskId: string, runId: number, page: PageRequest): Promise<readonly Artifact[]>;
    /** Removes so many at most of those that are in no bucket, and returns what they were. */
    removeExpired(time: Date, limit: number): Promise<readonly Artifact[]>;
    /** So many at most of those in this bucket that have expired at that time. */
    expiredIn(bucket: string, time: Date, limit: number): Promise<readonly Artifact[]>;
    /** Removes these, but for one that lives longer now. */
    removeThese(artifacts: readonly Artifact[], time: Date): Promise<void>;
    /** A bucket, other than this one, that artifacts are in. */
    otherBucket(bucket: string | undefined): Promise<string | undefined>;
  };
  readonly objects: {
    get(name: string): Promise<StoredObject | undefined>;
    /** Adds or replaces, and returns what was replaced. */
    put(object: StoredObject): Promise<StoredObject | undefined>;
    /** Removes it, and returns what it was. */
    remove(name: string): Promise<StoredObject | undefined>;
    /** Whether an object is in this file. */
    hasFile(file: string): Promise<boolean>;
  };
  readonly secrets: {
    get(name: string): Promise<Secret | undefined>;
    put(secret: Secret): Promise<void>;
    remove(name: string): Promise<void>;
    /** Those that have not expired at that time, by name. */
    names(time: Date, page: PageRequest): Promise<readonly string[]>;
    removeExpired(time: Date): Promise<void>;
  };
  readonly users: {
    get(name: string): Promise<LocalUser | undefined>;
    /** By name. */
    all(): Promise<readonly LocalUser[]>;
    /** False where there is one of this name. */
    add(user: LocalUser): Promise<boolean>;
    /**
     * Adds or replaces; where the password is another one, sessions end and what third parties have
     * been granted but not fetched.
     */
    put(user: LocalUser): Promise<void>;
    /** Keeps the same password in another way, unless it has been changed meanwhile. */
    rehash(name: string, from: string, to: string): Promise<void>;
    /** With all that `put` ends. False where there is none of this name. */
    remove(name: string): Promise<boolean>;
  };
  readonly sessions: {
    /** Begins one, unless the user's password has changed from this meanwhile. */
    open(session: NewSession, passwordHash: string): Promise<boolean>;
    /** If it has not expired at that time. */
    get(idHash: Uint8Array, time: Date): Promise<OpenSession | undefined>;
    remove(idHash: Uint8Array): Promise<void>;
    removeExpired(time: Date): Promise<void>;
  };
}
