// The npm packages: their contents, installed from the tarball without Rust; the errors for a missing part;
// and one version everywhere, set by one command.
import { execFile, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { MissingBinaryError, version } from 'taskcluster-proxy';
import { endsWith } from '../harness/child.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach } from '../harness/local.js';
import { runProgram } from '../harness/run-program.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const run = promisify(execFile);

interface Project {
  readonly directory: string;
  readonly tools: string;
}

/** A PATH with what Node's installation brings and a shell: no Rust, even if the machine has it. */
function pathWithoutRust(directory: string): string {
  const tools = path.join(directory, 'tools');
  mkdirSync(tools);
  const { PATH = '' } = process.env;
  for (const tool of ['node', 'npm', 'npx', 'sh']) {
    const place = PATH.split(path.delimiter).find((each) => existsSync(path.join(each, tool)));
    symlinkSync(path.join(place ?? '/bin', tool), path.join(tools, tool));
  }
  return tools;
}

function npm(project: Project, program: 'npm' | 'npx', ...args: string[]) {
  const env = { ...process.env, PATH: project.tools, npm_config_update_notifier: 'false' };
  return runProgram(program, args, { cwd: project.directory, env });
}

/** The tarballs of this build, in the order in which they are published. */
async function pack(directory: string): Promise<string[]> {
  const packed = await run(process.execPath, [path.join(ROOT, 'tools/pack.mjs'), directory]);
  return packed.stdout.trim().split('\n');
}

/** An empty project into which the first `count` tarballs have been installed. */
async function install(
  t: ExecutionContext,
  count: number,
  reach: '--offline' | '--prefer-offline',
): Promise<Project> {
  const parent = freshDirectory(t);
  const tarballs = (await pack(parent)).slice(0, count);
  const project = { directory: path.join(parent, 'project'), tools: pathWithoutRust(parent) };
  mkdirSync(project.directory);
  writeFileSync(path.join(project.directory, 'package.json'), '{"private": true}');
  const args = ['install', reach, '--ignore-scripts', '--no-audit', ...tarballs];
  const installed = await npm(project, 'npm', ...args);
  t.is(installed.code, 0, installed.stderr);
  return project;
}

interface Installed {
  readonly packages: number;
  readonly files: number;
  /** The bytes of all files but the addon. */
  readonly bytes: number;
  readonly addons: string[];
}

/** The files that an installation has made, without npm's own notes. */
function installedIn({ directory }: Project): Installed {
  const modules = path.join(directory, 'node_modules');
  const files = readdirSync(modules, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== '.package-lock.json')
    .map((entry) => path.join(entry.parentPath, entry.name));
  const addons = files.filter((file) => file.endsWith('.node'));
  const { packages } = JSON.parse(readFileSync(path.join(modules, '.package-lock.json'), 'utf8'));
  return {
    packages: Object.keys(packages).length,
    files: files.length,
    bytes: files
      .filter((file) => !addons.includes(file))
      .reduce((sum, file) => sum + statSync(file).size, 0),
    addons,
  };
}

/** The README's row about a package: packages, files, MB without the addon. */
function promisedBy(name: string): [number, number, number] {
  const row = new RegExp(
    `^\\| \`${name}\` \\|[^|]*\\| (\\d+) \\| ([\\d,]+) \\| ([\\d.]+) MB `,
    'm',
  );
  const found = row.exec(readFileSync(path.join(ROOT, 'README.md'), 'utf8')) ?? [];
  const [packages = 0, files = 0, megabytes = 0] = found
    .slice(1)
    .map((number) => Number(number.replace(',', '')));
  return [packages, files, megabytes];
}

const isNear = (one: number, other: number) => Math.abs(one - other) <= 0.1 * other;

test('the proxy needs no package but its platform, no network and no Rust', async (t) => {
  const project = await install(t, 2, '--offline');
  const installed = installedIn(project);
  const [packages, files, megabytes] = promisedBy('taskcluster-proxy');
  t.deepEqual([installed.packages, installed.files], [packages, files]);
  t.true(isNear(installed.bytes / 1e6, megabytes), `${installed.bytes} bytes`);
  const [addon = ''] = installed.addons;
  const content = readFileSync(addon);
  // A development build is not stripped of its names.
  if (content.includes('.symtab')) {
    t.log('the size of the addon is not tested: it was built without optimisations');
  } else {
    const [, least, most] =
      /the addon, (\d+) to (\d+) MB/.exec(readFileSync(path.join(ROOT, 'README.md'), 'utf8')) ?? [];
    t.true(content.length > Number(least) * 1e6 && content.length < Number(most) * 1e6);
  }

  const long = await npm(project, 'npx', 'taskcluster-proxy', '--version');
  t.regex(long.stdout, new RegExp(`^Taskcluster proxy ${version} \\(git revision \\S+\\)\n$`));

  const program = `
    import { signHeader, startProxy } from 'taskcluster-proxy';
    const credentials = { clientId: 'a', accessToken: 'b' };
    const rootUrl = 'https://tc.example.com';
    const proxy = await startProxy({ rootUrl, credentials, port: 0, logLevel: 'error' });
    await proxy.stop();
    console.log(signHeader({ credentials, url: rootUrl }).slice(0, 5));
    await startProxy({ rootURL: rootUrl }).catch(({ message }) => console.log(message));`;
  writeFileSync(path.join(project.directory, 'program.mjs'), program);
  const api = await run(process.execPath, ['program.mjs'], { cwd: project.directory });
  t.is(api.stdout, 'Hawk \nrootURL is not an option of startProxy: did you mean rootUrl?\n');

  const [platform = ''] = readdirSync(path.join(project.directory, 'node_modules')).filter((name) =>
    name.startsWith('taskcluster-proxy-'),
  );
  const binary = path.join(project.directory, 'node_modules', platform, binaryOf(platform));
  writeFileSync(binary, 'not a library');
  const broken = await npm(project, 'npx', 'taskcluster-proxy', '--version');
  t.regex(broken.stderr, new RegExp(`its package ${platform} does not load \\(.*\\); install `));
  t.is(broken.code, 1);

  rmSync(path.dirname(binary), { recursive: true });
  const missing = await npm(project, 'npx', 'taskcluster-proxy', '--version');
  t.is(lastLine(missing.stderr), `taskcluster-proxy: ${notInstalled(platform)}`);
  t.is(missing.code, 1);
});

function notInstalled(platform: string): string {
  return (
    'taskcluster-proxy finds no binary for this machine: its package ' +
    `${platform} is not installed; install taskcluster-proxy anew on this machine without ` +
    '--omit=optional, or run `npm run build` in a checkout'
  );
}

test('the types of the API need no other types but those of Node', async (t) => {
  const { directory } = await install(t, 2, '--offline');
  const program = `
    import { type Proxy, type ProxyOptions, startProxy } from 'taskcluster-proxy';
    const credentials = { clientId: 'a', accessToken: 'b' };
    const options: ProxyOptions = { rootUrl: 'https://tc.example.com', credentials, port: 0 };
    const proxy: Proxy = await startProxy(options);
    export const requests: number = proxy.counters().requests;`;
  writeFileSync(path.join(directory, 'program.mts'), program);
  const compiler = path.join(ROOT, 'node_modules/typescript/bin/tsc');
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022'];
  const types = ['--types', 'node', '--typeRoots', path.join(ROOT, 'node_modules/@types')];
  const args = [compiler, ...options, ...types, 'program.mts'];
  const { stdout } = await run(process.execPath, args, { cwd: directory }).catch((error) => error);
  t.is(stdout, '');
});

test('the deployment brings the proxy, uses its addon, and says what is missing', async (t) => {
  const project = await install(t, 3, '--prefer-offline');
  const installed = installedIn(project);
  const [packages, files, megabytes] = promisedBy('taskcluster-local');
  t.is(installed.addons.length, 1);
  // The packages' dependencies may have newer versions by now.
  t.true(isNear(installed.packages, packages), `${installed.packages} packages`);
  t.true(isNear(installed.files, files), `${installed.files} files`);
  t.true(isNear(installed.bytes / 1e6, megabytes), `${installed.bytes} bytes`);

  const modules = path.join(project.directory, 'node_modules');
  const command = path.join(modules, '.bin/taskcluster-local');
  const child = spawn(command, ['start'], { cwd: project.directory });
  const exited = endsWith(t, child);
  const { rootUrl } = await howToReach(child);
  const answer = await fetch(`${rootUrl}/api/auth/v1/ping`);
  t.is(answer.status, 200, await answer.text());
  child.kill('SIGTERM');
  await exited;

  const say = async () => {
    const said = await npm(project, 'npx', 'taskcluster-local', '--version');
    return [said.code, lastLine(said.code === 0 ? said.stdout : said.stderr)];
  };
  t.deepEqual(await say(), [0, version]);
  const [platform = ''] = readdirSync(modules).filter((name) =>
    name.startsWith('taskcluster-proxy-'),
  );
  rmSync(path.join(modules, platform), { recursive: true });
  t.deepEqual(await say(), [1, `taskcluster-local: ${notInstalled(platform)}`]);

  const proxy = path.join(modules, 'taskcluster-proxy');
  const needed = `taskcluster-local: it needs the package taskcluster-proxy ${version} beside it, and`;
  writeFileSync(
    path.join(proxy, 'package.json'),
    readFileSync(path.join(proxy, 'package.json'), 'utf8').replace(version, '9.9.9'),
  );
  t.deepEqual(await say(), [1, `${needed} finds 9.9.9: install taskcluster-local anew`]);
  rmSync(proxy, { recursive: true });
  t.deepEqual(await say(), [1, `${needed} there is none: install taskcluster-local anew`]);
});

/** The imports of a module, without those that its comments show. */
function importsOf(module: string): string[] {
  const code = readFileSync(module, 'utf8').replaceAll(/^\s*\/?\*.*$/gm, '');
  const found = code.matchAll(/\b(?:from|import|import\()\s*['"]([^'"\n]+)['"]/g);
  return [...found].map(([, name = '']) => name);
}

const LISTED: Record<string, string[]> = JSON.parse(
  readFileSync(path.join(ROOT, 'tools/package-contents.json'), 'utf8'),
);

for (const [name, place] of Object.entries({
  'taskcluster-proxy': '',
  'taskcluster-local': 'npm/taskcluster-local',
})) {
  test(`each module of ${name} imports what its package holds or depends on`, (t) => {
    const files = LISTED[name] ?? [];
    const { dependencies = {} } = manifest(place, 'package.json');
    const modules = files.filter((file) => file.endsWith('.js'));
    t.true(modules.length > 5);
    for (const module of modules) {
      for (const imported of importsOf(path.join(ROOT, module))) {
        const [scope = '', rest = ''] = imported.split('/');
        const owner = scope.startsWith('@') ? `${scope}/${rest}` : scope;
        t.true(
          imported.startsWith('.')
            ? files.includes(path.join(path.dirname(module), imported))
            : imported.startsWith('node:') || owner in dependencies,
          `${module} imports ${imported}`,
        );
      }
    }
  });
}

test('the command loads nothing but modules of Node and the addon', (t) => {
  const command = readFileSync(path.join(ROOT, 'dist/cli/taskcluster-proxy.cjs'), 'utf8');
  const loaded = [...command.matchAll(/\b(?:require|import)\(["']([^"']+)["']\)/g)];
  t.deepEqual([...new Set(loaded.map(([, name]) => name))].sort(), [
    'node:events',
    'node:fs',
    'node:inspector',
    'node:module',
    'node:path',
    'node:process',
    'node:url',
  ]);
});

test('the error for a missing binary has a name and a code of its own', (t) => {
  const error = new MissingBinaryError('its package is not installed');
  t.deepEqual([error.name, error.code], ['MissingBinaryError', 'ERR_MISSING_BINARY']);
});

interface Manifest {
  name: string;
  version: string;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  homepage?: string;
  bugs?: { url: string };
  repository?: { url: string; directory?: string };
  main: string;
  files: string[];
  packages: Record<string, Manifest & { link?: boolean; resolved?: string }>;
}

function manifest(...place: string[]): Manifest {
  return JSON.parse(readFileSync(path.join(ROOT, ...place), 'utf8'));
}

const UNDER_NPM = readdirSync(path.join(ROOT, 'npm'));

test('the packages, the crates and the lock file have one version', (t) => {
  const { dependencies, optionalDependencies = {}, ...main } = manifest('package.json');
  const lock = manifest('package-lock.json');
  const targets = UNDER_NPM.filter((name) => name !== 'taskcluster-local');
  const cargo = /^\[workspace\.package\]\nversion = "(.+)"$/m.exec(
    readFileSync(path.join(ROOT, 'Cargo.toml'), 'utf8'),
  );
  t.is(main.version, version);
  t.is(cargo?.[1], version);
  t.deepEqual([lock.version, lock.packages['']?.version], [version, version]);
  t.is(dependencies, undefined);
  t.deepEqual(
    optionalDependencies,
    Object.fromEntries(targets.map((target) => [`${main.name}-${target}`, version])),
  );
  for (const target of targets) {
    const name = `${main.name}-${target}`;
    const platform = manifest('npm', target, 'package.json');
    t.deepEqual([platform.name, platform.version], [name, version]);
    t.deepEqual(
      [platform.main, platform.files],
      [binaryOf(name), ['THIRD-PARTY-LICENSES', binaryOf(name)]],
    );
  }
  const local = manifest('npm/taskcluster-local/package.json');
  t.deepEqual([local.name, local.version], ['taskcluster-local', version]);
  // No range: both share one addon.
  t.is(local.dependencies?.['taskcluster-proxy'], version);
  for (const directory of UNDER_NPM) {
    t.is(lock.packages[`npm/${directory}`]?.version, version, directory);
    // A link: `npm ci` needs no registry for packages that may not be published yet.
    const { name } = manifest('npm', directory, 'package.json');
    const { link, resolved } = lock.packages[`node_modules/${name}`] ?? {};
    t.deepEqual([link, resolved], [true, `npm/${directory}`]);
  }
});

test('one command sets the version, and says where it differs', async (t) => {
  const copy = freshDirectory(t);
  const files = [
    ...['package.json', 'package-lock.json', 'Cargo.toml', 'Cargo.lock', 'fuzz/Cargo.lock'],
    ...['tools/version.mjs', 'tools/platforms.mjs', 'tools/ending.mjs'],
    ...UNDER_NPM.map((name) => `npm/${name}/package.json`),
  ];
  for (const file of files) {
    mkdirSync(path.dirname(path.join(copy, file)), { recursive: true });
    copyFileSync(path.join(ROOT, file), path.join(copy, file));
  }
  const tool = path.join(copy, 'tools/version.mjs');
  const set = (...args: string[]) => runProgram(process.execPath, [tool, ...args]);
  t.is((await set()).stdout, `${version}\n`);
  t.is((await set('7.8.9')).stdout, '7.8.9\n');
  for (const file of files.filter((name) => !name.startsWith('tools/'))) {
    const written = readFileSync(path.join(copy, file), 'utf8');
    t.regex(written, /7\.8\.9/, file);
    t.notRegex(written, new RegExp(`"taskcluster-[^"]+": "${version}"`), file);
  }
  await set(version);
  for (const file of files) {
    t.is(
      readFileSync(path.join(copy, file), 'utf8'),
      readFileSync(path.join(ROOT, file), 'utf8'),
      file,
    );
  }

  t.regex((await set('latest')).stderr, /^latest is not a version: give one such as 1\.2\.3\.\n$/);
  const one = path.join(copy, 'npm/taskcluster-local/package.json');
  writeFileSync(one, readFileSync(one, 'utf8').replace(version, '0.0.1'));
  const differs = await set();
  t.regex(
    differs.stderr,
    /^npm\/taskcluster-local\/package\.json has version 0\.0\.1, and package\.json /,
  );
  t.is(differs.code, 1);
});

test('each package says where it comes from', (t) => {
  for (const place of ['', ...UNDER_NPM.map((name) => `npm/${name}`)]) {
    const { homepage, bugs, repository } = manifest(place, 'package.json');
    t.regex(homepage ?? '', /^https:\/\/github\.com\/taskcluster\/taskcluster-proxy[/#]/, place);
    t.is(bugs?.url, 'https://github.com/taskcluster/taskcluster-proxy/issues', place);
    t.is(repository?.url, 'git+https://github.com/taskcluster/taskcluster-proxy.git', place);
    t.is(repository?.directory ?? '', place);
  }
});

test('the lock file holds every platform of every dependency', (t) => {
  // npm forgets those of other platforms where it finds node_modules without a lock file (and
  // `npm ci` then refuses everywhere).
  const { packages } = manifest('package-lock.json');
  for (const [place, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      const known = [`${place}/node_modules/${name}`, `node_modules/${name}`];
      t.true(
        known.some((each) => each in packages),
        `${place || 'this package'}: ${name}`,
      );
    }
  }
});

function binaryOf(platform: string): string {
  return `${platform.replace('taskcluster-proxy-', 'taskcluster-proxy.')}.node`;
}

function lastLine(output: string): string {
  return output.trimEnd().split('\n').at(-1) ?? '';
}
