/**
 * The exposure page: an operator sees which caller may use which endpoint, why, and what a role would
 * change; compares the deployment with a saved state; and writes a role after seeing its effect.
 *
 * The page shows roles, so it is for signed-in users with `auth:list-roles`; a client takes
 * `auth:get-client:<clientId>`. It writes a role by the rules of the API, as the signed-in user.
 *
 * The page decides nothing: `review/` does, also for the commands.
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
import { findings, readState } from '../review/baseline.js';
import { type Change, changes } from '../review/changes.js';
import { OwnDeployment } from '../review/own-deployment.js';
import { exposureIf, exposureNow, whyOf } from '../review/questions.js';
import { described, ReviewError, type Subject } from '../review/subject.js';
import type { Tree } from '../review/tree.js';
import { byOf, markdown, needsOf, stateWord, wordOf } from '../review/wording.js';
import { satisfies } from '../scopes.js';
import type { Store } from '../storage/store.js';
import {
  hiddenFields,
  linkTo,
  type Question,
  questionForm,
  questionIn,
  rolesIn,
  shownOf,
  subjectIn,
} from './exposure-form.js';
import { field } from './fields.js';
import { type Html, html, problem, sendPage } from './pages.js';
import type { Sessions } from './sessions.js';
import { userOf } from './user.js';

/** Its path under `/login`, the path of the session cookie. */
export const EXPOSURE_PATH = '/exposure';
export const COMPARE_PATH = '/exposure/compare';
export const WRITE_ROLE_PATH = '/exposure/role';

const PAGE = `/login${EXPOSURE_PATH}`;

export interface ExposurePageOptions {
  readonly store: Store;
  readonly resolver: ScopeResolver;
  readonly sessions: Sessions;
}

/** The signed-in user and the user's expanded scopes. */
interface Viewer {
  readonly identity: string;
  readonly scopes: readonly string[];
  readonly expires: Date;
}

export function exposurePage(options: ExposurePageOptions): RequestHandler {
  return forViewers(options, async (viewer, request, response) => {
    const question = questionIn(request.query);
    const review = await reviewOf(options, viewer, question);
    switch (field(request.query, 'format')) {
      case 'json':
        sendFile(response, 'json', JSON.stringify(shownOf(review.rows, question), null, 2));
        break;
      case 'state':
        sendFile(response, 'json', JSON.stringify(review.now, null, 2));
        break;
      case 'md':
        sendFile(response, 'md', markdown(titleOf(review), shownOf(review.rows, question)));
        break;
      default:
        show(response, viewer, question, review);
    }
  });
}

/** Compares with a saved state, which is a field of the form. */
export function compareStates(options: ExposurePageOptions): RequestHandler {
  return forViewers(options, async (viewer, request, response) => {
    const question = questionIn(request.body);
    const review = await reviewOf(options, viewer, question);
    const kept = readState(field(request.body, 'state') ?? '', 'the pasted text');
    show(response, viewer, question, { ...review, since: changes(kept, review.now) });
  });
}

/** Writes the role of the form, as the signed-in user. */
export function writeRoles(options: ExposurePageOptions): RequestHandler {
  return forViewers(options, async (viewer, request, response) => {
    const question = questionIn(request.body);
    const before = await reviewOf(options, viewer, { ...question, whatIf: '' });
    const wanted = rolesIn(question);
    if (wanted.length !== 1) {
      throw new ReviewError('one role is written at a time: leave one line');
    }
    for (const role of wanted) {
      await writeRole(options, viewer, request, role);
    }
    const asked = { ...question, whatIf: '' };
    const review = await reviewOf(options, viewer, asked);
    const written = wanted.map(({ roleId }) => roleId).join(', ');
    show(response, viewer, asked, { ...review, written, since: changes(before.now, review.now) });
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
function forViewers({ sessions, resolver }: ExposurePageOptions, action: Action): RequestHandler {
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
    const viewer = { identity: user.identity, scopes, expires: session.expires };
    try {
      demand(viewer, LIST_ROLES);
      await action(viewer, request, response);
    } catch (error) {
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

function demand({ identity, scopes }: Viewer, scope: string): void {
  if (!satisfies(scopes, scope)) {
    throw new LackingScopeError(
      `You are ${identity}, and lack the scope ${scope}. An operator grants it to the role ` +
        `login-identity:${identity}.`,
    );
  }
}

interface Refusal {
  readonly status: number;
  readonly sentence: string;
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

/** The content of the page. */
interface Review {
  readonly subject: Subject;
  readonly now: readonly Exposure[];
  /** The endpoints under the actual or the wanted roles. */
  readonly rows: readonly Exposure[];
  readonly wanted: readonly RoleScopes[];
  /** The changes that the wanted roles would make. */
  readonly would: readonly Change[];
  readonly reason: Tree | undefined;
  /** The changes since a saved state, or by the role just written. */
  readonly since?: readonly Change[];
  /** The role just written. */
  readonly written?: string;
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
  return { subject, now, rows, wanted, would: changes(now, rows), reason };
}

function titleOf({ subject }: Review): string {
  return `What ${described(subject)} may do`;
}

function sendFile(response: Response, extension: 'json' | 'md', text: string): void {
  response
    .set('Content-Disposition', `attachment; filename="exposure.${extension}"`)
    .type(extension === 'json' ? 'application/json' : 'text/markdown')
    .send(text);
}

function sendRefusal(
  response: Response,
  { identity }: Viewer,
  question: Question,
  { status, sentence }: Refusal,
): void {
  sendPage(response, {
    status,
    title: 'This cannot be done',
    isWide: true,
    user: identity,
    content: html`${problem(sentence)}
${questionForm(PAGE, question)}`,
  });
}

function show(response: Response, { identity }: Viewer, question: Question, review: Review): void {
  const content = html`${noticeOf(review)}
${summaryOf(review)}
${sinceOf(review)}
${wouldOf(question, review)}
${reasonOf(review)}
<section aria-labelledby="ask"><h2 id="ask">Ask</h2>
${questionForm(PAGE, question)}
</section>
${keepingOf(question)}
${rowsOf(question, review)}`;
  sendPage(response, { title: titleOf(review), isWide: true, user: identity, content });
}

function noticeOf({ written }: Review): Html {
  return written === undefined
    ? html``
    : html`<p class="notice" role="status">The role <code>${written}</code> has been written. It holds
within a second, in every process.</p>`;
}

/** The number of open endpoints, which is 0 for a locked-down deployment. */
function summaryOf({ rows, wanted }: Review): Html {
  const open = findings(rows).length;
  const all = rows.filter(({ scopes }) => scopes !== null).length;
  const verb = wanted.length === 0 ? 'are' : 'would be';
  return html`<p class="summary"><strong>${String(open)}</strong> of ${String(all)} endpoints that need
scopes ${verb} open. ${open === 0 ? 'Nothing that needs a scope is let through.' : ''}</p>`;
}

function sinceOf({ since, written }: Review): Html {
  if (since === undefined) {
    return html``;
  }
  const title =
    written === undefined ? 'What has changed since the kept state' : 'What it has changed';
  return html`<section aria-labelledby="since"><h2 id="since">${title}</h2>
${changeTable(since, title)}
</section>`;
}

function wouldOf(question: Question, { wanted, would }: Review): Html {
  if (wanted.length === 0) {
    return html``;
  }
  const one = wanted.length === 1;
  return html`<section aria-labelledby="would"><h2 id="would">What it would change</h2>
${changeTable(would, 'What it would change')}
${
  one
    ? html`<form method="post" action="/login${WRITE_ROLE_PATH}">
${hiddenFields(question)}
<button type="submit">Write the role ${wanted[0]?.roleId ?? ''}</button>
</form>`
    : html`<p>One role is written at a time: leave one line to write it.</p>`
}
</section>`;
}

function changeTable(list: readonly Change[], caption: string): Html {
  if (list.length === 0) {
    return html`<p>Nothing changes.</p>`;
  }
  const rows = list.map(
    (change) => html`<tr>
<td class="${change.direction}">${change.direction}</td>
<th scope="row"><code>${change.service}.${change.endpoint}</code></th>
<td>${stateWord(change.before)}</td>
<td>${stateWord(change.after)}</td>
<td><code>${byOf(change)}</code></td>
</tr>`,
  );
  return html`<div class="scroll" tabindex="0" role="region" aria-label="Table: ${caption}"><table>
<thead><tr><th scope="col">Change</th><th scope="col">Endpoint</th><th scope="col">Before</th><th scope="col">After</th><th scope="col">By</th></tr></thead>
<tbody>
${rows}
</tbody>
</table></div>`;
}

function reasonOf({ reason }: Review): Html {
  return reason === undefined
    ? html``
    : html`<section aria-labelledby="why"><h2 id="why">Why</h2>
<ul class="tree">${branch(reason)}</ul>
</section>`;
}

function branch({ text, parts }: Tree): Html {
  const below = parts.length === 0 ? html`` : html`<ul>${parts.map(branch)}</ul>`;
  return html`<li><code>${text}</code>${below}</li>`;
}

function rowsOf(question: Question, { rows }: Review): Html {
  const shown = shownOf(rows, question);
  const lines = shown.map((row) => {
    const name = `${row.service}.${row.endpoint}`;
    const word = wordOf(row);
    return html`<tr>
<td class="${word.replace(' ', '-')}">${word}</td>
<th scope="row"><a href="${linkTo(PAGE, question, { why: name })}#why" title="why ${name}"><code>${name}</code></a></th>
<td><code>${row.method} ${row.path}</code></td>
<td>${row.by.length > 0 ? html`by <code>${row.by.join(' ')}</code>` : html`<code>${needsOf(row)}</code>`}</td>
</tr>`;
  });
  const files = [
    ['json', 'as JSON'],
    ['md', 'as Markdown, for a review'],
  ] as const;
  return html`<section aria-labelledby="rows"><h2 id="rows">Endpoints</h2>
<p>${String(shown.length)} of ${String(rows.length)} are shown. Follow an endpoint to see why. What is
shown ${files.map(([format, label]) => html`<a href="${linkTo(PAGE, question, { format })}">${label}</a>`)}</p>
<div class="scroll" tabindex="0" role="region" aria-label="Table of endpoints"><table>
<thead><tr><th scope="col">Passes</th><th scope="col">Endpoint</th><th scope="col">Request</th><th scope="col">By, or what it needs</th></tr></thead>
<tbody>
${lines}
</tbody>
</table></div>
</section>`;
}

function keepingOf(question: Question): Html {
  return html`<section aria-labelledby="keep"><h2 id="keep">Keep this state, or compare with one</h2>
<p><a href="${linkTo(PAGE, question, { format: 'state' })}">Keep the whole state as JSON</a>. It is
what <code>taskcluster-local exposure --json</code> prints.</p>
<form method="post" action="/login${COMPARE_PATH}">
${hiddenFields(question)}
<label for="state">A state that was kept</label>
<textarea id="state" name="state" rows="3" spellcheck="false" required></textarea>
<button type="submit">Compare</button>
</form>
</section>`;
}
