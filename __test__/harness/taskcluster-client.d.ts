// Types of the part of npm `taskcluster-client` that the tests call; the package brings none.
declare module 'taskcluster-client' {
  interface Credentials {
    clientId: string;
    accessToken: string;
    certificate?: string;
  }

  interface ClientOptions {
    rootUrl: string;
    credentials: Partial<Credentials>;
    authorizedScopes?: string[];
    retries?: number;
  }

  type Method =
    | 'artifact'
    | 'artifactInfo'
    | 'cancelTask'
    | 'cancelTaskGroup'
    | 'changeTaskGroupPriority'
    | 'changeTaskPriority'
    | 'claimTask'
    | 'claimWork'
    | 'client'
    | 'createArtifact'
    | 'createClient'
    | 'createRole'
    | 'createTask'
    | 'currentScopes'
    | 'declareProvisioner'
    | 'declareWorker'
    | 'declareWorkerType'
    | 'deleteClient'
    | 'deleteRole'
    | 'disableClient'
    | 'enableClient'
    | 'expandScopes'
    | 'finishArtifact'
    | 'get'
    | 'getArtifact'
    | 'getEntityHistory'
    | 'getLatestArtifact'
    | 'getProvisioner'
    | 'getTaskGroup'
    | 'getTaskQueue'
    | 'getWorker'
    | 'getWorkerType'
    | 'latestArtifact'
    | 'latestArtifactInfo'
    | 'list'
    | 'listArtifacts'
    | 'listAuditHistory'
    | 'listClaimedTasks'
    | 'listClients'
    | 'listDependentTasks'
    | 'listLatestArtifacts'
    | 'listPendingTasks'
    | 'listProvisioners'
    | 'listRoleIds'
    | 'listRoles'
    | 'listRoles2'
    | 'listTaskGroup'
    | 'listTaskQueues'
    | 'listWorkerTypes'
    | 'listWorkers'
    | 'pendingTasks'
    | 'ping'
    | 'quarantineWorker'
    | 'reclaimTask'
    | 'remove'
    | 'reportCompleted'
    | 'reportException'
    | 'reportFailed'
    | 'rerunTask'
    | 'resetAccessToken'
    | 'role'
    | 'scheduleTask'
    | 'sealTaskGroup'
    | 'set'
    | 'status'
    | 'statuses'
    | 'task'
    | 'taskQueueCounts'
    | 'tasks'
    | 'testAuthenticate'
    | 'testAuthenticateGet'
    | 'updateClient'
    | 'updateRole';

  /** Methods are named as in the service's reference; their errors have a `code`. */
  // biome-ignore lint/suspicious/noExplicitAny: what each returns is for the test to look at
  type Client = Record<Method, (...args: unknown[]) => Promise<any>> & {
    buildSignedUrl(method: unknown, ...args: unknown[]): string;
  };

  const taskcluster: {
    Auth: new (options: ClientOptions) => Client;
    Queue: new (options: ClientOptions) => Client;
    Secrets: new (options: ClientOptions) => Client;
    /** From a service's own reference. */
    createClient(reference: unknown, name: string): new (options: ClientOptions) => Client;
    slugid(): string;
    fromNow(offset: string): Date;
    /** Returns the content type. */
    downloadArtifact(options: {
      taskId: string;
      runId?: number;
      name: string;
      queue: Client;
      streamFactory: () => Promise<NodeJS.WritableStream>;
    }): Promise<string>;
    createTemporaryCredentials(options: {
      credentials: Credentials;
      clientId?: string;
      scopes: string[];
      start: Date;
      expiry: Date;
    }): Required<Credentials>;
  };
  export default taskcluster;
}
