/**
 * What a release has beside its packages: SHA256SUMS of the files in a directory, into the same, and
 * the changelog's entry for this version, into build/release-notes.md.
 *
 * Usage: node tools/release-files.mjs DIRECTORY
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { manifest, ROOT } from './platforms.mjs';

const SUMS = 'SHA256SUMS';

const { version } = manifest();
const directory = resolve(process.argv[2] ?? '.');
const names = readdirSync(directory).filter((name) => name !== SUMS);
const lines = names.sort().map((name) => {
  const digest = createHash('sha256')
    .update(readFileSync(join(directory, name)))
    .digest('hex');
  return `${digest}  ${name}\n`;
});
writeFileSync(join(directory, SUMS), lines.join(''));

const changelog = readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8');
const entry = changelog.split(/^## /m).find((each) => each.startsWith(`[${version}]`));
if (entry === undefined) {
  console.error(`CHANGELOG.md has no entry for ${version}.`);
  process.exit(1);
}
writeFileSync(join(ROOT, 'build/release-notes.md'), entry.slice(entry.indexOf('\n')).trim());
