/**
 * What a release has beside its packages: looks whether all of it is there, writes SHA256SUMS of the files in a
 * directory, into the same, and the changelog's entry for this version, into build/release-notes.md.
 *
 * Usage: node tools/release-files.mjs DIRECTORY [--partial], which takes what there is
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { endWithSentence } from './ending.mjs';
import { NODES, oneFileOf } from './nodes.mjs';
import { manifest, PLATFORMS, ROOT } from './platforms.mjs';

const SUMS = 'SHA256SUMS';

endWithSentence(main);

function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { partial: { type: 'boolean', default: false } },
  });
  const directory = resolve(positionals[0] ?? '.');
  const names = readdirSync(directory).filter((name) => name !== SUMS);
  const missing = values.partial ? [] : expected().filter((name) => !names.includes(name));
  if (missing.length > 0) {
    throw new Error(`The release is not whole: ${directory} lacks ${missing.join(', ')}.`);
  }
  const lines = names.sort().map((name) => `${digestOf(join(directory, name))}  ${name}\n`);
  writeFileSync(join(directory, SUMS), lines.join(''));
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  writeFileSync(join(ROOT, 'build/release-notes.md'), notes());
}

/** The one files and the images with what is in them, what is in the packages, and the licences. */
function expected() {
  const withOneFile = PLATFORMS.filter(({ name }) => name in NODES);
  const files = withOneFile.map(oneFileOf);
  const images = ['amd64', 'arm64'].map((arch) => `taskcluster-proxy-image-linux-${arch}`);
  const listed = [
    ...['taskcluster-proxy', 'taskcluster-local', ...images],
    ...PLATFORMS.map(({ name }) => `taskcluster-proxy-${name}`),
    ...withOneFile.map(({ name }) => `taskcluster-proxy-${name}.one-file`),
  ];
  return [
    ...files,
    ...files.map((file) => `${file}.node-license.txt`),
    ...images.map((image) => `${image}.tar.gz`),
    ...listed.map((name) => `${name}.cdx.json`),
    ...['LICENSE', 'THIRD-PARTY-LICENSES'],
  ];
}

function digestOf(file) {
  return createHash('sha256').update(readFileSync(file)).digest('hex');
}

function notes() {
  const { version } = manifest();
  const changelog = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8');
  const entry = changelog.split(/^## /m).find((each) => each.startsWith(`[${version}]`));
  if (entry === undefined) {
    throw new Error(`CHANGELOG.md has no entry for ${version}.`);
  }
  return entry.slice(entry.indexOf('\n')).trim();
}
