/**
 * Writes docs/promises.md: what the tests of `__test__/` say of the program, by their titles and by the
 * first lines of their files. With `--check` it writes nothing, and fails where the document is another.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { endWithSentence } from './ending.mjs';
import { ROOT } from './platforms.mjs';

const DOCUMENT = join(ROOT, 'docs/promises.md');
const WIDTH = 118;

const ROOMS = {
  proxy: 'The proxy',
  deployment: 'The private deployment',
  local: 'The command taskcluster-local',
  package: 'What is built, shipped and documented',
};

const HEAD = `# Promises

For readers who want to know what the program promises and by which test: one line for each title of a test,
written by \`npm run promises\`. "…" stands for what differs between tests of one title. The tests of the crates are
beside the code; [reliability](reliability.md) says what is tested beyond single cases.
`;

endWithSentence(main);

function main() {
  const written = `${HEAD}${Object.entries(ROOMS).map(room).join('')}`;
  if (!process.argv.includes('--check')) {
    writeFileSync(DOCUMENT, written);
  } else if (readFileSync(DOCUMENT, 'utf8') !== written) {
    throw new Error('docs/promises.md is not that of the tests: run npm run promises');
  }
}

function room([name, title]) {
  const directory = join(ROOT, '__test__', name);
  const files = readdirSync(directory).filter((file) => file.endsWith('.test.ts'));
  return `\n## ${title}\n${files
    .sort()
    .map((file) => section(name, file))
    .join('')}`;
}

function section(roomName, file) {
  const text = readFileSync(join(ROOT, '__test__', roomName, file), 'utf8');
  const titles = titlesOf(ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true));
  const link = `[${file.replace('.test.ts', '')}](../__test__/${roomName}/${file})`;
  const items = titles.map((title) => wrapped(`- ${title}`, '  ')).join('\n');
  return `\n### ${link}\n\n${wrapped(aboutOf(text), '')}\n\n${items}\n`;
}

/** The comment that a file begins with; a line for the linter is none of it. */
function aboutOf(text) {
  const lines = text.split('\n').filter((line) => !line.startsWith('// biome-ignore'));
  const end = lines.findIndex((line) => !line.startsWith('//'));
  return lines
    .slice(0, end)
    .map((line) => line.slice('// '.length).trim())
    .filter((line) => line !== '')
    .join(' ');
}

/** In the order of the file, each once. */
function titlesOf(source) {
  const titles = new Set();
  const visit = (node) => {
    const title = ts.isCallExpression(node) && isTest(node) && node.arguments[0];
    if (title && ts.isStringLiteralLike(title)) {
      titles.add(title.text);
    } else if (title && ts.isTemplateExpression(title)) {
      const parts = title.templateSpans.map(({ literal }) => literal.text);
      titles.add([title.head.text, ...parts].join('…'));
    }
    node.forEachChild(visit);
  };
  visit(source);
  return [...titles];
}

/**
 * A call with a title and a function of `t`: by `test`, or by one that depends on the machine. The function may be
 * wrapped in a call.
 */
function isTest({ arguments: given }) {
  const last = given.at(-1);
  const body = last && ts.isCallExpression(last) ? last.arguments.at(-1) : last;
  return given.length > 1 && isOfTest(body);
}

function isOfTest(body) {
  return body && ts.isArrowFunction(body) && body.parameters[0]?.name.getText() === 't';
}

/** In lines of the documents' width. */
function wrapped(text, indent) {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last.length + 1 + word.length <= WIDTH || last === '') {
      lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
    } else {
      lines.push(`${indent}${word}`);
    }
  }
  return lines.join('\n');
}
