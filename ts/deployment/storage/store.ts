/**
 * What the services keep, as they see it. An implementation makes each call one transaction. Values
 * are never changed in place, neither here nor by callers.
 *
 * What it is not: it checks no scopes and knows no clock. The bytes of artifacts are in
 * `object-folder.ts`; here is only what is known of them.
 */

/** A client of the auth service. */
export interface Client {
  readonly clientId: string;
  readonly accessToken: string;
  /** As granted, roles not expanded. */
  readonly scopes: readonly string[];
  readonly expires: Date;
  readonly disabled: boolean;
}

/** Scopes that come with `assume:<roleId>`. A `roleId` that ends in `*` is every role under it. */
export interface Role {
  readonly roleId: string;
  readonly scopes: readonly string[];
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

/** One attempt at a task. Its number is its place in the list. */
export interface Run {
  readonly state: 'pending' | 'running' | 'completed' | 'failed' | 'exception';
  readonly reasonCreated: 'scheduled' | 'retry';
  readonly reasonResolved?: string;
  readonly workerGroup?: string;
  readonly workerId?: string;
  readonly takenUntil?: string;
  readonly scheduled: string;
  readonly started?: string;
  readonly resolved?: string;
}

/** A task and how far it has come. */
export interface Task {
  readonly taskId: string;
  readonly definition: TaskDefinition;
  readonly retriesLeft: number;
  readonly runs: readonly Run[];
}

/** What is known of an artifact. Its content, if it has any here, is the object `objectName`. */
export interface Artifact {
  readonly taskId: string;
  readonly runId: number;
  readonly name: string;
  readonly contentType: string;
  readonly contentLength?: number;
  readonly expires: Date;
  readonly content: ArtifactContent;
}

/** By `storageType`: kept here, elsewhere, under another name, or missing and why. */
export type ArtifactContent =
  | { readonly storageType: 's3'; readonly objectName: string }
  | { readonly storageType: 'reference'; readonly url: string }
  | { readonly storageType: 'link'; readonly artifact: string }
  | { readonly storageType: 'error'; readonly reason: string; readonly message: string };

/** An uploaded object and the file that holds it. */
export interface StoredObject {
  readonly name: string;
  /** A name that no other upload has, not even one of the same object. */
  readonly file: string;
  readonly size: number;
  readonly contentType: string;
  readonly contentEncoding?: string;
}

/** A secret, whose value is any JSON object. */
export interface Secret {
  readonly name: string;
  readonly secret: Readonly<Record<string, unknown>>;
  readonly expires: Date;
}

/** Everything that outlives a request. */
export interface Store {
  readonly clients: {
    get(clientId: string): Promise<Client | undefined>;
    put(client: Client): Promise<void>;
  };
  readonly roles: {
    all(): Promise<readonly Role[]>;
    put(role: Role): Promise<void>;
  };
  readonly tasks: {
    get(taskId: string): Promise<Task | undefined>;
    /** Adds the task, or gives the one that has its id already. */
    add(task: Task): Promise<Task>;
    /**
     * Puts what `change` makes of the task in its place and returns it; `change` sees the latest
     * state, and nobody else changes the task meanwhile.
     */
    change(taskId: string, change: (task: Task) => Task): Promise<Task | undefined>;
    /** Ids of tasks whose last run is pending, first the highest priority, then the oldest. */
    pending(taskQueueId: string, limit: number): Promise<readonly string[]>;
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
    list(
      taskId: string,
      runId: number,
      page: { readonly after: string; readonly limit: number },
    ): Promise<readonly Artifact[]>;
  };
  readonly objects: {
    get(name: string): Promise<StoredObject | undefined>;
    /** Adds or replaces, and returns what was replaced. */
    put(object: StoredObject): Promise<StoredObject | undefined>;
  };
  readonly secrets: {
    get(name: string): Promise<Secret | undefined>;
    put(secret: Secret): Promise<void>;
    remove(name: string): Promise<void>;
  };
}
