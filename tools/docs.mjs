/**
 * `npm run docs`: the documents and the API reference as one site, into build/site; its index.html is the
 * README. Fails where a link within the site leads nowhere, and where the API names a type that is not
 * documented. Publishes nothing: .github/workflows/docs.yml does.
 *
 * Usage: node tools/docs.mjs
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { endWithSentence } from './ending.mjs';
import { manifest, ROOT } from './platforms.mjs';

const SITE = join(ROOT, 'build/site');

/** The documents as the site has them. */
const SOURCE = join(ROOT, 'build/site-source');

const README = 'README.md';

endWithSentence(main);

function main() {
  const documents = [
    ...readdirSync(join(ROOT, 'docs'), { recursive: true }).map((name) => `docs/${name}`),
    'CHANGELOG.md',
    'CONTRIBUTING.md',
  ].filter((name) => name.endsWith('.md'));
  for (const directory of [SITE, SOURCE]) {
    rmSync(directory, { recursive: true, force: true });
  }
  for (const document of [README, ...documents]) {
    prepare(document, [README, ...documents]);
  }
  generate(documents);
  const pages = readdirSync(SITE, { recursive: true }).filter((name) => name.endsWith('.html'));
  const broken = checkLinks(pages);
  if (broken.length > 0) {
    throw new Error(`Links of the site lead nowhere:\n${broken.join('\n')}`);
  }
  console.log(`${join(SITE, 'index.html')}: ${pages.length} pages`);
}

/** A copy in which links to files outside of the site lead to the repository. */
function prepare(document, documents) {
  const text = readFileSync(join(ROOT, document), 'utf8');
  const repository = manifest().homepage.replace(/#.*/, '');
  const written = text.replace(/(\]\()(?![a-z]+:|#)([^)#]+)/g, (link, open, to) => {
    const target = normalize(join(dirname(document), to));
    if (documents.includes(target)) {
      return link;
    }
    if (/\.(?:svg|png)$/.test(target)) {
      copy(target);
      return link;
    }
    return `${open}${repository}/blob/main/${target}`;
  });
  write(document, written);
}

function copy(file) {
  mkdirSync(dirname(join(SOURCE, file)), { recursive: true });
  copyFileSync(join(ROOT, file), join(SOURCE, file));
}

function write(file, text) {
  mkdirSync(dirname(join(SOURCE, file)), { recursive: true });
  writeFileSync(join(SOURCE, file), text);
}

/** Makes the site by TypeDoc, with its settings from typedoc.json. */
function generate(documents) {
  const program = join(ROOT, 'node_modules/typedoc/bin/typedoc');
  const { status } = spawnSync(
    process.execPath,
    [
      program,
      ...['--out', SITE, '--readme', join(SOURCE, README)],
      ...documents.flatMap((document) => ['--projectDocuments', join(SOURCE, document)]),
    ],
    { cwd: ROOT, stdio: ['ignore', 2, 2] },
  );
  if (status !== 0) {
    throw new Error('TypeDoc made no site: what it said stands above.');
  }
}

/** Every link of a page to another page, or to a part of one, that is not there. */
function checkLinks(pages) {
  const parts = new Map(pages.map((page) => [page, partsOf(page)]));
  const files = new Set(readdirSync(SITE, { recursive: true }).map((name) => normalize(name)));
  return pages.flatMap((page) =>
    linksOf(page)
      .filter((link) => {
        const [path, part = ''] = decodeURIComponent(link).split('#');
        const file = path.endsWith('/') ? `${path}index.html` : path;
        const target = file === '' ? page : normalize(join(dirname(page), file));
        const isThere = files.has(target);
        return !isThere || (part !== '' && parts.get(target)?.has(part) === false);
      })
      .map((link) => `${page}: ${link}`),
  );
}

function linksOf(page) {
  const text = readFileSync(join(SITE, page), 'utf8');
  const links = [...text.matchAll(/\s(?:href|src)="([^"]*)"/g)].map(([, link]) => link);
  return links.filter((link) => !/^(?:[a-z]+:|\/\/)/i.test(link));
}

function partsOf(page) {
  const text = readFileSync(join(SITE, page), 'utf8');
  return new Set([...text.matchAll(/\sid="([^"]*)"/g)].map(([, part]) => part));
}
