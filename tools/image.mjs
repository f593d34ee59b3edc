/**
 * `npm run image`: an image with the one file, for Linux, by the first of docker, podman and buildah that
 * works here. Prints its names. The one file is made by `npm run build:one-file` before.
 *
 * Usage: node tools/image.mjs [--tag NAME]... [--base IMAGE] [--with PROGRAM] [--save FILE]
 *   [--platform linux/amd64|linux/arm64] [--emulator COMMAND] [--sbom FILE [--one-file-sbom FILE]]
 *
 * `--platform` is by default this machine's. For another, `--emulator` names what runs the one file, which says
 * of what version it is; it is not needed where the machine does so by itself. `--base` names an image that has
 * what tools/image/base.Containerfile installs; without it that file is built first, from Debian's image.
 * `--save` also writes the image into a file, for `docker load`. `--sbom` writes what it is made of, from what
 * tools/sbom.mjs has written of the one file into build/sbom, or from the file that is named. The base is then
 * pinned: the builder asks its registry for the digest of a base that is named without one.
 * Pushes nothing.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { endWithSentence } from './ending.mjs';
import { bomOfImage, isPinned } from './image-sbom.mjs';
import { manifest, ROOT } from './platforms.mjs';

/** The platforms as Node names their processors, and as images do. */
const PLATFORMS = { x64: 'linux/amd64', arm64: 'linux/arm64' };
const FILES = join(ROOT, 'tools/image');

/** What base.Containerfile begins with. */
const DEBIAN = 'debian:12-slim';

/** The files of a base that say which packages are in it. */
const STATUS = '/var/lib/dpkg/status';
const RELEASE = '/usr/lib/os-release';

const DIGEST = ['image', 'inspect', '--format', '{{index .RepoDigests 0}}'];

/**
 * Each builder has a question that only a working one answers, and says how it builds, saves, asks a registry for
 * the digest of an image, and reads files of one.
 */
const BUILDERS = {
  docker: { works: ['info'], build: ['build'], save, digest: DIGEST, read: readCopied },
  podman: {
    works: ['info'],
    build: ['build', '--format', 'docker'],
    save,
    digest: DIGEST,
    read: readCopied,
  },
  buildah: {
    works: ['info'],
    build: ['build', '--format', 'docker'],
    save: (file, [tag]) => ['push', tag, `docker-archive:${file}:${tag}`],
    digest: ['inspect', '--type', 'image', '--format', '{{.FromImageDigest}}'],
    read: readMounted,
  },
};

function save(file, tags) {
  return ['save', '--output', file, ...tags];
}

endWithSentence(main);

function main() {
  const { version } = manifest();
  const { values } = parseArgs({
    options: {
      tag: { type: 'string', multiple: true, default: [version, 'latest'].map(nameOf) },
      base: { type: 'string' },
      with: { type: 'string' },
      save: { type: 'string' },
      platform: { type: 'string', default: PLATFORMS[process.arch] ?? 'linux/amd64' },
      emulator: { type: 'string', default: '' },
      sbom: { type: 'string' },
      'one-file-sbom': { type: 'string' },
    },
  });
  const { platform } = values;
  const builder = findBuilder(values.with);
  const oneFile = oneFileFor(platform);
  const named = values.base ?? DEBIAN;
  const parts = values.sbom === undefined ? undefined : partsOf(oneFile, values['one-file-sbom']);
  const from = parts === undefined ? named : pinned(builder, platform, named);
  const context = mkdtempSync(join(tmpdir(), 'taskcluster-proxy-image-'));
  try {
    const base = values.base === undefined ? 'taskcluster-proxy-base' : from;
    if (values.base === undefined) {
      const args = { DEBIAN: from };
      build({ builder, platform, context, tags: [base], file: 'base.Containerfile', args });
    }
    const facts = describe(oneFile, values.emulator, version);
    fill(join(context, 'app'), oneFile, facts);
    const args = {
      BASE: base,
      VERSION: version,
      REVISION: facts.commit,
      CREATED: createdAt(),
    };
    build({ builder, platform, context, tags: values.tag, file: 'Containerfile', args });
    if (parts !== undefined) {
      const [status, release] = BUILDERS[builder].read(builder, values.tag[0], context);
      const bom = bomOfImage({ oneFile: parts, base: from, status, release, platform, version });
      writeFileSync(values.sbom, `${JSON.stringify(bom, null, 2)}\n`);
    }
  } finally {
    rmSync(context, { recursive: true });
  }
  if (values.save !== undefined) {
    run(builder, BUILDERS[builder].save(resolve(values.save), values.tag));
  }
  console.log(values.tag.join('\n'));
}

function nameOf(tag) {
  return `taskcluster-proxy:${tag}`;
}

function oneOf(names) {
  return new Intl.ListFormat('en', { type: 'disjunction' }).format(names);
}

function findBuilder(wanted) {
  const known = Object.keys(BUILDERS);
  if (wanted !== undefined && !known.includes(wanted)) {
    throw new Error(`${wanted} does not build the image: name ${oneOf(known)}.`);
  }
  const names = wanted === undefined ? known : [wanted];
  const found = names.find((name) => spawnSync(name, BUILDERS[name].works).status === 0);
  if (found === undefined) {
    throw new Error(
      `Nothing here builds the image: install ${oneOf(names)}, or start its service.`,
    );
  }
  return found;
}

function oneFileFor(platform) {
  const [arch] = Object.entries(PLATFORMS).find(([, name]) => name === platform) ?? [];
  if (arch === undefined) {
    throw new Error(`${platform} has no image: name ${oneOf(Object.values(PLATFORMS))}.`);
  }
  const name = `linux-${arch}-gnu`;
  const file = join(ROOT, 'build/one-file', `taskcluster-proxy-${name}`);
  if (!existsSync(file)) {
    const more = arch === process.arch ? '' : ` -- --platform ${name}`;
    throw new Error(`There is no ${file}: run npm run build:one-file${more} first.`);
  }
  return file;
}

/** What is in the one file, as a release lists it. */
function partsOf(oneFile, named) {
  const name = basename(oneFile);
  const file = named ?? join(ROOT, 'build/sbom', `${name}.one-file.cdx.json`);
  if (!existsSync(file)) {
    throw new Error(`There is no ${file}: run node tools/sbom.mjs build/sbom first.`);
  }
  return JSON.parse(readFileSync(file, 'utf8'));
}

/** `reference` with the digest that the builder's registry has for it. */
function pinned(builder, platform, reference) {
  if (isPinned(reference)) {
    return reference;
  }
  const always = builder === 'buildah' ? ['--policy', 'always'] : [];
  const pull = ['pull', ...always, '--platform', platform, reference];
  if (spawnSync(builder, pull, { stdio: ['ignore', 2, 2] }).status === 0) {
    const [digest] =
      /sha256:[0-9a-f]{64}/.exec(asks(builder, BUILDERS[builder].digest, reference)) ?? [];
    const found = `${reference}@${digest}`;
    if (isPinned(found)) {
      return found;
    }
  }
  throw new Error(
    `The base ${reference} has no digest: name it as ${reference}@sha256:..., so that the list of the image's ` +
      'parts says which it is.',
  );
}

function asks(builder, command, image) {
  const { status, stdout } = spawnSync(builder, [...command, image], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : '';
}

/** The image's files that say which packages it has; undefined where it has no such file. */
function readCopied(builder, image, directory) {
  const id = asks(builder, ['create'], image);
  const texts = [STATUS, RELEASE].map((file) => {
    const copy = join(directory, basename(file));
    const { status } = spawnSync(builder, ['cp', `${id}:${file}`, copy]);
    return status === 0 ? readFileSync(copy, 'utf8') : undefined;
  });
  asks(builder, ['rm'], id);
  return texts;
}

function readMounted(builder, image) {
  const id = asks(builder, ['from', '--pull-never'], image);
  const root = asks(builder, ['mount'], id);
  if (root === '') {
    throw new Error('buildah opens no image here: run it as root, or behind `buildah unshare`.');
  }
  const texts = [STATUS, RELEASE].map((file) =>
    existsSync(join(root, file)) ? readFileSync(join(root, file), 'utf8') : undefined,
  );
  asks(builder, ['rm'], id);
  return texts;
}

/**
 * Dockerflow's version.json. The program itself gives it, so that it names what lies in the image.
 */
function describe(oneFile, emulator, version) {
  const [program, ...args] = [...emulator.split(' ').filter(Boolean), oneFile, '--version'];
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) {
    const trouble = error?.message ?? stderr.trim();
    throw new Error(`${oneFile} does not run here (${trouble}): give --emulator what runs it.`);
  }
  const [, own, commit] = /^Taskcluster proxy (\S+) \(git revision (\S+)\)/.exec(stdout) ?? [];
  if (own !== version) {
    throw new Error(`${oneFile} is not of version ${version}: run npm run build:one-file again.`);
  }
  const { GITHUB_SERVER_URL, GITHUB_REPOSITORY, GITHUB_RUN_ID } = process.env;
  return {
    source: 'https://github.com/taskcluster/taskcluster-proxy',
    version,
    commit,
    build:
      GITHUB_RUN_ID === undefined
        ? ''
        : `${GITHUB_SERVER_URL}/${GITHUB_REPOSITORY}/actions/runs/${GITHUB_RUN_ID}`,
  };
}

function fill(directory, oneFile, facts) {
  cpSync(oneFile, join(directory, 'taskcluster-proxy'));
  copyFileSync(`${oneFile}.node-license.txt`, join(directory, 'LICENSE.node'));
  for (const name of ['LICENSE', 'THIRD-PARTY-LICENSES']) {
    copyFileSync(join(ROOT, name), join(directory, name));
  }
  writeFileSync(join(directory, 'version.json'), `${JSON.stringify(facts)}\n`);
}

/** `SOURCE_DATE_EPOCH` makes two builds of one source say the same. */
function createdAt() {
  const { SOURCE_DATE_EPOCH } = process.env;
  const time = SOURCE_DATE_EPOCH === undefined ? Date.now() : Number(SOURCE_DATE_EPOCH) * 1000;
  return new Date(time).toISOString();
}

function build({ builder, platform, context, tags, file, args = {} }) {
  run(builder, [
    ...BUILDERS[builder].build,
    ...['--platform', platform, '--file', join(FILES, file)],
    ...tags.flatMap((tag) => ['--tag', tag]),
    ...Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    context,
  ]);
}

function run(builder, command) {
  console.error(`> ${builder} ${command.join(' ')}`);
  // The builder's messages are for people; stdout has the image's names alone.
  const { status } = spawnSync(builder, command, { stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    throw new Error(`${builder} ${command[0]} failed: what it said stands above.`);
  }
}
