// The image: put together with the one file inside on a base made here, and run as its own settings say,
// as the first process of a container's namespaces. No runtime of containers is asked, and no registry.
import { execFile, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { revision, version } from 'taskcluster-proxy';
import { Authority } from '../harness/authority.js';
import { endsWith } from '../harness/child.js';
import { TEST_PATIENCE_MS, until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { makeNamespace, type Namespace } from '../harness/namespace.js';
import { runProgram } from '../harness/run-program.js';
import { permanentCredentials } from '../harness/signature.js';
import { testWith } from '../harness/tools.js';
import { startUpstream } from '../harness/upstream.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const FILES = path.join(ROOT, 'build/one-file');
const BASE = 'localhost/base:test';
const IMAGE = 'localhost/taskcluster-proxy:test';
const { PATH = '' } = process.env;
const run = promisify(execFile);
const image = (args: string[], env: NodeJS.ProcessEnv) =>
  run(process.execPath, [path.join(ROOT, 'tools/image.mjs'), ...args], { env });

const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
const isPossible =
  `${process.platform}-${process.arch}` === 'linux-x64' &&
  header.glibcVersionRuntime !== undefined &&
  process.getuid?.() === 0;
const imageTest = isPossible ? testWith('buildah', 'ip') : test.skip;
if (!isPossible) {
  console.log('skipped here: tests of the image, which need root on Linux on x64');
}

/** A processor that there is an image for, and how this machine makes its base. */
interface Target {
  readonly platform: 'linux/amd64' | 'linux/arm64';
  /** The name of the one file. */
  readonly name: string;
  /** What runs its programs here. */
  readonly emulator?: string;
  /** The files that the base has beside certificates: those of this machine, by their paths in the image. */
  readonly base: (oneFile: string) => Promise<Map<string, string>>;
}

const AMD64: Target = { platform: 'linux/amd64', name: 'linux-x64-gnu', base: librariesOf };

const ARM64: Target = {
  platform: 'linux/arm64',
  name: 'linux-arm64-gnu',
  emulator: '/usr/bin/qemu-aarch64-static',
  base: librariesForArm,
};

const LIBRARIES_FOR_ARM = '/usr/lib/aarch64-linux-gnu';
const ARM64_PARTS = [
  path.join(ROOT, 'build/platforms/taskcluster-proxy.linux-arm64-gnu.node'),
  ...['/usr/bin/qemu-aarch64-static', '/usr/bin/aarch64-linux-gnu-strip'],
  path.join(LIBRARIES_FOR_ARM, 'libatomic.so.1'),
];
const missing = ARM64_PARTS.find((file) => !existsSync(file));
if (missing !== undefined) {
  console.log(`skipped here: the image for linux/arm64: there is no ${missing}`);
}
const arm64Test = missing === undefined ? imageTest : test.skip;

interface Config {
  User: string;
  Env: string[];
  Entrypoint: string[];
  ExposedPorts: Record<string, object>;
  Healthcheck: { Test: string[] };
  Labels: Record<string, string>;
}

imageTest('a proxy in the image signs on port 80, is not root, and ends on SIGTERM', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const namespace = makeNamespace(t);
  if (namespace === null) {
    t.pass();
    return;
  }
  // As Docker sets it.
  const unprivileged = 'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start';
  await run('ip', ['netns', 'exec', namespace.name, 'bash', '-c', unprivileged]);
  const authority = await Authority.create();
  const { root, config, bom, digest } = await buildImage(t, AMD64, authority);

  t.is(bom.metadata.component.name, 'taskcluster-proxy');
  t.true(digest.startsWith('sha256:'));
  const base = bom.components.find((component) => component['bom-ref'] === 'base');
  t.deepEqual([base?.name, base?.version], ['localhost/base', digest]);
  // What the base's own list of packages says, and what is in the one file.
  const installed = bom.components.filter(({ purl }) => purl.startsWith('pkg:deb/debian/libc6@'));
  t.is(installed.length, 1);
  t.regex(`${installed[0]?.purl}`, /\?arch=amd64&distro=debian-\d+$/);
  t.true(bom.components.some(({ name }) => name === 'commander'));
  const [{ dependsOn = [] } = {}] = bom.dependencies.filter(({ ref }) => ref === 'image');
  t.deepEqual(dependsOn.slice(0, 2), ['one-file', 'base']);

  t.deepEqual(Object.keys(config.ExposedPorts), ['80/tcp']);
  const labels = new Map(Object.entries(config.Labels));
  t.is(labels.get('org.opencontainers.image.version'), version);
  t.is(labels.get('org.opencontainers.image.revision'), revision);
  t.is(labels.get('org.opencontainers.image.licenses'), 'MPL-2.0');
  const facts = JSON.parse(readFileSync(path.join(root, 'app/version.json'), 'utf8'));
  const source = labels.get('org.opencontainers.image.source');
  t.deepEqual(facts, { source, version, commit: revision, build: '' });

  const { host, guest } = namespace.v4;
  const upstream = await startUpstream(t, { tls: await authority.issue([host]), host });
  const { clientId, accessToken } = permanentCredentials();
  const container = { root, config, namespace };
  const first = ['--host', 'proxy.example.com', '--upstream-host', 'none', '--allow-cross-site'];
  const proxy = startIn(t, container, [...first, '--log-level', 'warn', '--', 'queue:get:*'], {
    TASKCLUSTER_ROOT_URL: `https://${host}:${upstream.port}`,
    TASKCLUSTER_CLIENT_ID: clientId,
    TASKCLUSTER_ACCESS_TOKEN: accessToken,
  });
  await until(() => proxy.said() !== '', 'the line `Listening on`');
  t.regex(proxy.said(), /^Listening on \S+:80$/m);

  // The root of upstream's certificate is nowhere but in the image.
  const answer = await within(fetch(`http://${guest}/queue/v1/ping`), 'an answer');
  t.is(answer.status, 200, await answer.text());
  t.deepEqual(upstream.last.signed().authorizedScopes, ['queue:get:*']);

  const { pid } = proxy.child;
  const itself = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8'));
  const status = readFileSync(`/proc/${itself}/status`, 'utf8');
  t.regex(status, /^Uid:\t65532\t65532\t65532\t65532$/m);
  t.regex(status, /^NSpid:\t\d+\t1$/m);
  t.is(await healthOf(container), 0);
  process.kill(itself, 'SIGTERM');
  t.deepEqual(await within(proxy.exited, 'the end'), [0, null]);
  t.not(await healthOf(container), 0);

  const other = startIn(t, container, ['--port', '8080', '--root-url=http://127.0.0.1:1']);
  t.deepEqual(await within(other.exited, 'the end'), [64, null]);
});

arm64Test('an image for linux/arm64 has what a proxy needs there', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const { emulator = '' } = ARM64;
  const { root, config, architecture } = await buildImage(t, ARM64, await Authority.create());
  t.is(architecture, 'arm64');
  const facts = JSON.parse(readFileSync(path.join(root, 'app/version.json'), 'utf8'));
  t.is(facts.version, version);
  t.is(
    facts.commit,
    new Map(Object.entries(config.Labels)).get('org.opencontainers.image.revision'),
  );

  copyFileSync(emulator, path.join(root, 'emulator'));
  await run('mount', ['-t', 'proc', 'proc', path.join(root, 'proc')]);
  t.teardown(() => run('umount', [path.join(root, 'proc')]));
  const chroot = ['/usr/sbin/chroot', `--userspec=${config.User}`, root, '/emulator'];
  const smoke = path.join(ROOT, 'tools/smoke.mjs');
  const { code, stderr } = await runProgram(
    process.execPath,
    [smoke, ...chroot, ...config.Entrypoint],
    { env: { PATH } },
  );
  t.is(code, 0, stderr);
});

interface Bom {
  metadata: { component: { name: string } };
  components: { 'bom-ref': string; name: string; version: string; purl: string }[];
  dependencies: { ref: string; dependsOn?: string[] }[];
}

interface Container {
  readonly root: string;
  readonly config: Config;
  readonly namespace: Namespace;
}

/** With storage of its own, which goes with the test: the image's settings, and its files. */
async function buildImage(
  t: ExecutionContext,
  target: Target,
  authority: Authority,
): Promise<Omit<Container, 'namespace'> & { architecture: string; bom: Bom; digest: string }> {
  const { platform, name, emulator } = target;
  await run(process.execPath, [path.join(ROOT, 'tools/one-file.mjs'), '--platform', name]);
  const directory = freshDirectory(t);
  const storage = path.join(directory, 'storage.conf');
  const places = ['graph', 'run'].map((name) => `${name}root = "${path.join(directory, name)}"`);
  writeFileSync(storage, ['[storage]', 'driver = "vfs"', ...places, ''].join('\n'));
  const env = { ...process.env, CONTAINERS_STORAGE_CONF: storage };
  const buildah = async (...args: string[]) => (await run('buildah', args, { env })).stdout.trim();
  t.teardown(() => buildah('rm', '--all'));

  const base = await makeBase(t, target, authority);
  await buildah('build', '--quiet', '--platform', platform, '--tag', BASE, base);
  const archive = path.join(directory, 'image.tar');
  const inspect = ['inspect', '--type', 'image', '--format', '{{.FromImageDigest}}', BASE];
  const digest = await buildah(...inspect);
  const unpinned = ['--with', 'buildah', '--platform', platform, '--base', BASE, '--sbom', 'none'];
  const parts = ['--one-file-sbom', await partsIn(directory)];
  const refused = await t.throwsAsync<Error & { stderr: string }>(
    image([...unpinned, ...parts], withoutNode(env)),
  );
  t.regex(`${refused?.stderr}`, /The base localhost\/base:test has no digest: name it as /);

  const bom = path.join(directory, 'image.cdx.json');
  const from = `${BASE.replace(/:test$/, '')}@${digest}`;
  const args = ['--with', 'buildah', '--tag', IMAGE, '--base', from, '--save', archive];
  args.push('--sbom', bom, ...parts);
  const emulated = emulator === undefined ? [] : ['--emulator', `${emulator} -L /`];
  const made = await image([...args, '--platform', platform, ...emulated], withoutNode(env));
  t.is(made.stdout, `${IMAGE}\n`);
  const saved = await run('tar', ['-xOf', archive, 'manifest.json']);
  t.deepEqual(JSON.parse(saved.stdout)[0].RepoTags, [IMAGE]);
  const { Docker } = JSON.parse(await buildah('inspect', '--type', 'image', IMAGE));
  const container = await buildah('from', '--pull-never', '--platform', platform, IMAGE);
  const root = await buildah('mount', container);
  return {
    ...{ root, config: Docker.config, architecture: Docker.architecture, digest },
    bom: JSON.parse(readFileSync(bom, 'utf8')),
  };
}

/**
 * A list of parts as a release has it for the one file; this one is of the package, which needs no crates and no
 * build.
 */
async function partsIn(directory: string): Promise<string> {
  await run(process.execPath, [path.join(ROOT, 'tools/sbom.mjs'), directory, '--packages']);
  return path.join(directory, 'taskcluster-proxy.cdx.json');
}

/** Variables of Node make the one file start itself again, which an emulator cannot do. */
function withoutNode(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('NODE_')));
}

/** What tools/image/base.Containerfile brings, out of this machine, and a root certificate of our own. */
async function makeBase(
  t: ExecutionContext,
  { name, base }: Target,
  authority: Authority,
): Promise<string> {
  const directory = freshDirectory(t);
  const root = path.join(directory, 'root');
  for (const [place, file] of await base(path.join(FILES, `taskcluster-proxy-${name}`))) {
    const copy = path.join(root, place);
    mkdirSync(path.dirname(copy), { recursive: true });
    copyFileSync(file, copy);
  }
  const certificates = path.join(root, 'etc/ssl/certs');
  mkdirSync(certificates, { recursive: true });
  writeFileSync(path.join(certificates, 'ca-certificates.crt'), authority.pem);
  for (const file of ['/var/lib/dpkg/status', '/usr/lib/os-release']) {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
    copyFileSync(file, path.join(root, file));
  }
  mkdirSync(path.join(root, 'proc'));
  mkdirSync(path.join(root, 'tmp'));
  chmodSync(path.join(root, 'tmp'), 0o1777);
  writeFileSync(path.join(directory, 'Containerfile'), 'FROM scratch\nCOPY root/ /\n');
  return directory;
}

/** A shell, and the libraries that it and the one file ask for. */
async function librariesOf(oneFile: string): Promise<Map<string, string>> {
  const { stdout } = await run('ldd', [oneFile, '/bin/bash']);
  const libraries = [...stdout.matchAll(/(?:=> |^\t)(\/\S+) \(/gm)].map(([, file]) => `${file}`);
  return new Map(['/bin/bash', ...libraries].map((file) => [file, file]));
}

/** Those that Debian has for Arm beside its own, without a shell. */
async function librariesForArm(): Promise<Map<string, string>> {
  const names = readdirSync(LIBRARIES_FOR_ARM).filter((name) => name.includes('.so'));
  return new Map(
    names.map((name) => {
      const place = name.startsWith('ld-') ? '/lib' : '/lib/aarch64-linux-gnu';
      return [path.join(place, name), path.join(LIBRARIES_FOR_ARM, name)];
    }),
  );
}

/** As the first process of the container; gives what it says on stdout. */
function startIn(t: ExecutionContext, container: Container, args: string[], env = {}) {
  const { root, config } = container;
  const isolated = ['--pid', '--fork', '--kill-child', `--mount-proc=${path.join(root, 'proc')}`];
  const command = [...isolated, ...inside(container), ...config.Entrypoint, ...args];
  const child = spawn('unshare', command, {
    env: { ...variablesOf(config), ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (part) => {
    said += part;
  });
  return { child, exited: endsWith(t, child), said: () => said };
}

/** The exit code of its health check. */
async function healthOf(container: Container): Promise<number> {
  const { config } = container;
  const [kind, ...check] = config.Healthcheck.Test;
  const [program = '', ...args] = [...inside(container), ...check];
  try {
    await run(program, args, { env: variablesOf(config) });
    return kind === 'CMD' ? 0 : -1;
  } catch (error) {
    return (error as { code: number }).code;
  }
}

/** In the container's network and files, as its user. */
function inside({ root, config, namespace }: Container): string[] {
  const user = `--userspec=${config.User}`;
  return ['ip', 'netns', 'exec', namespace.name, 'chroot', user, root];
}

function variablesOf({ Env }: Config): NodeJS.ProcessEnv {
  const pairs = Env.map((each) => [each.replace(/=.*/s, ''), each.replace(/^.*?=/s, '')]);
  return { ...Object.fromEntries(pairs), PATH };
}

test('the build of the image ends with a sentence if the machine has no builder', async (t) => {
  const none = await t.throwsAsync<Error & { stderr: string }>(
    image([], { PATH: freshDirectory(t) }),
  );
  t.is(
    none?.stderr,
    'Nothing here builds the image: install docker, podman, or buildah, or start its service.\n',
  );
  const other = await t.throwsAsync<Error & { stderr: string }>(image(['--with', 'kaniko'], {}));
  t.is(other?.stderr, 'kaniko does not build the image: name docker, podman, or buildah.\n');
});
