/** The text of `--help`, from the table of settings; tools/manual.mjs builds the manual page of its parts. */
import { FLAGS, type Flag, ROWS } from '../settings.js';

/** The purpose of the command, in lines. */
export const DESCRIPTION = `Taskcluster authentication proxy: signs a task's requests with its credentials and
forwards them to the deployment. It signs with all scopes of the credentials, or
with those of a task and those given as arguments only. Options stand before the
scopes; write -- between them where a scope may begin with a dash.`;

/** The forms of the command line. */
export const FORMS: readonly string[] = [
  'taskcluster-proxy [options] [--] [<scope>...]',
  'taskcluster-proxy -h|--help',
  'taskcluster-proxy --version',
  'taskcluster-proxy --short-version',
];

/** The text of `--help`. */
export function help(): string {
  const options = FLAGS.map(([, row]) => [form(row), describe(row)] as const);
  const variables = ROWS.filter(([, { by }]) => by === 'environment').map(
    ([, row]) => [row.environment?.[0] ?? '', `${row.help}.`] as const,
  );
  const width = Math.max(...[...options, ...variables].map(([name]) => name.length)) + 2;
  const usage = FORMS.map((form) => `    ${form}\n`).join('');
  return (
    `${DESCRIPTION}\n\n  Usage:\n${usage}\n  Options:\n${lines(options, width)}` +
    `\n  Variables:\n${lines(variables, width)}`
  );
}

function form({ flag, short, value }: Flag): string {
  const dashed = short === undefined ? `--${flag}` : `-${short} --${flag}`;
  return value === undefined ? dashed : `${dashed} <${value}>`;
}

function lines(entries: readonly (readonly [string, string])[], width: number): string {
  return entries
    .map(([name, text]) => {
      const [first = '', ...more] = wrap(text, 100 - 4 - width);
      const rest = more.map((line) => `\n${' '.repeat(4 + width)}${line}`).join('');
      return `    ${name.padEnd(width)}${first}${rest}\n`;
    })
    .join('');
}

/** One flag in a sentence, with notes on its value. */
export function describe(flag: Flag): string {
  const notes = [
    ...(flag.first === undefined ? [] : ['comes first']),
    ...(flag.many === undefined ? [] : ['may be repeated']),
    ...(flag.kind === 'choice' ? [(flag.choices ?? []).join(' or ')] : []),
    ...(flag.environment?.slice(0, 1) ?? []).map((name) => `environment: ${name}`),
    ...('default' in flag ? [`default: ${flag.default}`] : []),
  ];
  return `${flag.help}.${notes.length > 0 ? ` [${notes.join('; ')}]` : ''}`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line += line === '' ? word : ` ${word}`;
  }
  return [...lines, line];
}
