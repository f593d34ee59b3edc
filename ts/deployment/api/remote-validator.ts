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
import { Outage } from '../outage.js';
import { OLDEST, type RolesVersion } from '../roles-version.js';
import type { Authentication, HawkRequest, SignatureValidator } from './authenticate.js';

/** Auth gave an answer that no auth service gives. */
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

/** An answer of auth, read to its end. */
interface AuthAnswer {
  readonly status: number;
  readonly challenge: string | null;
  readonly text: string;
}

async function ask(url: string, init: RequestInit): Promise<Authentication> {
  for (const delay of RETRY_DELAYS) {
    const answer = await attempt(url, init).catch(() => undefined);
    if (answer !== undefined && answer.status < 500) {
      return readAnswer(answer);
    }
    await sleep(delay);
  }
  return readAnswer(await attempt(url, init));
}

async function attempt(url: string, init: RequestInit): Promise<AuthAnswer> {
  try {
    const response = await fetch(url, { ...init, signal: AbortSignal.timeout(ANSWER_TIMEOUT) });
    const { status, headers } = response;
    return { status, challenge: headers.get('www-authenticate'), text: await response.text() };
  } catch (error) {
    throw new Outage(`cannot ask ${url}: see that the auth service runs there`, { cause: error });
  }
}

function readAnswer({ status, challenge, text }: AuthAnswer): Authentication {
  if (status === 400) {
    const { message } = JSON.parse(text) as { message: string };
    return { status: 'auth-failed', message: `Bad Request: ${message}` };
  }
  if (status >= 500) {
    throw new Outage(`auth answered ${status}: its own log says why`);
  }
  if (status !== 200) {
    throw new RemoteAuthError(`auth answered ${status}: see that the root URL is a deployment's`);
  }
  const { expires, ...found } = JSON.parse(text) as Record<string, unknown>;
  return {
    ...found,
    ...(typeof expires === 'string' && { expires: new Date(expires) }),
    ...(challenge !== null && { challenge }),
  } as Authentication;
}
