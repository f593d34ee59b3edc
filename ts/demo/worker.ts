/**
 * The calls around a task: a worker creates, claims and reclaims it, and an operator grants scopes, by
 * signed calls straight to the deployment. The task itself only uses the proxy.
 */
import { randomBytes } from 'node:crypto';
import { type Credentials, signHeader } from '../index.js';

/** The queue of the task, and the worker that claims it. */
export const TASK_QUEUE_ID = 'demo/local';
export const WORKER = { workerGroup: 'demo', workerId: 'worker-1' } as const;

/** Scopes of the worker's own credentials. */
export const WORKER_SCOPES = [
  `queue:claim-work:${TASK_QUEUE_ID}`,
  `queue:worker-id:${WORKER.workerGroup}/${WORKER.workerId}`,
];

/** The part of a claim that the demo uses. */
export interface Claim {
  readonly runId: number;
  readonly takenUntil: string;
  readonly credentials: Credentials;
}

/** Makes signed calls to a deployment. */
export class SignedClient {
  readonly #rootUrl: string;
  readonly #credentials: Credentials;

  constructor(rootUrl: string, credentials: Credentials) {
    this.#rootUrl = rootUrl;
    this.#credentials = credentials;
  }

  /** Stores a JSON object as a secret that the task may read. */
  async setSecret(name: string, secret: object): Promise<void> {
    const expires = inHours(24);
    await this.#call('PUT', `/api/secrets/v1/secret/${name}`, { secret, expires });
  }

  /** Grants a scope to every caller, with credentials or without, by creating the role `anonymous`. */
  async grantAnonymous(scope: string): Promise<void> {
    const role = { scopes: [scope], description: 'What every caller may do.' };
    await this.#call('PUT', '/api/auth/v1/roles/anonymous', role);
  }

  /** Creates a task with these scopes. */
  async createTask(taskId: string, scopes: readonly string[]): Promise<void> {
    await this.#call('PUT', `/api/queue/v1/task/${taskId}`, {
      taskQueueId: TASK_QUEUE_ID,
      created: inHours(0),
      deadline: inHours(24),
      scopes,
      payload: {},
      metadata: {
        name: 'demo',
        description: 'Moves an artifact through taskcluster-proxy',
        owner: 'worker@example.com',
        source: 'https://example.com/demo',
      },
    });
  }

  /** Claims the next task of the queue. */
  async claimWork(): Promise<Claim | undefined> {
    const path = `/api/queue/v1/claim-work/${TASK_QUEUE_ID}`;
    const { tasks } = await this.#call<{ tasks: Claim[] }>('POST', path, { ...WORKER, tasks: 1 });
    return tasks[0];
  }

  /** Renews a claim and returns its new credentials. */
  reclaimTask(taskId: string, runId: number): Promise<Claim> {
    return this.#call('POST', `/api/queue/v1/task/${taskId}/runs/${runId}/reclaim`, {});
  }

  async #call<Answer>(method: string, path: string, body: object): Promise<Answer> {
    const url = this.#rootUrl + path;
    const response = await fetch(url, {
      method,
      headers: {
        Authorization: signHeader({ credentials: this.#credentials, method, url }),
        'Content-Type': 'application/json',
      },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) {
      throw new Error(`${method} ${url} was answered with ${response.status}: ${text}`);
    }
    return JSON.parse(text) as Answer;
  }
}

/** A task id: a random UUID of version 4 in URL-safe base64. */
export function newTaskId(): string {
  const uuid = randomBytes(16);
  uuid.writeUInt8((uuid.readUInt8(6) & 0x0f) | 0x40, 6);
  uuid.writeUInt8((uuid.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuid.toString('base64url');
}

/** A time as Taskcluster writes it. */
export function inHours(hours: number): string {
  return new Date(Date.now() + hours * 60 * 60 * 1000).toJSON();
}
