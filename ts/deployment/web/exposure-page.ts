/**
 * The exposure page: an operator sees which caller may use which endpoint, why, and what a role would
 * change; compares the deployment with a saved state; sees which scopes no call in audit logs has needed;
 * and writes a role after seeing its effect.
 *
 * The page shows roles, so it is for signed-in users with `auth:list-roles`; a client takes
 * `auth:get-client:<clientId>`. It writes a role by the rules of the API, as the signed-in user.
 *
 * The page decides nothing: `review/` does, also for the commands. Its HTML is in `exposure-view.ts`.
 */
import type { Request, RequestHandler, Response } from 'express';
import { Caller } from '../api/authenticate.js';
import { ApiError } from '../api/errors.js';
import type { ScopeTemplate } from '../api/scope-template.js';
import type { ScopeResolver } from '../auth/clients.js';
import {
  CREATING,
  createRole,
  type RoleWriter,
  UPDATING,
  updateRole,
} from '../auth/role-endpoints.js';
import { RoleError, type RoleScopes } from '../auth/roles.js';
import type { Exposure } from '../exposure.js';
import type { PublicUrl } from '../public-url.js';
import { logFiles } from '../review/audit-log.js';
import { readState } from '../review/baseline.js';
import { changes } from '../review/changes.js';
import { OwnDeployment } from '../review/own-deployment.js';
import { exposureIf, exposureNow, whyOf } from '../review/questions.js';
import { ReviewError } from '../review/subject.js';
import { readDays, type Unused, unusedScopes } from '../review/unused.js';
import { unusedMarkdown } from '../review/unused-wording.js';
import { markdown } from '../review/wording.js';
import { satisfies } from '../scopes.js';
import type { Store } from '../storage/store.js';
import { type Question, questionIn, rolesIn, shownOf, subjectIn } from './exposure-form.js';
import {
  PAGE,
  type Refusal,
  type Review,
  sendRefusal,
  sendReview,
  titleOf,
} from './exposure-view.js';
import { field } from './fields.js';
import type { Sessions } from './sessions.js';
import { userOf } from './user.js';

export interface ExposurePageOptions {
  readonly store: Store;
  readonly resolver: ScopeResolver;
  readonly sessions: Sessions;
  readonly publicUrl: Pick<PublicUrl, 'of' | 'own' | 'announced'>;
  /** Audit logs of proxies, or folders of them. */
  readonly auditLogs: readonly string[];
}

/** The signed-in user and the user's expanded scopes. */
interface Viewer {
  readonly identity: string;
  readonly scopes: readonly string[];
  readonly expires: Date;
  /** Whether there are audit logs to ask for days of. */
  readonly hasAuditLogs: boolean;
}

export function exposurePage(options: ExposurePageOptions): RequestHandler {
  return forViewers(options, async (viewer, request, response) => {
    const question = questionIn(request.query);
    const review = {
      ...(await reviewOf(options, viewer, question)),
      unused: await unusedOf(options, viewer, question, request, response),
    };
    switch (field(request.query, 'format')) {
      case 'json':
        sendFile(response, 'json', JSON.stringify(shownIn(review, question), null, 2));
        break;
      case 'state':
        sendFile(response, 'json', JSON.stringify(review.now, null, 2));
        break;
      case 'md':
        sendFile(response, 'md', documentOf(review, question));
        break;
      default:
        sendReview(response, viewer, question, review);
    }
  });
}

/** The endpoints that are shown; with the unused scopes beside them if the question has days. */
function shownIn({ rows, unused }: Review, question: Question): object {
  const endpoints = shownOf(rows, question);
  return unused === undefined ? endpoints : { endpoints, unused };
}

function documentOf(review: Review, question: Question): string {
  const endpoints = markdown(titleOf(review), shownOf(review.rows, question));
  return review.unused === undefined ? endpoints : `${endpoints}\n${unusedMarkdown(review.unused)}`;
}

/** Compares with a saved state, which is a file or a field of the form. */
export function compareStates(options: ExposurePageOptions): RequestHandler {
  return forViewers(options, async (viewer, request, response) => {
    const question = questionIn(request.body);
    const review = await reviewOf(options, viewer, question);
    const kept = keptState(request.body);
    sendReview(response, viewer, question, { ...review, since: changes(kept, review.now) });
  });
}

/** @throws ReviewError */
function keptState(form: unknown): Exposure[] {
  const given = [
    { text: field(form, 'file') ?? '', name: 'the file' },
    { text: field(form, 'state') ?? '', name: 'the pasted text' },
  ].filter(({ text }) => text.trim() !== '');
  const [first, second] = given;
  if (first === undefined) {
    throw new ReviewError(
      'there is no state to compare with: choose the file that was kept, or paste it',
    );
  }
  if (second !== undefined) {
    throw new ReviewError('there are a file and a pasted text: leave one out');
  }
  return readState(first.text, first.name);
}

/** Writes the role of the form, as the signed-in user. */
export function writeRoles(options: ExposurePageOptions): RequestHandler {
  return forViewers(options, async (viewer, request, response) => {
    const question = questionIn(request.body);
    const before = await reviewOf(options, viewer, { ...question, whatIf: '' });
    const [wanted, second] = rolesIn(question);
    if (wanted === undefined) {
      throw new ReviewError('there is no role to write: write it as role=scope,scope');
    }
    if (second !== undefined) {
      throw new ReviewError('one role is written at a time: leave one line');
    }
    await writeRole(options, viewer, request, wanted);
    const asked = { ...question, whatIf: '' };
    const review = await reviewOf(options, viewer, asked);
    sendReview(response, viewer, asked, {
      ...review,
      written: wanted.roleId,
      since: changes(before.now, review.now),
    });
  });
}

async function writeRole(
  { store, resolver }: ExposurePageOptions,
  viewer: Viewer,
  request: Request,
  { roleId, scopes }: RoleScopes,
): Promise<void> {
  const present = (await store.roles.all()).find((role) => role.roleId === roleId);
  const description = present?.description ?? '';
  const write = present === undefined ? createRole : updateRole;
  const writer = writerFor(viewer, request, present === undefined ? CREATING : UPDATING);
  await write(writer, { roleId, scopes, description }, { store, resolver });
}

/** The writer of a role, with the scopes that the API sees in a signed request. */
function writerFor(
  { identity: clientId, scopes, expires }: Viewer,
  request: Request,
  template: ScopeTemplate,
): RoleWriter {
  const received = { incoming: request, target: request.originalUrl, text: undefined };
  const caller = new Caller(received, template, async () => ({
    status: 'auth-success',
    scheme: 'hawk',
    clientId,
    scopes,
    expires,
  }));
  return {
    authorize: (parameters) => caller.authorize(parameters),
    clientId: () => caller.clientId(),
    address: request.ip ?? '',
  };
}

type Action = (viewer: Viewer, request: Request, response: Response) => Promise<void>;

/** Redirects a user who has not signed in, and answers an error with one sentence. */
function forViewers(
  { sessions, resolver, auditLogs }: ExposurePageOptions,
  action: Action,
): RequestHandler {
  return async (request, response) => {
    const session = await sessions.of(request);
    if (session === undefined) {
      const query = request.originalUrl.replace(/^[^?]*/, '');
      const target = request.method === 'GET' ? `${PAGE}${query}` : PAGE;
      response.redirect(303, `/login?continue=${encodeURIComponent(target)}`);
      return;
    }
    const user = userOf(session);
    const scopes = await resolver.expandScopes(user.scopes());
    const hasAuditLogs = auditLogs.length > 0;
    const viewer = { identity: user.identity, scopes, expires: session.expires, hasAuditLogs };
    try {
      demand(viewer, LIST_ROLES);
      await action(viewer, request, response);
    } catch (error) {
      if (error instanceof ViewerLeftError) {
        return;
      }
      const refusal = refusalOf(error);
      if (refusal === undefined) {
        throw error;
      }
      const question = questionIn(request.method === 'GET' ? request.query : request.body);
      sendRefusal(response, viewer, question, refusal);
    }
  };
}

const LIST_ROLES = 'auth:list-roles';

/** The viewer lacks a scope for the question. */
class LackingScopeError extends Error {
  override readonly name = 'LackingScopeError';
}

/** The viewer does not wait for the answer. */
class ViewerLeftError extends Error {
  override readonly name = 'ViewerLeftError';
}

function demand({ identity, scopes }: Viewer, scope: string): void {
  if (!satisfies(scopes, scope)) {
    throw new LackingScopeError(
      `You are ${identity}, and lack the scope ${scope}. An operator grants it to the role ` +
        `login-identity:${identity}.`,
    );
  }
}

function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof LackingScopeError) {
    return { status: 403, sentence: error.message };
  }
  if (error instanceof ReviewError || error instanceof RoleError) {
    return { status: 400, sentence: `${error.message}.` };
  }
  return error instanceof ApiError && error.status < 500
    ? { status: error.status, sentence: error.message.replaceAll('```', '') }
    : undefined;
}

/** @throws ReviewError, RoleError */
async function reviewOf(
  { store, resolver }: ExposurePageOptions,
  viewer: Viewer,
  question: Question,
): Promise<Review> {
  const source = new OwnDeployment(store, resolver);
  const subject = subjectIn(question);
  if (subject.kind === 'client') {
    demand(viewer, `auth:get-client:${subject.clientId}`);
  }
  const wanted = rolesIn(question);
  const now = await exposureNow(source, subject);
  const rows = wanted.length === 0 ? now : (await exposureIf(source, subject, now, wanted)).rows;
  const row = now.find(({ service, endpoint }) => `${service}.${endpoint}` === question.why);
  if (question.why !== '' && row === undefined) {
    throw new ReviewError(`there is no endpoint ${question.why}`);
  }
  const reason = row && (await whyOf(source, subject, row, wanted));
  return { subject, now, rows, wanted, would: changes(now, rows), reason, unused: undefined };
}

/** Reads the audit logs if the question has days. The reading ends when the user leaves. */
async function unusedOf(
  { store, resolver, publicUrl, auditLogs }: ExposurePageOptions,
  { scopes }: Viewer,
  question: Question,
  request: Request,
  response: Response,
): Promise<Unused | undefined> {
  if (question.days === '') {
    return undefined;
  }
  if (auditLogs.length === 0) {
    throw new ReviewError('there are no audit logs: start the deployment with --audit-log');
  }
  const leaving = new AbortController();
  response.once('close', () => leaving.abort(new ViewerLeftError()));
  return unusedScopes(new OwnDeployment(store, resolver), {
    subject: subjectIn(question),
    wanted: rolesIn(question),
    days: readDays(question.days),
    files: logFiles(auditLogs),
    rootUrls: [publicUrl.of(request), publicUrl.announced, publicUrl.own],
    readTask: async (taskId) =>
      satisfies(scopes, `queue:get-task:${taskId}`)
        ? (await store.tasks.get(taskId))?.definition
        : undefined,
    signal: leaving.signal,
  });
}

function sendFile(response: Response, extension: 'json' | 'md', text: string): void {
  response
    .set('Content-Disposition', `attachment; filename="exposure.${extension}"`)
    .type(extension === 'json' ? 'application/json' : 'text/markdown')
    .send(text);
}
