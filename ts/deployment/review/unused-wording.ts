/** The words for scopes that no call has needed, for terminals, pages and documents. */
import type { HeldScope, UnknownNeed, Unused } from './unused.js';
import { columns } from './wording.js';

export function unusedSummary({ calls, days, held, unused }: Unused): string {
  return calls === 0
    ? `The audit logs have no call to this deployment in ${lastDays(days)}, so they do not tell.`
    : `No call of ${lastDays(days)} has needed ${unused.length} of ${counted(held, 'scope')}.`;
}

/** A scope, what grants it, and whether a call may have needed it. */
export function unusedRows({ calls, unused, perhaps }: Unused): [string, string, string][] {
  const row = ({ scope, from }: HeldScope, word: string): [string, string, string] => [
    scope,
    from.join(', '),
    word,
  ];
  return calls === 0
    ? []
    : [
        ...unused.map((each) => row(each, 'no call')),
        ...perhaps.map((each) => row(each, 'perhaps')),
      ];
}

export const UNUSED_HEADING = ['scope', 'granted by', 'needed by'] as const;

/** What the logs tell, and what they do not. */
export function unusedRemarks(unused: Unused): string[] {
  const { of, calls, counted: own, since, earliest, elsewhere, hosts, unreadable } = unused;
  const isOfClient = of.startsWith('the client ');
  return [
    `The logs have ${counted(calls, 'call')} to this deployment in these days` +
      (isOfClient ? `, and ${own} of them by ${of}.` : '.'),
    ...(earliest !== null && earliest > since
      ? [`They begin at ${earliest} and do not tell of the days before.`]
      : []),
    ...(isOfClient ? ['Calls by temporary credentials of another name count for that name.'] : []),
    ...(elsewhere > 0
      ? [`${counted(elsewhere, 'call')} to other hosts (${hosts.join(', ')}) need no scopes here.`]
      : []),
    ...unused.unknown.map(unknownRemark),
    ...(unreadable > 0
      ? [
          `${counted(unreadable, 'line')} of these files: not in the form of an audit log, and left out.`,
        ]
      : []),
    'Calls by another way than the proxies of these logs are not in them.',
  ];
}

function unknownRemark({ reason, calls }: UnknownNeed): string {
  const number = counted(calls, 'call');
  switch (reason) {
    case 'refused':
      return `${number} with the answer 401 or 403: whether the scopes were needed is not known.`;
    case 'no-endpoint':
      return `${number} of no endpoint of this deployment.`;
    default:
      return (
        `${number} of ${reason}: their need depends on the body, or on a task that cannot be read, ` +
        'so “perhaps” stands at the scopes that they may have needed.'
      );
  }
}

export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

function lastDays(days: number): string {
  return days === 1 ? 'the last day' : `the last ${days} days`;
}

/** For a terminal. */
export function unusedText(unused: Unused): string {
  const rows = unusedRows(unused);
  return [
    unusedSummary(unused),
    ...(rows.length === 0 ? [] : [columns([UNUSED_HEADING, ...rows])]),
  ].join('\n');
}

/** A section of a Markdown document. */
export function unusedMarkdown(unused: Unused): string {
  const cell = (text: string) => text.replaceAll('|', '\\|');
  const rows = unusedRows(unused).map(
    ([scope, from, word]) => `| \`${cell(scope)}\` | ${cell(from)} | ${word} |`,
  );
  return [
    '## Scopes that no call has needed',
    '',
    unusedSummary(unused),
    '',
    ...(rows.length === 0
      ? []
      : [`| ${UNUSED_HEADING.join(' | ')} |`, '| --- | --- | --- |', ...rows, '']),
    ...unusedRemarks(unused).map((remark) => `- ${remark}`),
    '',
  ].join('\n');
}
