/**
 * How services other than auth learn who calls them: they ask auth, which alone knows access tokens.
 *
 * What a request without credentials may do is the same for all of them. It is asked once for all
 * who wait, and kept so short that a change of the role `anonymous` shows everywhere within a second:
 * until it is heard of by whoever hears of changes, for less than a second by others. A burst of such
 * requests costs auth one (RFC 165).
 *
 * What it is not: it keeps nothing of requests with credentials. Each is asked for.
 */
import type { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Authentication, HawkRequest, SignatureValidator } from './authenticate.js';

/** Auth could not be asked, or did not answer as it should. */
export class RemoteAuthError extends Error {
  override readonly name = 'RemoteAuthError';
}

export interface RemoteValidatorOptions {
  /** Of the deployment whose auth service is asked. */
  readonly rootUrl: string;
  /** Says when roles have changed, as soon as any process of the deployment can know. */
  readonly changes?: RoleChanges | undefined;
}

export type RoleChanges = EventEmitter<{ roles: [] }>;

/** For how long the answer to `authenticateAnonymous` is kept, in milliseconds from the question. */
const ANONYMOUS_AGE = 900;

/** The same where changes are heard of. */
const LONGEST_AGE = 30_000;

/** How long after one who hears of a change auth may have heard of it too, in milliseconds. */
const SETTLING = 900;

/** How long to wait before asking again when auth cannot be reached, in milliseconds. */
const RETRY_DELAYS = [50, 200, 800];

const ANSWER_TIMEOUT = 30_000;

/** A validator that asks the auth service of a deployment. */
export function remoteValidator({ rootUrl, changes }: RemoteValidatorOptions): SignatureValidator {
  const auth = `${rootUrl}/api/auth/v1`;
  const question = () => ask(`${auth}/authenticate-anonymous`, { method: 'GET' });
  const anonymous = shared(question, changes);
  return (request) => (hasCredentials(request) ? authenticateHawk(auth, request) : anonymous());
}

function hasCredentials({ authorization, resource }: HawkRequest): boolean {
  return authorization !== undefined || /[?&]bewit=/.test(resource);
}

async function authenticateHawk(auth: string, request: HawkRequest): Promise<Authentication> {
  return ask(`${auth}/authenticate-hawk`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(request),
  });
}

/** Asks one question for all who ask while it is open, and for those who come soon after. */
function shared(
  question: () => Promise<Authentication>,
  changes: RoleChanges | undefined,
): () => Promise<Authentication> {
  let open: Promise<Authentication> | undefined;
  let kept: { readonly answer: Authentication; readonly until: number } | undefined;
  let changed = Number.NEGATIVE_INFINITY;
  changes?.on('roles', () => {
    changed = performance.now();
    kept = undefined;
  });
  const put = async () => {
    const asked = performance.now();
    try {
      const answer = await question();
      // Neither an answer from before a change nor one soon after it need be the last.
      const isSettled = changes !== undefined && asked > changed + SETTLING;
      const left = answer.status === 'auth-failed' ? 0 : answer.expires.getTime() - Date.now();
      const oldest = asked + (isSettled ? LONGEST_AGE : ANONYMOUS_AGE);
      kept = { answer, until: Math.min(oldest, performance.now() + left) };
      return answer;
    } finally {
      open = undefined;
    }
  };
  return async () => {
    if (kept !== undefined && performance.now() < kept.until) {
      return kept.answer;
    }
    open ??= put();
    return open;
  };
}

async function ask(url: string, init: RequestInit): Promise<Authentication> {
  for (const delay of RETRY_DELAYS) {
    const response = await attempt(url, init).catch(() => undefined);
    if (response !== undefined && response.status < 500) {
      return readAnswer(response);
    }
    await response?.body?.cancel();
    await sleep(delay);
  }
  return readAnswer(await attempt(url, init));
}

async function attempt(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...init, signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
  } catch (error) {
    throw new RemoteAuthError(`cannot ask ${url}: see that the auth service runs there`, {
      cause: error,
    });
  }
}

async function readAnswer(response: Response): Promise<Authentication> {
  if (response.status === 400) {
    const { message } = (await response.json()) as { message: string };
    return { status: 'auth-failed', message: `Bad Request: ${message}` };
  }
  if (!response.ok) {
    throw new RemoteAuthError(`auth answered ${response.status}: its own log says why`);
  }
  const { expires, ...found } = (await response.json()) as Record<string, unknown>;
  const challenge = response.headers.get('www-authenticate');
  return {
    ...found,
    ...(typeof expires === 'string' && { expires: new Date(expires) }),
    ...(challenge !== null && { challenge }),
  } as Authentication;
}
