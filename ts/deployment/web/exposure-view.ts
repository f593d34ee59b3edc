/** The HTML of the exposure page. `exposure-page.ts` finds what it shows. */
import type { Response } from 'express';
import type { RoleScopes } from '../auth/roles.js';
import type { Exposure } from '../exposure.js';
import { findings } from '../review/baseline.js';
import type { Change } from '../review/changes.js';
import { described, type Subject } from '../review/subject.js';
import type { Tree } from '../review/tree.js';
import type { Unused } from '../review/unused.js';
import { unusedRemarks, unusedRows, unusedSummary } from '../review/unused-wording.js';
import { byOf, needsOf, stateWord, wordOf } from '../review/wording.js';
import { hiddenFields, linkTo, type Question, questionForm, shownOf } from './exposure-form.js';
import { type Html, html, problem, sendPage } from './pages.js';

/** Its path under `/login`, the path of the session cookie. */
export const EXPOSURE_PATH = '/exposure';
export const COMPARE_PATH = '/exposure/compare';
export const WRITE_ROLE_PATH = '/exposure/role';

export const PAGE = `/login${EXPOSURE_PATH}`;

/** The signed-in user, as the page names it. */
interface Asker {
  readonly identity: string;
  readonly hasAuditLogs: boolean;
}

export interface Refusal {
  readonly status: number;
  readonly sentence: string;
}

/** The content of the page. */
export interface Review {
  readonly subject: Subject;
  readonly now: readonly Exposure[];
  /** The endpoints under the actual or the wanted roles. */
  readonly rows: readonly Exposure[];
  readonly wanted: readonly RoleScopes[];
  /** The changes that the wanted roles would make. */
  readonly would: readonly Change[];
  readonly reason: Tree | undefined;
  /** The scopes that no call in the audit logs has needed, if this was asked. */
  readonly unused: Unused | undefined;
  /** The changes since a saved state, or by the role just written. */
  readonly since?: readonly Change[];
  /** The role just written. */
  readonly written?: string;
}

export function titleOf({ subject }: Review): string {
  return `What ${described(subject)} may do`;
}

/** Answers a question that cannot be answered. */
export function sendRefusal(
  response: Response,
  { identity, hasAuditLogs }: Asker,
  question: Question,
  { status, sentence }: Refusal,
): void {
  sendPage(response, {
    status,
    title: 'This cannot be done',
    isWide: true,
    user: identity,
    content: html`${problem(sentence)}
${questionForm(PAGE, question, hasAuditLogs)}`,
  });
}

export function sendReview(
  response: Response,
  { identity, hasAuditLogs }: Asker,
  question: Question,
  review: Review,
): void {
  const content = html`${noticeOf(review)}
${summaryOf(review)}
${sinceOf(review)}
${wouldOf(question, review)}
${reasonOf(review)}
${unusedOf(review)}
<section aria-labelledby="ask"><h2 id="ask">Ask</h2>
${questionForm(PAGE, question, hasAuditLogs)}
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

function unusedOf({ unused }: Review): Html {
  if (unused === undefined) {
    return html``;
  }
  const rows = unusedRows(unused).map(
    ([scope, from, word]) => html`<tr>
<td>${word}</td>
<th scope="row"><code>${scope}</code></th>
<td>${from}</td>
</tr>`,
  );
  const table = html`<div class="scroll" tabindex="0" role="region" aria-label="Table of scopes that no call has needed"><table>
<thead><tr><th scope="col">Needed by</th><th scope="col">Scope</th><th scope="col">Granted by</th></tr></thead>
<tbody>
${rows}
</tbody>
</table></div>`;
  const remarks = unusedRemarks(unused).map((remark) => html`<li>${remark}</li>`);
  return html`<section aria-labelledby="unused"><h2 id="unused">Scopes that no call has needed</h2>
<p>${unusedSummary(unused)}</p>
${rows.length === 0 ? html`` : table}
<ul>
${remarks}
</ul>
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
<form method="post" action="/login${COMPARE_PATH}" enctype="multipart/form-data">
${hiddenFields(question)}
<label for="file">The file of a state that was kept</label>
<input id="file" name="file" type="file" accept=".json,application/json">
<label for="state">Or its text</label>
<textarea id="state" name="state" rows="3" spellcheck="false"></textarea>
<button type="submit">Compare</button>
</form>
</section>`;
}
