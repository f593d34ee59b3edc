// What installs packages: npm, both pnpms, both Yarns and Bun, each as its users call it, in a project of its
// own, from a registry that is named. None touches a home directory, a store or a cache of the machine.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { freshDirectory } from './directory.js';
import type { Registry } from './registry.js';
import { find, pathOf, type Tool } from './tools.js';

const { CI = '' } = process.env;
const run = promisify(execFile);

export interface PackageManager {
  readonly needs?: Tool;
  /** Settings beside package.json, by the file's name. */
  readonly settings?: (registry: string, cache: string) => Record<string, string>;
  /** Adds `name` or `name@version`, or puts another version into its place. */
  readonly add: (what: string, registry: string, cache: string) => Command;
  /** What starts a command of a package that is installed in `directory`. */
  readonly start: (command: string, directory: string) => Command;
}

type Command = readonly [program: string, ...args: string[]];

const inBin: PackageManager['start'] = (command, directory) => [
  path.join(directory, 'node_modules/.bin', command),
];

const pnpmAdd = (what: string, registry: string, cache: string) => [
  ...['add', '--registry', registry, '--store-dir', path.join(cache, 'store'), what],
];

/** Bun and pnpm 12 are programs, pnpm 10 and Yarn are scripts for Node. */
export const PACKAGE_MANAGERS: Readonly<Record<string, PackageManager>> = {
  npm: {
    add: (what, registry) => [
      ...(['npm', 'install', '--no-audit', '--no-fund'] as const),
      ...['--registry', registry, what],
    ],
    start: inBin,
  },
  'pnpm 10': {
    needs: 'pnpm-10',
    add: (what, registry, cache) => [
      process.execPath,
      pathOf('pnpm-10'),
      ...pnpmAdd(what, registry, cache),
    ],
    start: inBin,
  },
  'pnpm 12': {
    needs: 'pnpm',
    add: (what, registry, cache) => [pathOf('pnpm'), ...pnpmAdd(what, registry, cache)],
    start: inBin,
  },
  'Yarn 1': {
    needs: 'yarn-1',
    add: (what, registry, cache) => [
      process.execPath,
      pathOf('yarn-1'),
      ...['add', '--non-interactive', '--registry', registry, '--cache-folder', cache, what],
    ],
    start: inBin,
  },
  // Without a folder node_modules, as it does by default.
  'Yarn 4': {
    needs: 'yarn-4',
    settings: (registry, cache) => ({
      '.yarnrc.yml': [
        `npmRegistryServer: '${registry}'`,
        'unsafeHttpWhitelist: [127.0.0.1]',
        `cacheFolder: '${cache}'`,
        'enableGlobalCache: false',
        // By default it takes no version that is younger than some days.
        'npmMinimalAgeGate: 0',
        'enableTelemetry: false',
      ].join('\n'),
    }),
    add: (what) => [process.execPath, pathOf('yarn-4'), 'add', what],
    start: (command) => [process.execPath, pathOf('yarn-4'), 'run', command],
  },
  Bun: {
    needs: 'bun',
    settings: (_, cache) => ({ 'bunfig.toml': `[install.cache]\ndir = '${cache}'\n` }),
    add: (what, registry) => [pathOf('bun'), 'add', '--registry', registry, what],
    start: inBin,
  },
};

/** Those that are here; with CI=true all of them are. */
export function packageManagersHere(): string[] {
  const missing = Object.entries(PACKAGE_MANAGERS).filter(
    ([, { needs }]) => needs !== undefined && find(needs) === undefined,
  );
  if (missing.length === 0 || CI === 'true') {
    return Object.keys(PACKAGE_MANAGERS);
  }
  const names = missing.map(([name]) => name);
  console.log(`skipped here: installing by ${names.join(', ')}, not found on this machine`);
  return Object.keys(PACKAGE_MANAGERS).filter((name) => !names.includes(name));
}

/** A project without packages, and the calls of one package manager in it. */
export function makeProject(t: ExecutionContext, name: string, registry: Registry) {
  const { settings, add, start } = PACKAGE_MANAGERS[name] as PackageManager;
  const directory = freshDirectory(t);
  const home = freshDirectory(t);
  const cache = path.join(home, 'cache');
  const files = { 'package.json': '{"private": true}', ...settings?.(registry.url, cache) };
  for (const [file, text] of Object.entries(files)) {
    writeFileSync(path.join(directory, file), text);
  }
  // npm keeps its cache: what taskcluster-local needs is a lot.
  const env =
    name === 'npm' ? registry.env : { ...registry.env, HOME: home, XDG_CACHE_HOME: cache };
  const options = { cwd: directory, env };
  return {
    /** Ends the test where the manager fails, with what it said. */
    async add(what: string): Promise<void> {
      const [program, ...args] = add(what, registry.url, cache);
      await run(program, args, options).catch((error: Error & { stdout: string }) => {
        throw new Error(`${name}: ${error.message}${error.stdout}`);
      });
    },
    async run(command: string, ...args: string[]): Promise<string> {
      const [program, ...before] = start(command, directory);
      return (await run(program, [...before, ...args], options)).stdout;
    },
    spawn(command: string, args: string[], variables: NodeJS.ProcessEnv): ChildProcess {
      const [program, ...before] = start(command, directory);
      return spawn(program, [...before, ...args], {
        cwd: directory,
        env: { ...env, ...variables },
        stdio: ['ignore', 'pipe', 'inherit'],
      });
    },
  };
}
