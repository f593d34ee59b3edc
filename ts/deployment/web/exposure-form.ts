/** The question to the exposure page: its query, and the form that produces it. */
import type { RoleScopes } from '../auth/roles.js';
import type { Exposure } from '../exposure.js';
import { ReviewError, type Subject } from '../review/subject.js';
import { readRole } from '../review/what-if.js';
import { ANSWERS, type Answer, answerOf, needsOf } from '../review/wording.js';
import { isScope } from '../scopes.js';
import { field } from './fields.js';
import { type Html, html } from './pages.js';

/** The fields as received, so that the form shows them again, even if they are invalid. */
export interface Question {
  readonly who: string;
  /** A client's id, a role's, or scopes with spaces between. */
  readonly name: string;
  readonly show: readonly Answer[];
  /** Text that a row must contain. */
  readonly search: string;
  /** An endpoint, as `queue.task`. */
  readonly why: string;
  /** The wanted roles, one on a line. */
  readonly whatIf: string;
  /** The number of days for which to tell unused scopes; empty if this is not asked. */
  readonly days: string;
}

const KINDS = [
  ['anonymous', 'An anonymous caller: what every caller may do'],
  ['client', 'A client'],
  ['role', 'A holder of a role'],
  ['scopes', 'A holder of scopes'],
] as const;

const SHOWN: Readonly<Record<Answer, string>> = {
  yes: 'yes',
  some: 'for some parameters',
  no: 'no',
  free: 'free: no scopes are needed',
};

/** Reads a query or a form, which have the same fields. */
export function questionIn(fields: unknown): Question {
  const given = (fields as { readonly show?: unknown } | undefined)?.show;
  const words = typeof given === 'string' ? [given] : Array.isArray(given) ? given : [];
  const show = ANSWERS.filter((answer) => words.includes(answer));
  return {
    who: field(fields, 'who') ?? 'anonymous',
    name: (field(fields, 'name') ?? '').trim(),
    show: show.length === 0 ? ANSWERS : show,
    search: (field(fields, 'search') ?? '').trim(),
    why: field(fields, 'why') ?? '',
    whatIf: (field(fields, 'what-if') ?? '').trim(),
    days: (field(fields, 'days') ?? '').trim(),
  };
}

/** @throws ReviewError */
export function subjectIn({ who, name }: Question): Subject {
  if (who === 'anonymous') {
    return { kind: 'anonymous' };
  }
  if (!KINDS.some(([kind]) => kind === who)) {
    throw new ReviewError(`'${who}' is not a kind of caller: choose one of the list`);
  }
  if (name === '') {
    throw new ReviewError('write the id or the scopes in “Which one”');
  }
  if (who === 'client') {
    return { kind: 'client', clientId: name };
  }
  if (who === 'role') {
    return { kind: 'role', roleId: name };
  }
  const scopes = name.split(/\s+/);
  if (!scopes.every(isScope)) {
    throw new ReviewError('a scope is printable ASCII: write them with spaces between');
  }
  return { kind: 'scopes', scopes };
}

/** @throws ReviewError */
export function rolesIn({ whatIf }: Question): RoleScopes[] {
  const lines = whatIf.split('\n').map((line) => line.trim());
  return lines.filter((line) => line !== '').map(readRole);
}

export function shownOf(rows: readonly Exposure[], { show, search }: Question): Exposure[] {
  const wanted = search.toLowerCase();
  const textOf = (row: Exposure) =>
    [`${row.service}.${row.endpoint} ${row.method} ${row.path}`, needsOf(row), ...row.by].join(' ');
  return rows.filter(
    (row) => show.includes(answerOf(row)) && textOf(row).toLowerCase().includes(wanted),
  );
}

/** A link to the same question with changed fields. */
export function linkTo(path: string, question: Question, more: Readonly<Record<string, string>>) {
  const query = new URLSearchParams(fieldsOf(question).filter(([, value]) => value !== ''));
  for (const [name, value] of Object.entries(more)) {
    query.set(name, value);
  }
  return `${path}?${query}`;
}

export function hiddenFields(question: Question): Html[] {
  return fieldsOf(question).map(
    ([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`,
  );
}

function fieldsOf({ who, name, show, search, why, whatIf, days }: Question): [string, string][] {
  return [
    ['who', who],
    ['name', name],
    ...(show.length === ANSWERS.length ? [] : show.map((each): [string, string] => ['show', each])),
    ['search', search],
    ['why', why],
    ['what-if', whatIf],
    ['days', days],
  ];
}

export function questionForm(path: string, question: Question, hasAuditLogs: boolean): Html {
  return html`<form method="get" action="${path}" class="question">
<fieldset>
<legend>The caller</legend>
${KINDS.map(
  ([kind, label]) =>
    html`<label class="choice"><input type="radio" name="who" value="${kind}"${checked(kind === question.who)}> ${label}</label>`,
)}
<label for="name">Which one: a client’s id, a role’s, or scopes with spaces between</label>
<input id="name" name="name" value="${question.name}" spellcheck="false" autocapitalize="off">
</fieldset>
<fieldset>
<legend>What to show</legend>
${ANSWERS.map(
  (answer) =>
    html`<label class="choice"><input type="checkbox" name="show" value="${answer}"${checked(question.show.includes(answer))}> ${SHOWN[answer]}</label>`,
)}
<label for="search">With this in it: an endpoint, a path, a scope</label>
<input id="search" name="search" type="search" value="${question.search}" spellcheck="false">
</fieldset>
<fieldset>
<legend>What if roles were otherwise?</legend>
<label for="what-if">One role on a line, as <code>role=scope,scope</code>; <code>role=[]</code> has none.
Nothing is written yet.</label>
<textarea id="what-if" name="what-if" rows="3" spellcheck="false" placeholder="anonymous=queue:pending-count:demo/*">
${question.whatIf}</textarea>
</fieldset>
${hasAuditLogs ? daysField(question) : html``}
<button type="submit">Show</button>
</form>`;
}

function daysField({ days }: Question): Html {
  return html`<fieldset>
<legend>Which scopes are not needed?</legend>
<label for="days">Look through the calls of the last days in the audit logs of the proxies: how many days,
or nothing to leave this out</label>
<input id="days" name="days" type="number" min="1" max="9999" value="${days}" placeholder="30">
</fieldset>`;
}

function checked(is: boolean): Html {
  return is ? html` checked` : html``;
}
