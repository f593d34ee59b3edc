/**
 * The one version of the packages and crates: every place where it stands, and the command that sets
 * it there.
 *
 *   node tools/version.mjs            prints it, or fails with the places that differ
 *   node tools/version.mjs 1.2.3      sets it
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { endWithSentence } from './ending.mjs';
import { ROOT } from './platforms.mjs';

/** As npm and Cargo both read it. */
const VERSION = /^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/;

const OWN_PACKAGE = /^taskcluster-(proxy|local)/;

/** Each file with a function that replaces the versions in its text, and sees what stood there. */
const FILES = {
  'package.json': json(ofManifest),
  ...Object.fromEntries(
    readdirSync(join(ROOT, 'npm')).map((name) => [`npm/${name}/package.json`, json(ofManifest)]),
  ),
  'package-lock.json': json(ofPackageLock),
  'Cargo.toml': toml(/^(\[workspace\.package\]\nversion = ")([^"]+)/gm),
  'Cargo.lock': toml(/^(name = "taskcluster-proxy-[^"]+"\nversion = ")([^"]+)/gm),
  // A workspace of its own, which is never published.
  'fuzz/Cargo.lock': toml(/^(name = "taskcluster-proxy-(?!fuzz")[^"]+"\nversion = ")([^"]+)/gm),
};

/** The versions that stand in each file, in the order of the file. */
function versions() {
  return Object.entries(FILES).map(([file, replace]) => {
    const found = [];
    replace(read(file), (version) => {
      found.push(version);
      return version;
    });
    return { file, found };
  });
}

/** The one version. Throws where a place has another. */
export function agreedVersion() {
  const { version } = JSON.parse(read('package.json'));
  const differing = versions().flatMap(({ file, found }) =>
    (found.length === 0 ? ['none'] : found)
      .filter((each) => each !== version)
      .map((each) => `${file} has version ${each}`),
  );
  if (differing.length > 0) {
    const places = [...new Set(differing)].join(', ');
    throw new Error(
      `${places}, and package.json ${version}: set it by node tools/version.mjs VERSION.`,
    );
  }
  return version;
}

function setVersion(version) {
  if (!VERSION.test(version)) {
    throw new Error(`${version} is not a version: give one such as 1.2.3.`);
  }
  for (const [file, replace] of Object.entries(FILES)) {
    writeFileSync(
      join(ROOT, file),
      replace(read(file), () => version),
    );
  }
}

/** @param places - The objects and their keys where a version stands. */
function json(places) {
  return (text, decide) => {
    const document = JSON.parse(text);
    for (const [object, key] of places(document)) {
      object[key] = decide(object[key]);
    }
    return `${JSON.stringify(document, null, 2)}\n`;
  };
}

/** The manifest's own version, and those of the packages of this repository that it needs. */
function ofManifest(manifest) {
  const needed = [manifest.dependencies, manifest.optionalDependencies].flatMap(
    (dependencies = {}) =>
      Object.keys(dependencies)
        .filter((name) => OWN_PACKAGE.test(name))
        .map((name) => [dependencies, name]),
  );
  return [[manifest, 'version'], ...needed];
}

function ofPackageLock(lock) {
  const own = Object.entries(lock.packages).filter(([place]) => /^(npm\/.+)?$/.test(place));
  return [[lock, 'version'], ...own.flatMap(([, manifest]) => ofManifest(manifest))];
}

/** @param pattern - What stands before a version, and the version. */
function toml(pattern) {
  return (text, decide) =>
    text.replace(pattern, (_, before, version) => `${before}${decide(version)}`);
}

function read(file) {
  return readFileSync(join(ROOT, file), 'utf8');
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  endWithSentence(() => {
    if (argv.length > 2) {
      setVersion(argv[2]);
    }
    console.log(agreedVersion());
  });
}
