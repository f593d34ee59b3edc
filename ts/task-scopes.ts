/**
 * The scopes of a task, read from the queue with the proxy's own credentials, since reading a task
 * may need a scope. Loaded only where a task id is given.
 */
import { setTimeout as sleep } from 'node:timers/promises';

import { type Credentials, CredentialsError } from './credentials.js';
import { signHeader } from './hawk.js';
import { native } from './native.js';
import { OptionsError, type ProxyOptions, readDuration } from './options.js';
import { SETTINGS } from './settings.js';

/** The task could not be read; the sentence says why. */
export class TaskLookupError extends Error {
  override readonly name = 'TaskLookupError';
  readonly code = 'ERR_TASK_LOOKUP';

  constructor(taskId: string, reason: string) {
    super(`could not fetch taskcluster task '${taskId}' : ${reason}`);
  }
}

/** A failure that another try may better. */
class PassingFailure extends Error {}

/** How much longer each pause is than the one before, and by how much of itself it varies. */
const GROWTH = 1.5;
const JITTER = 0.5;

/** For one try. */
const TIMEOUT = 60_000;

/**
 * Reads the scopes of `taskId`. Answers of 5xx and failures of the network are tried again, with
 * the pauses of requests that go through the proxy.
 *
 * @throws {@link TaskLookupError}
 * @throws {@link OptionsError} The root URL is none.
 * @throws {@link CredentialsError}
 */
export async function taskScopes(
  taskId: string,
  options: Pick<ProxyOptions, 'rootUrl' | 'credentials' | 'retryFirst' | 'retryCap' | 'retryFor'>,
): Promise<string[]> {
  const duration = (key: 'retryFirst' | 'retryCap' | 'retryFor') =>
    readDuration(options[key] ?? SETTINGS[key].default, key);
  const [first, cap, limit] = [duration('retryFirst'), duration('retryCap'), duration('retryFor')];
  checkRootUrl(options.rootUrl);
  const url = `${options.rootUrl.replace(/\/$/, '')}/api/queue/v1/task/${taskId}`;
  const end = Date.now() + limit;
  for (let pause = first; ; pause *= GROWTH) {
    try {
      return readScopes(await fetchTask(url, options.credentials));
    } catch (error) {
      if (error instanceof CredentialsError) {
        throw error;
      }
      const wait = Math.min(pause, cap) * (1 + JITTER * (2 * Math.random() - 1));
      if (!(error instanceof PassingFailure) || Date.now() + wait > end) {
        throw new TaskLookupError(taskId, (error as Error).message);
      }
      await sleep(wait);
    }
  }
}

/** Before the credentials sign anything for whom it names. */
function checkRootUrl(rootUrl: string): void {
  try {
    native.checkRootUrl(rootUrl);
  } catch (error) {
    throw new OptionsError((error as Error).message);
  }
}

async function fetchTask(url: string, credentials: Credentials): Promise<unknown> {
  const authorization = signHeader({ credentials, url });
  const response = await fetch(url, {
    headers: { authorization },
    redirect: 'error',
    signal: AbortSignal.timeout(TIMEOUT),
  }).catch((error: Error) => {
    throw new PassingFailure(reason(error));
  });
  const body = await response.text().catch((error: Error) => {
    throw new PassingFailure(reason(error));
  });
  if (!response.ok) {
    const Failure = response.status >= 500 ? PassingFailure : Error;
    throw new Failure(`the queue answered ${response.status}${firstLine(messageOf(body))}`);
  }
  return parse(body);
}

/** What `fetch` knows is in the cause; its own message says only that it failed. */
function reason(error: Error): string {
  const { message, code } = (error.cause ?? error) as Error & { code?: string };
  return message || code || 'the network failed';
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** Taskcluster's services explain an error in `message`, whose first line is the gist. */
function messageOf(body: string): string {
  const { message } = (parse(body) ?? {}) as { message?: unknown };
  return typeof message === 'string' ? message : '';
}

function firstLine(message: string): string {
  const [line] = message.split('\n');
  return line ? `: ${line}` : '';
}

function readScopes(task: unknown): string[] {
  const { scopes } = (task ?? {}) as { scopes?: unknown };
  if (!Array.isArray(scopes) || !scopes.every((scope) => typeof scope === 'string')) {
    throw new Error('the answer is not a task definition with scopes');
  }
  return scopes;
}
