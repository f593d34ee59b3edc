/**
 * The scopes of a task, read from the queue by the core: with the proxy's own credentials, since
 * reading a task may need a scope, and by its way out. Loaded only where a task id is given.
 */
import { OptionsError } from './check.js';
import { checkCredentials } from './credentials.js';
import { type NativeAnswer, native } from './native.js';
import { decide, type ProxyOptions } from './options.js';

/** The task could not be read; the sentence says why. */
export class TaskLookupError extends Error {
  override readonly name = 'TaskLookupError';
  readonly code = 'ERR_TASK_LOOKUP';

  constructor(taskId: string, reason: string) {
    super(`could not fetch taskcluster task '${taskId}' : ${reason}`);
  }
}

/**
 * Reads the scopes of `taskId` for a proxy of these options. What there is to warn of at a start is
 * logged before. Tries that fail are logged, and made again as those of a request that goes through
 * the proxy; what no try can help ends it at once.
 *
 * @throws {@link TaskLookupError}
 * @throws {@link OptionsError} The root URL is none.
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

/** The keys of a JSON object that matter here; none of anything else. */
function parse(body: Buffer): { message?: unknown; scopes?: unknown } {
  try {
    return (JSON.parse(body.toString()) ?? {}) as object;
  } catch {
    return {};
  }
}

/** Taskcluster's services explain an error in `message`, whose first line is the gist. */
function firstLine(message: unknown): string {
  const [line] = typeof message === 'string' ? message.split('\n') : [];
  return line ? `: ${line}` : '';
}
