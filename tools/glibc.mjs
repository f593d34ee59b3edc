/**
 * Which version of glibc a library or program needs, by what its dynamic symbols ask for. Only reads.
 *
 * Usage: node tools/glibc.mjs FILE... fails where one needs more than tools/platforms.mjs allows.
 */
import { execFileSync } from 'node:child_process';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { endWithSentence } from './ending.mjs';
import { GLIBC_FLOOR } from './platforms.mjs';

/** The newest version that `file` needs, such as `2.28`; undefined for a file that needs none. */
export function glibcOf(file) {
  const env = { ...process.env, LC_ALL: 'C' };
  const output = execFileSync('readelf', ['--version-info', '--wide', file], {
    encoding: 'utf8',
    env,
  });
  return newest([...output.matchAll(/\bName: GLIBC_([0-9.]+)/g)].map(([, version]) => version));
}

/** Throws where `file` does not run on the oldest glibc that the packages are for. */
export function checkGlibc(file) {
  const needed = glibcOf(file);
  if (needed === undefined) {
    throw new Error(`${file} needs no version of glibc: it was not built for it.`);
  }
  if (newest([needed, GLIBC_FLOOR]) !== GLIBC_FLOOR) {
    throw new Error(
      `${file} needs GLIBC_${needed}, and packages may need at most GLIBC_${GLIBC_FLOOR}: ` +
        'build it by npm run build -- --platform.',
    );
  }
  return needed;
}

/** The greatest of some versions, number by number. */
export function newest(versions) {
  return versions.toSorted(compare).at(-1);
}

function compare(one, other) {
  const [left, right] = [one, other].map((version) => version.split('.').map(Number));
  const place = left.findIndex((number, index) => number !== right[index]);
  return place === -1 ? left.length - right.length : left[place] - (right[place] ?? -1);
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  endWithSentence(() => {
    for (const file of argv.slice(2)) {
      console.log(`${file}: GLIBC_${checkGlibc(file)}`);
    }
  });
}
