/**
 * Makes ready what tests need beside the npm packages: nginx, HAProxy, Chromium, curl, OpenSSL,
 * PostgreSQL, PgBouncer, iproute2, buildah, promtool, shells, groff and systemd from the system, and
 * Taskcluster's Python and Go clients, its worker, a launcher, a registry of packages, package managers, a store with
 * S3's protocol, actionlint, h2spec and an old Node under build/.
 *
 * With CI=true what is missing is installed, and a failure fails. Otherwise nothing of the system
 * is touched, and what cannot be had is named in a line; the tests that need it are skipped.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const CLIENTS = join(ROOT, '__test__/clients');
const IS_CI = process.env.CI === 'true';

/** The last version of a line of Node that many machines still have. */
const OLD_NODE = '18.20.8';

/** For programs in Go, which take longer to compile than they run here. */
const UNOPTIMISED = '-gcflags=all=-N -l';

/** Programs of the system and the Debian packages that bring them. */
const DEBIAN_PACKAGES = {
  nginx: ['nginx'],
  chromium: ['chromium'],
  curl: ['curl'],
  haproxy: ['haproxy'],
  openssl: ['openssl'],
  python3: ['python3', 'python3-venv'],
  go: ['golang-go'],
  postgres: ['postgresql'],
  pgbouncer: ['pgbouncer'],
  ip: ['iproute2'],
  bash: ['bash'],
  zsh: ['zsh'],
  fish: ['fish'],
  groff: ['groff-base'],
  'systemd-analyze': ['systemd'],
  buildah: ['buildah'],
  promtool: ['prometheus'],
};

await main();

async function main() {
  const missing = Object.keys(DEBIAN_PACKAGES).filter((program) => !isInstalled(program));
  if (missing.length > 0 && IS_CI) {
    await installDebianPackages(missing.flatMap((program) => DEBIAN_PACKAGES[program]));
  } else if (missing.length > 0) {
    console.error(`Not on this machine: ${missing.join(', ')}. Tests that need them are skipped.`);
  }
  // Compilers take the processors in turn; what is fetched meanwhile waits for the network.
  await Promise.all([
    inTurn([
      ['the Go client', isInstalled('go'), prepareGoClient],
      ['the worker', isInstalled('go'), prepareWorker],
      ['actionlint', isInstalled('go'), prepareActionlint],
      ['h2spec', isInstalled('go'), prepareH2spec],
      ['the launcher', isInstalled('go'), prepareLauncher],
      ['the object store', isInstalled('go'), prepareObjectStore],
    ]),
    inTurn([
      ['the Python client', isInstalled('python3'), preparePythonClient],
      ['the registry', true, prepareRegistry],
      ['the package managers', true, preparePackageManagers],
      ['an old Node', true, prepareOldNode],
    ]),
  ]);
}

async function installDebianPackages(packages) {
  await run(['apt-get', 'update', '-q']);
  const options = ['-y', '-q', '--no-install-recommends'];
  await run(['apt-get', 'install', ...options, ...packages], { DEBIAN_FRONTEND: 'noninteractive' });
}

/** A virtual environment with the pinned packages; a copy of their list says that it is whole. */
async function preparePythonClient() {
  const directory = join(ROOT, 'build/test-python');
  const requirements = join(CLIENTS, 'python/requirements.txt');
  const installed = join(directory, 'requirements.txt');
  if (existsSync(installed) && isSame(installed, requirements)) {
    return;
  }
  await run(['python3', '-m', 'venv', '--clear', directory]);
  const pip = [join(directory, 'bin/python'), '-m', 'pip', '--disable-pip-version-check'];
  await run([...pip, 'install', '--quiet', '--no-deps', '--requirement', requirements]);
  copyFileSync(requirements, installed);
}

/** A Node that is older than the package supports, to see what sentence it prints. */
async function prepareOldNode() {
  const directory = join(ROOT, 'build/test-node');
  const installed = join(directory, 'node_modules/node/package.json');
  if (existsSync(installed) && JSON.parse(readFileSync(installed, 'utf8')).version === OLD_NODE) {
    return;
  }
  const options = ['--no-save', '--no-audit', '--no-fund', '--loglevel=error'];
  await run(['npm', 'install', ...options, '--prefix', directory, `node@${OLD_NODE}`]);
}

function prepareGoClient() {
  return buildWithGo('go', 'test-go', 'client', '.');
}

/** Taskcluster's own worker; its tasks run as the user who starts it. */
function prepareWorker() {
  const [, generation] = readFileSync(join(CLIENTS, 'worker/go.mod'), 'utf8').match(
    /require github.com\/taskcluster\/taskcluster\/(v\d+)/,
  );
  const worker = `github.com/taskcluster/taskcluster/${generation}/workers/generic-worker`;
  return buildWithGo('worker', 'test-worker', 'generic-worker', worker, '-tags', 'insecure');
}

/** The program that starts and updates proxies as a worker of today does. */
function prepareLauncher() {
  return buildWithGo('launcher', 'test-launcher', 'launcher', '.');
}

/** The program that checks the workflows. */
function prepareActionlint() {
  const what = 'github.com/rhysd/actionlint/cmd/actionlint';
  return buildWithGo('workflows', 'test-workflows', 'actionlint', what);
}

/** A client of HTTP/2 that tries what the RFC forbids. */
function prepareH2spec() {
  return buildWithGo('h2spec', 'test-h2spec', 'h2spec', 'github.com/summerwind/h2spec/cmd/h2spec');
}

/** A server with S3's protocol that keeps objects as files. */
function prepareObjectStore() {
  const what = 'github.com/versity/versitygw/cmd/versitygw';
  return buildWithGo('object-store', 'test-object-store', 'versitygw', what);
}

/** A program under build/, with copies of what it was built from. */
async function buildWithGo(source, target, name, what, ...flags) {
  const from = join(CLIENTS, source);
  const directory = join(ROOT, 'build', target);
  const files = readdirSync(from);
  const program = join(directory, name);
  const isBuilt = (file) =>
    existsSync(join(directory, file)) && isSame(join(directory, file), join(from, file));
  if (existsSync(program) && files.every(isBuilt)) {
    return;
  }
  mkdirSync(directory, { recursive: true });
  const options = ['-C', from, '-mod=readonly', UNOPTIMISED, ...flags, '-o', program];
  await run(['go', 'build', ...options, what], { CGO_ENABLED: '0' });
  for (const file of files) {
    copyFileSync(join(from, file), join(directory, file));
  }
}

/** A registry of npm packages, into which the tests release. */
async function prepareRegistry() {
  await installPackages('registry', 'test-registry');
}

/** The package managers beside npm. */
async function preparePackageManagers() {
  await installPackages('package-managers', 'test-package-managers');
}

/** Packages of npm as they are pinned, under build/, with copies of what pins them. */
async function installPackages(source, target) {
  const from = join(CLIENTS, source);
  const directory = join(ROOT, 'build', target);
  const lock = join(directory, 'node_modules/.package-lock.json');
  const isBuilt = (file) =>
    existsSync(join(directory, file)) && isSame(join(directory, file), join(from, file));
  if (existsSync(lock) && readdirSync(from).every(isBuilt)) {
    return;
  }
  mkdirSync(directory, { recursive: true });
  for (const file of readdirSync(from)) {
    copyFileSync(join(from, file), join(directory, file));
  }
  await run(['npm', 'ci', '--prefix', directory, '--no-audit', '--no-fund', '--loglevel=error']);
}

/** Where one fails, CI fails; elsewhere the tests that need it are skipped. */
async function inTurn(preparations) {
  for (const [what, isPossible, prepare] of preparations) {
    try {
      if (isPossible) {
        await prepare();
      }
    } catch (error) {
      console.error(`${what} cannot be prepared: ${error.message}`);
      if (IS_CI) {
        process.exit(1);
      }
    }
  }
}

function isInstalled(program) {
  const directories = (process.env.PATH ?? '').split(delimiter);
  return [...directories, '/usr/sbin', ...postgresqlDirectories()].some((directory) =>
    isExecutable(join(directory, program)),
  );
}

/** Debian keeps a server's programs out of the PATH, by its version. */
function postgresqlDirectories() {
  const parent = '/usr/lib/postgresql';
  const versions = existsSync(parent) ? readdirSync(parent) : [];
  return versions.map((version) => join(parent, version, 'bin'));
}

function isExecutable(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isSame(one, other) {
  return readFileSync(one).equals(readFileSync(other));
}

async function run(command, environment = {}) {
  console.error(`> ${command.join(' ')}`);
  const [program, ...args] = command;
  const child = spawn(program, args, {
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  });
  const [status] = await once(child, 'exit');
  if (status !== 0) {
    throw new Error(`${command.join(' ')} failed`);
  }
}
