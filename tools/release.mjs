/**
 * The packages of a release: puts them together out of the checkout, checks them, and publishes the
 * platforms before the package that names them. Builds nothing.
 *
 *   node tools/release.mjs check                    build/platforms/ and dist/, into build/release/
 *   node tools/release.mjs publish                  checks, then publishes what is not there yet
 *
 * `--tag v1.2.3` also compares the version with a tag. `--registry URL` publishes elsewhere. There
 * `--trial` publishes what one machine has: its own platform with the addon beside package.json,
 * whatever glibc that needs. A release that broke off is gone on with by the same command.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkGlibc } from './glibc.mjs';
import { binaryOf, manifest, PLATFORMS, ROOT } from './platforms.mjs';

const OUTPUT = join(ROOT, 'build/release');

/** An addon of fewer bytes was cut short, one of more was not stripped. */
const SIZES = { least: 2 ** 20, greatest: 24 * 2 ** 20 };

/** npm is a script on Windows, which only a shell starts. */
const shell = process.platform === 'win32';

try {
  main();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

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
  if (task !== 'check' && task !== 'publish') {
    throw new Error('Say what to do: node tools/release.mjs check, or publish.');
  }
  if (task === 'publish' && values.trial && values.registry === undefined) {
    throw new Error('A trial is not for the world: name a registry of your own by --registry.');
  }
  const platforms = values.trial
    ? PLATFORMS.filter((platform) => existsSync(join(ROOT, binaryOf(platform))))
    : PLATFORMS;
  const { version } = manifest();
  checkVersions(version, values.tag);
  rmSync(OUTPUT, { recursive: true, force: true });
  const packages = platforms.map((platform) => assemble(platform, values.trial));
  checkContents();
  if (task === 'publish') {
    for (const directory of [...packages, ROOT]) {
      publish(directory, values.registry);
    }
  }
  console.log(`${platforms.length} platforms and the package that names them: ${version}`);
}

/** One version everywhere, the changelog included, and the tag's where there is one. */
function checkVersions(version, tag) {
  if (tag !== undefined && tag !== `v${version}`) {
    throw new Error(`The tag is ${tag}, but the packages are of version ${version}.`);
  }
  if (
    tag !== undefined &&
    !readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8').includes(`## [${version}] - `)
  ) {
    throw new Error(`CHANGELOG.md has no dated entry for ${version}.`);
  }
  const cargo = /^version = "(.+)"$/m.exec(readFileSync(join(ROOT, 'Cargo.toml'), 'utf8'))?.[1];
  const { name, optionalDependencies } = manifest();
  const versions = {
    'Cargo.toml': cargo,
    ...Object.fromEntries(PLATFORMS.map((each) => [`npm/${each.name}`, ofPlatform(each).version])),
    ...Object.fromEntries(
      PLATFORMS.map((each) => [
        `optionalDependencies of ${each.name}`,
        optionalDependencies[`${name}-${each.name}`],
      ]),
    ),
  };
  for (const [place, found] of Object.entries(versions)) {
    if (found !== version) {
      throw new Error(`${place} has version ${found}, and package.json ${version}.`);
    }
  }
}

function ofPlatform({ name }) {
  return JSON.parse(readFileSync(join(ROOT, 'npm', name, 'package.json'), 'utf8'));
}

/** The platform's package, whole, in a directory of its own. */
function assemble(platform, isTrial) {
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
  cpSync(join(ROOT, 'npm', platform.name), directory, { recursive: true });
  copyFileSync(binary, join(directory, binaryOf(platform)));
  copyFileSync(join(ROOT, 'LICENSE'), join(directory, 'LICENSE'));
  return directory;
}

/** Of dist/ only what has a source: what an earlier build has left there is not for the world. */
function checkContents() {
  const output = execFileSync('npm', ['pack', '--dry-run', '--json', '--silent'], {
    cwd: ROOT,
    encoding: 'utf8',
    shell,
  });
  const [{ files }] = JSON.parse(output);
  for (const { path } of files) {
    const source = path.replace(/^dist\//, 'ts/').replace(/(\.d)?\.(ts|c?js)$/, '.ts');
    const isExpected = path.startsWith('dist/')
      ? existsSync(join(ROOT, source)) || existsSync(join(ROOT, path.replace(/^dist/, 'ts')))
      : ['package.json', 'README.md', 'CHANGELOG.md', 'LICENSE'].includes(path);
    if (!isExpected) {
      throw new Error(
        `${path} would be published and has no source: remove dist/ and build again.`,
      );
    }
  }
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
}
