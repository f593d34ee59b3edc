/**
 * Lets services other than auth authenticate their callers: they ask auth, which alone knows access
 * tokens.
 *
 * All requests without credentials have the same scopes. One question to auth serves all waiting requests,
 * and its answer expires so early that a change of the role `anonymous` applies everywhere within a second:
 * it is kept while the version of the roles stays the same, if that is known, and else for less than half a
 * second. A burst of such requests costs auth one (RFC 165).
 *
 * Answers for requests with credentials are not kept: each request is a question.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { OLDEST, type RolesVersion } from '../roles-version.js';
import type { Authentication, HawkRequest, SignatureValidator } from './authenticate.js';

/** Auth was unreachable, or its answer was invalid. */
export class RemoteAuthError extends Error {
  override readonly name = 'RemoteAuthError';
}

export interface RemoteValidatorOptions {
  /** Root URL of the deployment that has the auth service. */
  readonly rootUrl: string;
  /** The version of the roles, if this process serves auth itself. */
  readonly roles?: RolesVersion | undefined;
}

/**
 * For how long the answer to `authenticateAnonymous` is kept under one version of the roles, in
 * milliseconds from the question.
 */
const LONGEST_AGE = 30_000;

/** Pause before the next question while auth is unreachable, in milliseconds. */
const RETRY_DELAYS = [50, 200, 800];

const ANSWER_TIMEOUT = 30_000;

/** A validator that asks the auth service of a deployment. */
export function remoteValidator({ rootUrl, roles }: RemoteValidatorOptions): SignatureValidator {
  const auth = `${rootUrl}/api/auth/v1`;
  const question = () => ask(`${auth}/authenticate-anonymous`, { method: 'GET' });
  const anonymous = shared(question, roles);
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

/** A question to auth, or its answer. */
interface Asked<Found> {
  readonly found: Found;
  /** Version of the roles at the time of the question. */
  readonly version: number | undefined;
  /** When the answer expires, by the monotonic clock. */
  readonly until: number;
}

/** Asks one question for all requests that arrive while it is open or soon after. */
function shared(
  question: () => Promise<Authentication>,
  roles: RolesVersion | undefined,
): () => Promise<Authentication> {
  let open: Asked<Promise<Authentication>> | undefined;
  let kept: Asked<Authentication> | undefined;
  return async () => {
    const version = await roles?.current();
    const isGood = (asked: Asked<unknown>) =>
      asked.version === version && performance.now() < asked.until;
    if (kept !== undefined && isGood(kept)) {
      return kept.found;
    }
    if (open !== undefined && isGood(open)) {
      return open.found;
    }
    const until = performance.now() + (version === undefined ? OLDEST : LONGEST_AGE);
    const asked = { found: question(), version, until };
    open = asked;
    try {
      const found = await asked.found;
      const left = found.status === 'auth-failed' ? 0 : found.expires.getTime() - Date.now();
      kept = { found, version, until: Math.min(until, performance.now() + left) };
      return found;
    } finally {
      if (open === asked) {
        open = undefined;
      }
    }
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
