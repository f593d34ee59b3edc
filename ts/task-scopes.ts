/**
 * Reads the scopes of a task from the queue. The core sends the request, with the proxy's own credentials
 * (reading a task may need a scope) and its outgoing connections. Loaded only with a task id.
 */
import { OptionsError } from './check.js';
import { checkCredentials } from './credentials.js';
import { type NativeAnswer, native } from './native.js';
import { decide, type ProxyOptions } from './options.js';

/** The task could not be read; the message says why. */
export class TaskLookupError extends Error {
  override readonly name = 'TaskLookupError';
  readonly code = 'ERR_TASK_LOOKUP';

  constructor(taskId: string, reason: string) {
    super(`could not fetch taskcluster task '${taskId}' : ${reason}`);
  }
}

/**
 * Reads the scopes of `taskId` for a proxy of these options. Logs the warnings of the start first. Failed
 * tries are logged and repeated like those of a proxied request; an error that no retry can mend ends it
 * at once.
 *
 * @throws {@link TaskLookupError}
 * @throws {@link OptionsError} The root URL is not valid.
 * @throws {@link CredentialsError}
 */
export async function taskScopes(taskId: string, options: ProxyOptions): Promise<string[]> {
  const { rootUrl } = options;
  const decided = {
    ...decide(options),
    rootUrl,
    credentials: checkCredentials(options.credentials),
    warned: false,
  };
  const target = `/api/queue/v1/task/${taskId}`;
  const answer = await native.lookup(decided, target).catch((error: Error & { code?: string }) => {
    throw error.code === 'ERR_OPTIONS'
      ? new OptionsError(error.message)
      : new TaskLookupError(taskId, error.message);
  });
  return readScopes(taskId, answer);
}

function readScopes(taskId: string, { status, body }: NativeAnswer): string[] {
  const { message, scopes } = parse(body);
  if (status !== 200) {
    throw new TaskLookupError(taskId, `the queue answered ${status}${firstLine(message)}`);
  }
  if (!Array.isArray(scopes) || !scopes.every(isScope)) {
    throw new TaskLookupError(taskId, 'the answer is not a task definition with scopes');
  }
  return scopes;
}

function isScope(scope: unknown): scope is string {
  return typeof scope === 'string' && scope !== '' && scope.isWellFormed();
}

/** The keys of a JSON object that matter here; none for any other value. */
function parse(body: Buffer): { message?: unknown; scopes?: unknown } {
  try {
    return (JSON.parse(body.toString()) ?? {}) as object;
  } catch {
    return {};
  }
}

/** Taskcluster's services explain an error in `message`; its first line is the summary. */
function firstLine(message: unknown): string {
  const [line] = typeof message === 'string' ? message.split('\n') : [];
  return line ? `: ${line}` : '';
}
