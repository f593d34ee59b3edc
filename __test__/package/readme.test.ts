// The README and the documents agree with the program's own help.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { FLAGS, ROWS } from '../../dist/settings.js';
import { COMMAND } from '../harness/command.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const DOCUMENTS = [
  'README.md',
  'CONTRIBUTING.md',
  ...readdirSync(path.join(ROOT, 'docs'), { encoding: 'utf8', recursive: true })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

const read = (document: string) => readFileSync(path.join(ROOT, document), 'utf8');

interface Flag {
  readonly flag: string;
  readonly short: string;
  readonly variable: string;
  readonly fallback: string;
  readonly meaning: string;
}

/** The flags of the table of settings, in their order. */
function flagsOfTheProgram(): Flag[] {
  return FLAGS.map(([, row]) => ({
    flag: row.flag,
    short: row.short ?? '',
    variable: row.environment?.[0] ?? '',
    fallback: `${row.default ?? ''}`,
    meaning: row.help.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase()),
  }));
}

/** The rows of the README's table; of a default only what is written as code. */
function flagsOfTheReadme(): Flag[] {
  const row =
    /^\| (?:`-(\w)`, )?`--([a-z0-9-]+)` \| (?:`(\w+)`)? ?\| (?:`(\w+)`)?[^|]*\| ([^|]*) \|$/gm;
  return [...read('README.md').matchAll(row)].map(
    ([, short = '', flag = '', variable = '', fallback = '', meaning = '']) => {
      const text = meaning.replaceAll('`', '');
      return { flag, short, variable, fallback, meaning: text };
    },
  );
}

test('docs/promises.md lists the titles of the tests', (t) => {
  const tool = path.join(ROOT, 'tools/promises.mjs');
  t.notThrows(() => execFileSync(process.execPath, [tool, '--check'], { stdio: 'pipe' }));
});

test("the README's table of flags agrees with the settings", (t) => {
  t.deepEqual(
    flagsOfTheReadme().map(({ meaning: _, ...flag }) => flag),
    flagsOfTheProgram().map(({ meaning: _, ...flag }) => flag),
  );
  const written = flagsOfTheReadme();
  for (const [index, [, row]] of FLAGS.entries()) {
    const { flag = '', meaning = '' } = written[index] ?? {};
    t.true(meaning.startsWith(flagsOfTheProgram()[index]?.meaning ?? '?'), `--${flag}: ${meaning}`);
    t.is(/; may be repeated$/.test(meaning), row.many !== undefined, flag);
    t.true(
      (row.choices ?? []).every((choice) => meaning.includes(choice)),
      flag,
    );
  }
});

test('every setting and every variable is in --help and in the README', (t) => {
  const help = execFileSync(process.execPath, [COMMAND, '--help'], { encoding: 'utf8' });
  const text = help.replace(/\s+/g, ' ');
  for (const [, { flag, short, help: meaning }] of FLAGS) {
    const spelling = `${short === undefined ? '' : `-${short} `}--${flag}`;
    t.regex(help, new RegExp(`^ {4}${spelling}( <\\w+>)?  `, 'm'));
    t.true(text.includes(meaning), spelling);
  }
  const readme = read('README.md');
  for (const name of ROWS.flatMap(([, { environment = [] }]) => environment)) {
    // Variables of the way out have a spelling in small letters, too.
    t.true(readme.includes(`\`${name.toUpperCase()}\``), name);
  }
});

test('every metric is documented, and no other', async (t) => {
  const source = readFileSync(path.join(ROOT, 'crates/proxy/src/record/metrics.rs'), 'utf8');
  const names = (text: string, pattern: RegExp) =>
    [...new Set([...text.matchAll(pattern)].map(([, name]) => name))].sort();
  const [code = ''] = source.split('#[cfg(test)]');
  t.deepEqual(
    names(read('docs/operations.md'), /^\| `(?:taskcluster_proxy|(?=process))_?(\w+)/gm),
    names(code, /"(\w+_(?:total|seconds|requests|connections|info))"/g),
  );
});

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  const text = heading.replace(/[^\p{L}\p{N} _-]/gu, '');
  return text.trim().toLowerCase().replaceAll(' ', '-');
}

test('links between documents lead somewhere', (t) => {
  for (const document of DOCUMENTS) {
    for (const [, link = ''] of read(document).matchAll(/\]\((?!https?:)([^)]+)\)/g)) {
      const [file = '', anchor] = link.split('#');
      const target = file === '' ? document : path.join(path.dirname(document), file);
      t.true(existsSync(path.join(ROOT, target)), `${document}: ${link}`);
      if (anchor !== undefined) {
        const headings = [...read(target).matchAll(/^#+ (.+)$/gm)];
        const anchors = headings.map(([, heading = '']) => anchorOf(heading));
        t.true(anchors.includes(anchor), `${document}: ${link}`);
      }
    }
  }
});

test("the README's JavaScript runs", (t) => {
  const [, program = ''] = /```js\n(.*?)```/s.exec(read('README.md')) ?? [];
  const args = ['--input-type=module', '--eval', program];
  const output = execFileSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
  t.regex(output, /version: '\d/);
  t.regex(output, /clientId: 'project\/builder'/);
});
