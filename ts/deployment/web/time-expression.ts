/** Reads time spans in words, `1 year`, `3 days`, `2h 30min`, as Taskcluster's `fromNow` does. */

const EXPRESSION = new RegExp(
  [
    '^(?:\\s*[-+])?',
    '(?:\\s*(?<years>\\d+)\\s*y(?:ears?|r)?)?',
    '(?:\\s*(?<months>\\d+)\\s*mo(?:nths?)?)?',
    '(?:\\s*(?<weeks>\\d+)\\s*w(?:eeks?|k)?)?',
    '(?:\\s*(?<days>\\d+)\\s*d(?:ays?)?)?',
    '(?:\\s*(?<hours>\\d+)\\s*h(?:ours?|r)?)?',
    '(?:\\s*(?<minutes>\\d+)\\s*m(?:in(?:utes?)?)?)?',
    '(?:\\s*(?<seconds>\\d+)\\s*s(?:ec(?:onds?)?)?)?',
    '\\s*$',
  ].join(''),
  'i',
);

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

const UNITS: readonly (readonly [name: string, milliseconds: number])[] = [
  ['years', 365 * DAY],
  ['months', 30 * DAY],
  ['weeks', 7 * DAY],
  ['days', DAY],
  ['hours', 60 * MINUTE],
  ['minutes', MINUTE],
  ['seconds', 1000],
];

/** Longest accepted text, in characters. */
const LONGEST = 100;

/** The span in milliseconds; undefined for any other or an empty text. */
export function readTimeExpression(text: string): number | undefined {
  const groups = text.length > LONGEST ? undefined : EXPRESSION.exec(text)?.groups;
  if (groups === undefined || !/\d/.test(text)) {
    return undefined;
  }
  const span = UNITS.reduce((sum, [name, unit]) => sum + Number(groups[name] ?? 0) * unit, 0);
  return text.trimStart().startsWith('-') ? -span : span;
}
