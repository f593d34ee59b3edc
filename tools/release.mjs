/**
 * The packages of a release: puts them together out of the checkout, checks them, and publishes each
 * behind those that it needs: the platforms, taskcluster-proxy, taskcluster-local. Builds nothing.
 *
 *   node tools/release.mjs check                    build/platforms/ and dist/, into build/release/
 *   node tools/release.mjs publish                  checks, then publishes what is not there yet
 *   node tools/release.mjs contents                 writes down what the packages hold now, as the list
 *                                                   that the other two hold them against
 *
 * `--tag v1.2.3` also compares the version with a tag. `--registry URL` publishes elsewhere. There
 * `--trial` publishes what one machine has: its own platform with the addon beside package.json,
 * for any glibc. After a release has broken off, the same command continues it.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { endWithSentence } from './ending.mjs';
import { checkGlibc } from './glibc.mjs';
import {
  assembleLocal,
  assemblePlatform,
  checkContents,
  listContents,
  shell,
} from './packages.mjs';
import { binaryOf, PLATFORMS, ROOT } from './platforms.mjs';
import { agreedVersion } from './version.mjs';

const OUTPUT = join(ROOT, 'build/release');

/** An addon of fewer bytes was cut short, one of more was not stripped. */
const SIZES = { least: 2 ** 20, greatest: 24 * 2 ** 20 };

endWithSentence(main);

function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      tag: { type: 'string' },
      registry: { type: 'string' },
      trial: { type: 'boolean', default: false },
    },
  });
  const [task] = positionals;
  if (task !== 'check' && task !== 'publish' && task !== 'contents') {
    throw new Error('Say what to do: node tools/release.mjs check, publish or contents.');
  }
  if (task === 'publish' && values.trial && values.registry === undefined) {
    throw new Error('A trial is not for the world: name a registry of your own by --registry.');
  }
  rmSync(OUTPUT, { recursive: true, force: true });
  const local = join(OUTPUT, 'taskcluster-local');
  assembleLocal(local);
  if (task === 'contents') {
    return listContents([ROOT, local]);
  }
  const version = checkVersion(values.tag);
  const platforms = values.trial
    ? PLATFORMS.filter((platform) => existsSync(join(ROOT, binaryOf(platform))))
    : PLATFORMS;
  const packages = platforms.map((platform) => assembleChecked(platform, values.trial));
  checkContents([ROOT, local]);
  if (task === 'publish') {
    for (const directory of [...packages, ROOT, local]) {
      publish(directory, values.registry);
    }
  }
  console.log(`${platforms.length} platforms, taskcluster-proxy and taskcluster-local: ${version}`);
}

/** One version everywhere, and where there is a tag, the tag's and the changelog's. */
function checkVersion(tag) {
  const version = agreedVersion();
  if (tag !== undefined && tag !== `v${version}`) {
    throw new Error(`The tag is ${tag}, but the packages are of version ${version}.`);
  }
  if (
    tag !== undefined &&
    !readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8').includes(`## [${version}] - `)
  ) {
    throw new Error(`CHANGELOG.md has no dated entry for ${version}.`);
  }
  return version;
}

/** The platform's package, whole, in a directory of its own. */
function assembleChecked(platform, isTrial) {
  const binary = join(isTrial ? ROOT : join(ROOT, 'build/platforms'), binaryOf(platform));
  if (!existsSync(binary)) {
    throw new Error(
      `${platform.name} has no ${binary}: run npm run build -- --platform ${platform.name}.`,
    );
  }
  const { size } = statSync(binary);
  if (size < SIZES.least || size > SIZES.greatest) {
    throw new Error(`${binary} has ${size} bytes: that is no stripped addon.`);
  }
  if (platform.floor !== undefined && !isTrial) {
    checkGlibc(binary);
  }
  const directory = join(OUTPUT, platform.name);
  assemblePlatform(platform, binary, directory);
  return directory;
}

function publish(directory, registry) {
  const { name, version } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const elsewhere = registry === undefined ? [] : ['--registry', registry];
  const view = spawnSync('npm', ['view', `${name}@${version}`, 'version', ...elsewhere], {
    encoding: 'utf8',
    shell,
  });
  if (view.status === 0 && view.stdout.trim() === version) {
    console.log(`${name}@${version} is there already`);
    return;
  }
  const args = ['publish', '--access', 'public', '--silent', ...elsewhere];
  const { status } = spawnSync('npm', args, { cwd: directory, stdio: 'inherit', shell });
  if (status !== 0) {
    throw new Error(`${name}@${version} was not published: what npm said stands above.`);
  }
  console.log(`${name}@${version} is published`);
}
