// The npm packages: installed from their tarballs where there is no Rust, what is said where no
// binary fits, and one version everywhere.
import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { MissingBinaryError, version } from 'taskcluster-proxy';
import { freshDirectory } from './harness/directory.js';

const ROOT = path.resolve(import.meta.dirname, '..');
const run = promisify(execFile);

interface Project {
  readonly directory: string;
  readonly tools: string;
}

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** A PATH with what Node's installation brings and a shell: no Rust, whatever the machine has. */
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

async function npm(project: Project, program: 'npm' | 'npx', ...args: string[]): Promise<Ended> {
  const env = { ...process.env, PATH: project.tools, npm_config_update_notifier: 'false' };
  try {
    return { code: 0, ...(await run(program, args, { cwd: project.directory, env })) };
  } catch (error) {
    return error as Ended;
  }
}

/** An empty project into which the tarballs of this build have been installed. */
async function install(t: ExecutionContext): Promise<Project> {
  const parent = freshDirectory(t);
  const packed = await run(process.execPath, [path.join(ROOT, 'tools/pack.mjs'), parent]);
  const tarballs = packed.stdout.trim().split('\n');
  const project = { directory: path.join(parent, 'project'), tools: pathWithoutRust(parent) };
  mkdirSync(project.directory);
  writeFileSync(path.join(project.directory, 'package.json'), '{"private": true}');
  const installed = await npm(
    project,
    'npm',
    ...['install', '--prefer-offline', '--ignore-scripts', ...tarballs],
  );
  t.is(installed.code, 0, installed.stderr);
  return project;
}

test('installs from its tarballs, runs without Rust, and says what is missing', async (t) => {
  const project = await install(t);
  const long = await npm(project, 'npx', 'taskcluster-proxy', '--version');
  t.regex(long.stdout, new RegExp(`^Taskcluster proxy ${version} \\(git revision \\S+\\)\n$`));

  const program = `
    import { signHeader, startProxy } from 'taskcluster-proxy';
    const credentials = { clientId: 'a', accessToken: 'b' };
    const rootUrl = 'https://tc.example.com';
    const proxy = await startProxy({ rootUrl, credentials, port: 0, logLevel: 'error' });
    await proxy.stop();
    console.log(signHeader({ credentials, url: rootUrl }).slice(0, 5));`;
  writeFileSync(path.join(project.directory, 'program.mjs'), program);
  const api = await run(process.execPath, ['program.mjs'], { cwd: project.directory });
  t.is(api.stdout, 'Hawk \n');

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
  t.is(
    lastLine(missing.stderr),
    'taskcluster-proxy: taskcluster-proxy finds no binary for this machine: its package ' +
      `${platform} is not installed; install taskcluster-proxy anew on this machine without ` +
      '--omit=optional, or run `npm run build` in a checkout',
  );
  t.is(missing.code, 1);
});

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

test('a missing binary is an error of its own', (t) => {
  const error = new MissingBinaryError('its package is not installed');
  t.deepEqual([error.name, error.code], ['MissingBinaryError', 'ERR_MISSING_BINARY']);
});

interface Manifest {
  name: string;
  version: string;
  optionalDependencies?: Record<string, string>;
  main: string;
  files: string[];
  packages: Record<string, Manifest & { link?: boolean; resolved?: string }>;
}

function manifest(...place: string[]): Manifest {
  return JSON.parse(readFileSync(path.join(ROOT, ...place), 'utf8'));
}

test('everything carries one version', (t) => {
  const { optionalDependencies = {}, ...main } = manifest('package.json');
  const lock = manifest('package-lock.json');
  const targets = readdirSync(path.join(ROOT, 'npm'));
  const cargo = /^\[workspace\.package\]\nversion = "(.+)"$/m.exec(
    readFileSync(path.join(ROOT, 'Cargo.toml'), 'utf8'),
  );
  t.is(main.version, version);
  t.is(cargo?.[1], version);
  t.deepEqual([lock.version, lock.packages['']?.version], [version, version]);
  t.deepEqual(
    optionalDependencies,
    Object.fromEntries(targets.map((target) => [`${main.name}-${target}`, version])),
  );
  for (const target of targets) {
    const name = `${main.name}-${target}`;
    const platform = manifest('npm', target, 'package.json');
    t.deepEqual([platform.name, platform.version], [name, version]);
    t.deepEqual([platform.main, platform.files], [binaryOf(name), [binaryOf(name)]]);
    t.is(lock.packages[`npm/${target}`]?.version, version, target);
    // A link: `npm ci` needs no registry for packages that may not be published yet.
    const { link, resolved } = lock.packages[`node_modules/${name}`] ?? {};
    t.deepEqual([link, resolved], [true, `npm/${target}`]);
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
