/** Formats a review for terminals and documents, with the same words everywhere. */
import type { Passage } from '../api/passage.js';
import type { ScopeTemplatePart } from '../api/scope-template.js';
import type { Exposure } from '../exposure.js';
import type { Change, State } from './changes.js';
import type { Tree } from './tree.js';

export const WORDS = { always: 'yes', sometimes: 'for some', never: 'no' } as const;

/** How far an endpoint is open to a subject; `free`: it needs no scopes. */
export type Answer = 'yes' | 'some' | 'no' | 'free';

export const ANSWERS: readonly Answer[] = ['yes', 'some', 'no', 'free'];

const ANSWER_OF: Readonly<Record<Passage, Answer>> = {
  always: 'yes',
  sometimes: 'some',
  never: 'no',
};

export function answerOf({ scopes, passes }: Exposure): Answer {
  return scopes === null ? 'free' : ANSWER_OF[passes];
}

/** The text in a table. */
export function wordOf(row: Exposure): string {
  return row.scopes === null ? 'free' : WORDS[row.passes];
}

export function needsOf({ scopes }: Exposure): string {
  return scopes === null ? '(none needed)' : readable(scopes);
}

/** A table in columns, under a heading. */
export function table(rows: readonly Exposure[]): string {
  const cells = rows.map((row) => [
    wordOf(row),
    `${row.service}.${row.endpoint}`,
    `${row.method} ${row.path}`,
    needsOf(row),
  ]);
  return columns([['passes', 'endpoint', 'request', 'scopes'], ...cells]);
}

/** One line for each change, those that open an endpoint first. */
export function changeTable(list: readonly Change[]): string {
  if (list.length === 0) {
    return 'nothing changes';
  }
  const order = ['opens', 'changes', 'closes'];
  const sorted = [...list].sort((a, b) => order.indexOf(a.direction) - order.indexOf(b.direction));
  return columns([
    ['change', 'endpoint', 'before', 'after', 'by'],
    ...sorted.map((change) => [
      change.direction,
      `${change.service}.${change.endpoint}`,
      stateWord(change.before),
      stateWord(change.after),
      byOf(change),
    ]),
  ]);
}

export function stateWord(state: State): string {
  return state === 'absent' ? 'not there' : WORDS[state];
}

export function byOf({ direction, byBefore, byAfter }: Change): string {
  return (direction === 'closes' ? byBefore : byAfter).join(' ');
}

/** Text in columns, with two spaces between. */
export function columns(rows: readonly (readonly string[])[]): string {
  const last = Math.max(...rows.map(({ length }) => length)) - 1;
  const widths = Array.from({ length: last }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n');
}

/** Draws a tree as Unix's `tree` does. */
export function drawn({ text, parts }: Tree): string {
  const lines = (tree: Tree, indent: string): string[] =>
    tree.parts.flatMap((part, index) => {
      const isLast = index === tree.parts.length - 1;
      return [
        `${indent}${isLast ? '└─ ' : '├─ '}${part.text}`,
        ...lines(part, `${indent}${isLast ? '   ' : '│  '}`),
      ];
    });
  return [text, ...lines({ text, parts }, '')].join('\n');
}

/** A review as a Markdown document. */
export function markdown(title: string, rows: readonly Exposure[]): string {
  const cells = rows.map((row) => [
    wordOf(row),
    `\`${row.service}.${row.endpoint}\``,
    `\`${row.method} ${row.path}\``,
    row.by.map((scope) => `\`${scope}\``).join(', ') || needsOf(row),
  ]);
  return [
    `# ${title}`,
    '',
    '| passes | endpoint | request | by, or needs |',
    '| --- | --- | --- | --- |',
    ...cells.map((row) => `| ${row.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`),
    '',
  ].join('\n');
}

export function readable(template: ScopeTemplatePart): string {
  if (typeof template === 'string') {
    return template;
  }
  if ('AllOf' in template) {
    return joined(template.AllOf, ' and ');
  }
  if ('AnyOf' in template) {
    return joined(template.AnyOf, ' or ');
  }
  if ('for' in template) {
    return `${template.each} for each of ${template.in}`;
  }
  const otherwise = template.else === undefined ? '' : ` else ${inner(template.else)}`;
  return `if ${template.if} then ${inner(template.then)}${otherwise}`;
}

function joined(parts: readonly ScopeTemplatePart[], word: string): string {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? readable(first) : parts.map(inner).join(word);
}

function inner(template: ScopeTemplatePart): string {
  const text = readable(template);
  return text.includes(' ') && typeof template !== 'string' ? `(${text})` : text;
}
