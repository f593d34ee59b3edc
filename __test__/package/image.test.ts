// The image: put together with the one file inside on a base made here, and run as its own settings say,
// as the first process of a container's namespaces. No runtime of containers is asked, and no registry.
import { execFile, spawn } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { revision, version } from 'taskcluster-proxy';
import { Authority } from '../harness/authority.js';
import { endsWith } from '../harness/child.js';
import { until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { makeNamespace, type Namespace } from '../harness/namespace.js';
import { permanentCredentials } from '../harness/signature.js';
import { testWith } from '../harness/tools.js';
import { startUpstream } from '../harness/upstream.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const ONE_FILE = path.join(ROOT, 'build/one-file/taskcluster-proxy-linux-x64-gnu');
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

interface Config {
  User: string;
  Env: string[];
  Entrypoint: string[];
  ExposedPorts: Record<string, object>;
  Healthcheck: { Test: string[] };
  Labels: Record<string, string>;
}

imageTest('an image signs on port 80, is not root, and ends on SIGTERM', async (t) => {
  const namespace = makeNamespace(t);
  if (namespace === null) {
    t.pass();
    return;
  }
  // As Docker has it.
  const unprivileged = 'echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start';
  await run('ip', ['netns', 'exec', namespace.name, 'bash', '-c', unprivileged]);
  const authority = await Authority.create();
  const { root, config } = await buildImage(t, authority);

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

interface Container {
  readonly root: string;
  readonly config: Config;
  readonly namespace: Namespace;
}

/** With storage of its own, which goes with the test: the image's settings, and its files. */
async function buildImage(
  t: ExecutionContext,
  authority: Authority,
): Promise<Omit<Container, 'namespace'>> {
  await run(process.execPath, [path.join(ROOT, 'tools/one-file.mjs')]);
  const directory = freshDirectory(t);
  const storage = path.join(directory, 'storage.conf');
  const places = ['graph', 'run'].map((name) => `${name}root = "${path.join(directory, name)}"`);
  writeFileSync(storage, ['[storage]', 'driver = "vfs"', ...places, ''].join('\n'));
  const env = { ...process.env, CONTAINERS_STORAGE_CONF: storage };
  const buildah = async (...args: string[]) => (await run('buildah', args, { env })).stdout.trim();
  t.teardown(() => buildah('rm', '--all'));

  await buildah('build', '--quiet', '--tag', BASE, await makeBase(t, authority));
  const archive = path.join(directory, 'image.tar');
  const args = ['--with', 'buildah', '--tag', IMAGE, '--base', BASE, '--save', archive];
  t.is((await image(args, env)).stdout, `${IMAGE}\n`);
  const saved = await run('tar', ['-xOf', archive, 'manifest.json']);
  t.deepEqual(JSON.parse(saved.stdout)[0].RepoTags, [IMAGE]);
  const inspected = await buildah('inspect', '--type', 'image', IMAGE);
  const container = await buildah('from', '--pull-never', IMAGE);
  const root = await buildah('mount', container);
  return { root, config: JSON.parse(inspected).Docker.config };
}

/** What tools/image/base.Containerfile brings, out of this machine, and a root certificate of our own. */
async function makeBase(t: ExecutionContext, authority: Authority): Promise<string> {
  const directory = freshDirectory(t);
  const root = path.join(directory, 'root');
  const { stdout } = await run('ldd', [ONE_FILE, '/bin/bash']);
  const libraries = [...stdout.matchAll(/(?:=> |^\t)(\/\S+) \(/gm)].map(([, file]) => `${file}`);
  for (const file of ['/bin/bash', ...new Set(libraries)]) {
    const copy = path.join(root, file);
    mkdirSync(path.dirname(copy), { recursive: true });
    copyFileSync(file, copy);
  }
  const certificates = path.join(root, 'etc/ssl/certs');
  mkdirSync(certificates, { recursive: true });
  writeFileSync(path.join(certificates, 'ca-certificates.crt'), authority.pem);
  mkdirSync(path.join(root, 'proc'));
  mkdirSync(path.join(root, 'tmp'));
  chmodSync(path.join(root, 'tmp'), 0o1777);
  writeFileSync(path.join(directory, 'Containerfile'), 'FROM scratch\nCOPY root/ /\n');
  return directory;
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

test('a machine without a builder of images gets a sentence', async (t) => {
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
