/**
 * The npm packages as npm packs them. The proxy's is the checkout itself. Those of the platforms and
 * taskcluster-local have their manifests under npm/ and their files elsewhere, so they are put together
 * in directories of their own. Builds nothing.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binaryOf, ROOT } from './platforms.mjs';

/** The part of dist/ that belongs to taskcluster-local: files, and folders with all of theirs. */
const LOCAL = ['cli/taskcluster-local.js', 'cli/oldest-node.js', 'cli/local', 'deployment'];

/** The committed lists of what each package holds, by its name. */
const CONTENTS = join(ROOT, 'tools/package-contents.json');

/** The licences of what is linked into the addon, by tools/licences.mjs. */
const THIRD_PARTY = 'THIRD-PARTY-LICENSES';

/** npm is a script on Windows, which only a shell starts. */
export const shell = process.platform === 'win32';

/** The package of `platform`, around the addon `binary`. */
export function assemblePlatform(platform, binary, directory) {
  assemble(platform.name, directory);
  copyFileSync(binary, join(directory, binaryOf(platform)));
  copyFileSync(join(ROOT, THIRD_PARTY), join(directory, THIRD_PARTY));
}

/** The package taskcluster-local; it has no API, and so no types. */
export function assembleLocal(directory) {
  const missing = LOCAL.filter((part) => !existsSync(join(ROOT, 'dist', part)));
  if (missing.length > 0) {
    throw new Error(`There is no dist/${missing.join(', no dist/')}: run npm run build first.`);
  }
  assemble('taskcluster-local', directory);
  for (const part of LOCAL) {
    cpSync(join(ROOT, 'dist', part), join(directory, 'dist', part), {
      recursive: true,
      filter: (file) => statSync(file).isDirectory() || file.endsWith('.js'),
    });
  }
}

/** The files under npm/, and the licence. */
function assemble(name, directory) {
  cpSync(join(ROOT, 'npm', name), directory, { recursive: true });
  copyFileSync(join(ROOT, 'LICENSE'), join(directory, 'LICENSE'));
}

/** Writes the lists anew, from the packages in `directories`. */
export function listContents(directories) {
  const lists = Object.fromEntries(directories.map((directory) => contentsOf(directory)));
  writeFileSync(CONTENTS, `${JSON.stringify(lists, null, 2)}\n`);
}

/**
 * Files that an earlier build has left in dist/ must not be published, and missing files were not
 * built.
 */
export function checkContents(directories) {
  const lists = JSON.parse(readFileSync(CONTENTS, 'utf8'));
  for (const [name, files] of directories.map((directory) => contentsOf(directory))) {
    const listed = lists[name] ?? [];
    const differing = [
      ...files.filter((file) => !listed.includes(file)).map((file) => `${file} would be new`),
      ...listed.filter((file) => !files.includes(file)).map((file) => `${file} would be missing`),
    ];
    if (differing.length > 0) {
      throw new Error(
        `The package ${name} is not as listed: ${differing.join(', ')}. Remove dist/ and build again; ` +
          'where it is meant to be so, run node tools/release.mjs contents.',
      );
    }
  }
}

/** The package's name, and the files that npm would pack of `directory`, sorted. */
function contentsOf(directory) {
  const args = ['pack', '--dry-run', '--json', '--silent'];
  const output = execFileSync('npm', args, { cwd: directory, encoding: 'utf8', shell });
  const [{ name, files }] = JSON.parse(output);
  return [name, files.map(({ path }) => path).sort()];
}
