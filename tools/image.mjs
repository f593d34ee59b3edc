/**
 * `npm run image`: an image with the one file, for Linux on x64, by the first of docker, podman and
 * buildah that works here. Prints its names. The one file is made by `npm run build:one-file` before.
 *
 * Usage: node tools/image.mjs [--tag NAME]... [--base IMAGE] [--with PROGRAM] [--save FILE]
 *
 * `--base` names an image that has what tools/image/base.Containerfile installs; without it that file
 * is built first, from Debian's image. `--save` also writes the image into a file, for `docker load`.
 * Pushes nothing.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { endWithSentence } from './ending.mjs';
import { manifest, ROOT } from './platforms.mjs';

const PLATFORM = 'linux/amd64';
const ONE_FILE = join(ROOT, 'build/one-file/taskcluster-proxy-linux-x64-gnu');
const FILES = join(ROOT, 'tools/image');

/** Each with a question that only one which works answers, how it builds, and how it saves. */
const BUILDERS = {
  docker: { works: ['info'], build: ['build'], save },
  podman: { works: ['info'], build: ['build', '--format', 'docker'], save },
  buildah: {
    works: ['info'],
    build: ['build', '--format', 'docker'],
    save: (file, [tag]) => ['push', tag, `docker-archive:${file}:${tag}`],
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
    },
  });
  const builder = findBuilder(values.with);
  if (!existsSync(ONE_FILE)) {
    throw new Error(`There is no ${ONE_FILE}: run npm run build:one-file first.`);
  }
  const context = mkdtempSync(join(tmpdir(), 'taskcluster-proxy-image-'));
  try {
    const base = values.base ?? 'taskcluster-proxy-base';
    if (values.base === undefined) {
      build(builder, [base], 'base.Containerfile', context);
    }
    const facts = describe(version);
    fill(join(context, 'app'), facts);
    build(builder, values.tag, 'Containerfile', context, {
      BASE: base,
      VERSION: version,
      REVISION: facts.commit,
      CREATED: createdAt(),
    });
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

/** Dockerflow's version.json, from the program itself: what lies in the image is what is named. */
function describe(version) {
  const said = execFileSync(ONE_FILE, ['--version'], { encoding: 'utf8' });
  const [, own, commit] = /^Taskcluster proxy (\S+) \(git revision (\S+)\)/.exec(said) ?? [];
  if (own !== version) {
    throw new Error(`${ONE_FILE} is not of version ${version}: run npm run build:one-file again.`);
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

function fill(directory, facts) {
  cpSync(ONE_FILE, join(directory, 'taskcluster-proxy'));
  copyFileSync(`${ONE_FILE}.node-license.txt`, join(directory, 'LICENSE.node'));
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

function build(builder, tags, file, context, args = {}) {
  run(builder, [
    ...BUILDERS[builder].build,
    ...['--platform', PLATFORM, '--file', join(FILES, file)],
    ...tags.flatMap((tag) => ['--tag', tag]),
    ...Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    context,
  ]);
}

function run(builder, command) {
  console.error(`> ${builder} ${command.join(' ')}`);
  // What a builder says is for people; stdout is the image's names alone.
  const { status } = spawnSync(builder, command, { stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    throw new Error(`${builder} ${command[0]} failed: what it said stands above.`);
  }
}
