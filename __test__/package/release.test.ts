// A release, short of the world: it refuses what is not whole, publishes into a real registry, each
// package behind those that it needs, and is installed from there by name.
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import type { Readable } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { revision, version } from 'taskcluster-proxy';
import { parse } from 'yaml';
import { endsWith } from '../harness/child.js';
import { within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { makeProject, packageManagersHere } from '../harness/package-managers.js';
import {
  publishDirectory,
  type Registry,
  startRegistry,
  unpackPublished,
} from '../harness/registry.js';
import { runProgram } from '../harness/run-program.js';
import { permanentCredentials } from '../harness/signature.js';
import { pathOf, testWith } from '../harness/tools.js';
import { startUpstream, type Upstream } from '../harness/upstream.js';

const ROOT = path.resolve(import.meta.dirname, '../..');

const release = (args: string[], env: NodeJS.ProcessEnv = process.env) =>
  runProgram(process.execPath, [path.join(ROOT, 'tools/release.mjs'), ...args], { env });

const tool = (name: string, ...args: string[]) =>
  runProgram(process.execPath, [path.join(ROOT, 'tools', name), ...args]);

testWith('registry')('a release is published, and installed by name', async (t) => {
  const registry = await startRegistry(t);
  const { url, env } = registry;
  const first = await release(['publish', '--trial', '--registry', url], env);
  t.is(first.code, 0, first.stderr);
  const published = [...first.stdout.matchAll(/^(\S+)@\S+ is published$/gm)].map(
    ([, name]) => name,
  );
  // Each behind those that it needs.
  t.regex(`${published}`, /^(taskcluster-proxy-[\w-]+,)+taskcluster-proxy,taskcluster-local$/);
  const again = await release(['publish', '--trial', '--registry', url], env);
  t.regex(again.stdout, new RegExp(`^taskcluster-proxy@${version} is there already$`, 'm'));
  t.is(again.code, 0, again.stderr);

  const project = makeProject(t, 'npm', registry);
  await project.add('taskcluster-local');
  t.is(await project.run('taskcluster-local', '--version'), `${version}\n`);
  await upgradeWhileItRuns(t, registry);
});

/**
 * By every package manager: the proxy is installed by its name, and runs; the next version is installed
 * in its place; what runs goes on, and what starts then is the next.
 */
async function upgradeWhileItRuns(t: ExecutionContext, registry: Registry): Promise<void> {
  await publishOtherPlatforms(t, registry, version);
  const upstream = await startUpstream(t);
  const installed = [];
  for (const manager of packageManagersHere()) {
    const project = makeProject(t, manager, registry);
    await project.add('taskcluster-proxy');
    const said = await project.run('taskcluster-proxy', '--version');
    t.is(said, `Taskcluster proxy ${version} (git revision ${revision})\n`, manager);
    installed.push({ manager, project, proxy: await startProxyOf(t, project, upstream) });
  }
  const next = await publishNext(t, registry);
  for (const { manager, project, proxy } of installed) {
    await project.add(`taskcluster-proxy@${next}`);
    t.is(await project.run('taskcluster-proxy', '--short-version'), `${next}\n`, manager);

    const body = JSON.stringify(permanentCredentials('tests/next'));
    const update = await fetch(`${proxy.url}/credentials`, { method: 'PUT', body });
    t.is(update.status, 200, manager);
    const answer = await fetch(`${proxy.url}/queue/v1/ping`);
    t.is(answer.headers.get('x-taskcluster-proxy-version'), version, manager);
    t.is(upstream.last.signed().clientId, 'tests/next', manager);
    proxy.child.kill('SIGTERM');
    t.deepEqual(await within(proxy.exited, `the end of what ${manager} installed`), [0, null]);
  }
}

type Project = ReturnType<typeof makeProject>;

async function startProxyOf(t: ExecutionContext, project: Project, upstream: Upstream) {
  const { clientId, accessToken } = permanentCredentials();
  const child = project.spawn('taskcluster-proxy', ['-p0', '-i127.0.0.1', '--log-level', 'warn'], {
    TASKCLUSTER_ROOT_URL: upstream.url,
    TASKCLUSTER_CLIENT_ID: clientId,
    TASKCLUSTER_ACCESS_TOKEN: accessToken,
  });
  const exited = endsWith(t, child);
  const [line] = await within(once(child.stdout as Readable, 'data'), 'the line `Listening on`');
  const [, url = ''] = /^Listening on (\S+)\n$/.exec(`${line}`) ?? [];
  return { child, exited, url };
}

/** What a trial leaves out: package managers look at every platform's manifest. */
async function publishOtherPlatforms(t: ExecutionContext, registry: Registry, version: string) {
  for (const name of readdirSync(path.join(ROOT, 'npm'))) {
    const isHere = existsSync(path.join(ROOT, `taskcluster-proxy.${name}.node`));
    if (name !== 'taskcluster-local' && !isHere) {
      const directory = freshDirectory(t);
      const file = path.join(ROOT, 'npm', name, 'package.json');
      const manifest = { ...JSON.parse(readFileSync(file, 'utf8')), version };
      writeFileSync(path.join(directory, 'package.json'), JSON.stringify(manifest));
      await publishDirectory(registry, directory);
    }
  }
}

/**
 * Publishes the next version without another build: files that hold the version get another one of
 * the same length.
 */
async function publishNext(t: ExecutionContext, registry: Registry): Promise<string> {
  const next = version.replace(/\d$/, (digit) => `${(Number(digit) + 1) % 10}`);
  await publishOtherPlatforms(t, registry, next);
  const binaries = readdirSync(ROOT).filter((name) => name.endsWith('.node'));
  const platforms = binaries.map((name) => name.replaceAll('.', '-').replace(/-node$/, ''));
  for (const name of [...platforms, 'taskcluster-proxy']) {
    const directory = await unpackPublished(t, registry, name, version);
    for (const file of readdirSync(directory).filter((each) =>
      /(package\.json|\.node)$/.test(each),
    )) {
      const text = readFileSync(path.join(directory, file), 'latin1');
      writeFileSync(path.join(directory, file), text.replaceAll(version, next), 'latin1');
    }
    await publishDirectory(registry, directory);
  }
  return next;
}

test('a release is refused for a wrong tag, a trial without a registry, and an unknown step', async (t) => {
  const lacking = await release(['check', '--tag', 'v0.0.1']);
  t.is(lacking.stderr, `The tag is v0.0.1, but the packages are of version ${version}.\n`);
  t.is(lacking.code, 1);

  const world = await release(['publish', '--trial']);
  t.regex(world.stderr, /^A trial is not for the world: name a registry /);
  t.is(world.code, 1);

  const other = await release(['all']);
  t.regex(other.stderr, /^Say what to do: /);
  t.is(other.code, 1);
});

test('a package without its binary, or without dist/, is not packed', async (t) => {
  const directory = freshDirectory(t);
  for (const [name, lacking] of [
    ['linux-x64-gnu', /ENOENT: .*\.node/],
    ['taskcluster-local', /ENOENT: .*dist\/cli\/taskcluster-local\.js/],
  ] as const) {
    const manifest = path.join(ROOT, 'npm', name, 'package.json');
    copyFileSync(manifest, path.join(directory, 'package.json'));
    const bare = await runProgram('npm', ['pack'], { cwd: directory });
    t.not(bare.code, 0, name);
    t.regex(bare.stderr, lacking);
  }

  const copy = path.join(directory, 'copy');
  for (const file of ['package.json', 'tools/prepack.mjs', 'tools/platforms.mjs']) {
    mkdirSync(path.dirname(path.join(copy, file)), { recursive: true });
    copyFileSync(path.join(ROOT, file), path.join(copy, file));
  }
  const main = await runProgram('npm', ['pack'], { cwd: copy });
  t.not(main.code, 0);
  t.regex(
    main.stderr,
    /There is no dist\/cli\/taskcluster-proxy\.cjs, .* to pack: run npm run build/,
  );
});

test('a package that does not hold what is listed is refused', async (t) => {
  const directory = freshDirectory(t);
  const manifest = { name: 'taskcluster-local', version, files: ['dist'] };
  writeFileSync(path.join(directory, 'package.json'), JSON.stringify(manifest));
  mkdirSync(path.join(directory, 'dist'));
  writeFileSync(path.join(directory, 'dist/secrets.js'), '');
  const tool = path.join(ROOT, 'tools/packages.mjs');
  const program = `import { checkContents } from '${tool}'; checkContents(['${directory}']);`;
  const checked = await runProgram(process.execPath, ['--input-type=module', '--eval', program]);
  t.regex(
    checked.stderr,
    /The package taskcluster-local is not as listed: dist\/secrets\.js would be new, LICENSE would be missing, /,
  );
  t.is(checked.code, 1);
});

interface Bom {
  metadata: { component: { purl: string } };
  components: { name: string; purl: string }[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

function readBom(directory: string, name: string): Bom & { names: string[] } {
  const bom = JSON.parse(readFileSync(path.join(directory, `${name}.cdx.json`), 'utf8')) as Bom;
  return { ...bom, names: bom.components.map((component) => component.name) };
}

test('each npm package comes with a list of what it is made of', async (t) => {
  const directory = freshDirectory(t);
  const made = await tool('sbom.mjs', directory, '--packages');
  t.is(made.code, 0, made.stderr);
  const proxy = readBom(directory, 'taskcluster-proxy');
  t.is(proxy.metadata.component.purl, `pkg:npm/taskcluster-proxy@${version}`);
  const { optionalDependencies } = JSON.parse(
    readFileSync(path.join(ROOT, 'package.json'), 'utf8'),
  );
  t.deepEqual(proxy.names, ['commander', 'leven', ...Object.keys(optionalDependencies)]);

  const local = readBom(directory, 'taskcluster-local');
  const { dependencies } = JSON.parse(
    readFileSync(path.join(ROOT, 'npm/taskcluster-local/package.json'), 'utf8'),
  );
  t.deepEqual(
    Object.keys(dependencies).filter((name) => !local.names.includes(name)),
    [],
  );
  t.false(local.names.includes('ava'));
});

const crateLists = path.join(ROOT, 'build/cargo-tools/bin/auditable2cdx');

// It takes minutes to build, so it is there only where a release has been made.
(existsSync(crateLists) ? test : test.skip)(
  'an addon that lists no crates is refused',
  async (t) => {
    const directory = freshDirectory(t);
    const addon = path.join(directory, 'taskcluster-proxy.linux-x64-gnu.node');
    copyFileSync(process.execPath, addon);
    const made = await runProgram(process.execPath, [
      path.join(ROOT, 'tools/sbom.mjs'),
      directory,
      addon,
    ]);
    t.regex(made.stderr, /linux-x64-gnu\.node does not say which crates are in it: /);
    t.is(made.code, 1);
  },
);

test('a tool of Cargo that is not pinned is not built', async (t) => {
  const tool = path.join(ROOT, 'tools/cargo-tools.mjs');
  const unknown = await runProgram(process.execPath, [tool, 'cargo-deni', 'check']);
  t.regex(unknown.stderr, /^There is no tool cargo-deni: it is one of .*cargo-deny/);
  t.is(unknown.code, 1);
});

testWith('actionlint')('the workflows are valid, and call scripts that exist', async (t) => {
  const directory = path.join(ROOT, '.github/workflows');
  const workflows = readdirSync(directory).map((name) => path.join(directory, name));
  const checked = await runProgram(pathOf('actionlint'), workflows);
  t.is(checked.code, 0, checked.stdout);
  const steps = workflows.flatMap((file) => readFileSync(file, 'utf8').split('\n'));
  const scripts = steps.flatMap((line) => /(?:tools|\.ci)\/[\w.-]+/.exec(line) ?? []);
  t.true(scripts.length > 0);
  t.deepEqual(
    scripts.filter((script) => !existsSync(path.join(ROOT, script))),
    [],
  );
});

interface Workflow {
  readonly jobs: {
    readonly proofs: { readonly strategy: { readonly matrix: { readonly proof: string[] } } };
    readonly publish: { readonly needs: string[] };
  };
}

test('a release waits for every long proof', async (t) => {
  const { jobs } = parse(
    readFileSync(path.join(ROOT, '.github/workflows/release.yml'), 'utf8'),
  ) as Workflow;
  const { stdout } = await tool('proofs.mjs', '--plan');
  const plans = stdout.trimEnd().split('\n');
  t.deepEqual(
    plans.map((line) => line.split(' ')[0]),
    jobs.proofs.strategy.matrix.proof,
  );
  t.true(jobs.publish.needs.includes('proofs'));
  t.regex(stdout, /^wires +npm run wires -- --cases 100000$/m);
  t.regex(stdout, /^schedules +SCHEDULES=20000 npm run schedules$/m);
  const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  for (const line of plans) {
    t.true((/npm run (\S+)/.exec(line)?.[1] as string) in scripts, line);
  }
});

test('an unknown proof, and a proof that fails, end with a sentence', async (t) => {
  const unknown = await tool('proofs.mjs', 'rumours');
  t.is(
    unknown.stderr,
    'Name proofs that there are: wires, schedules, fuzz, soak, soak-deployment, or all.\n',
  );
  const nothing = await tool('proofs.mjs', 'fuzz', '--share', 'none');
  t.is(nothing.stderr, 'Give --share a number above 0: 1 is all that a release asks for.\n');
  // So little time leaves none for each of the targets.
  const failing = await tool('proofs.mjs', 'fuzz', '--share', '0.0001');
  t.regex(failing.stderr, /These do not hold: fuzz\. What they found stands above\.\n$/);
  t.is(failing.code, 1);
});

test('a release makes and tries the one file of each platform that has one', async (t) => {
  const workflow = readFileSync(path.join(ROOT, '.github/workflows/release.yml'), 'utf8');
  const program = `import { NODES } from '${path.join(ROOT, 'tools/nodes.mjs')}';
    console.log(Object.keys(NODES).join(' '));`;
  const { stdout } = await runProgram(process.execPath, ['--input-type=module', '--eval', program]);
  const names = stdout.trim().split(' ');
  t.is(names.length, 8);
  for (const name of names) {
    t.regex(workflow, new RegExp(`(--platform|platform:) ${name}\\b`), name);
    t.regex(workflow, new RegExp(`(file: taskcluster-proxy-|platform: )${name}\\b`), name);
  }
});

test('the build of a one file ends with a sentence if the platform, the addon or the machine does not fit', async (t) => {
  const none = await tool('one-file.mjs', '--platform', 'freebsd-x64');
  t.regex(none.stderr, /^No registry of packages has Node for freebsd-x64: the one file is for /);
  const lacking = await tool('one-file.mjs', '--platform', 'win32-x64-msvc', '--addon', 'none');
  t.regex(lacking.stderr, /^There is no addon .*none: run npm run build -- --platform win32-x64-/);
  const two = await tool(
    ...(['one-file.mjs', '--platform', 'darwin-x64', '--platform', 'darwin-arm64'] as const),
    ...['--addon', 'none'],
  );
  t.is(two.stderr, 'An addon is for one platform: give --addon with one --platform.\n');
  const preload = path.join(freshDirectory(t), 'arm.cjs');
  writeFileSync(preload, "Object.defineProperty(process, 'arch', { value: 'arm64' });");
  const elsewhere = await runProgram(process.execPath, [
    ...['--require', preload, path.join(ROOT, 'tools/one-file.mjs')],
    ...['--platform', 'darwin-arm64'],
  ]);
  t.is(elsewhere.stderr, 'The one file for darwin-arm64 is made on Linux with glibc, on x64.\n');
});

test('the smoke test accepts a build that works here, and ends with a sentence for one that does not', async (t) => {
  const smoke = await runProgram(process.execPath, [path.join(ROOT, 'tools/smoke.mjs')]);
  t.is(smoke.stdout.trimEnd().split('\n').length, 5, smoke.stderr);
  t.is(smoke.code, 0, smoke.stderr);

  const broken = await runProgram(process.execPath, [
    path.join(ROOT, 'tools/smoke.mjs'),
    '/bin/true',
  ]);
  t.is(broken.stderr, 'The build does not work here: it ended with 0.\n');
  t.is(broken.code, 1);
});

test('a release gets checksums of its files, and is refused if a file is missing', async (t) => {
  const directory = freshDirectory(t);
  writeFileSync(path.join(directory, 'b'), 'b');
  writeFileSync(path.join(directory, 'a'), 'a');
  const lacking = await tool('release-files.mjs', directory);
  t.regex(lacking.stderr, /^The release is not whole: .* lacks taskcluster-proxy-linux-x64-gnu, /);
  t.regex(
    lacking.stderr,
    / taskcluster-proxy-win32-x64-msvc\.exe,.* taskcluster-proxy-image-linux-/,
  );
  t.is(lacking.code, 1);
  const summed = await tool('release-files.mjs', directory, '--partial');
  t.is(summed.code, 0, summed.stderr);
  const lines = readFileSync(path.join(directory, 'SHA256SUMS'), 'utf8').split('\n');
  t.is(lines[0], 'ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a');
  t.deepEqual([lines[1]?.endsWith('  b'), lines.length], [true, 3]);
});
