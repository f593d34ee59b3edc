/**
 * Makes a checkout ready to run, doing only what is missing: dependencies, the addon, dist/. Needs
 * Node alone; Cargo where the addon has to be built. `--tests` also fetches what tests need beside
 * that, by tools/test-setup.mjs.
 *
 * Written for old versions of Node too, so that they can be told that they are.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync, utimesSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const OLDEST_NODE = 20;

/** What each step makes, from what; it runs where the result is missing or older than a source. */
const STEPS = [
  {
    result: () => 'node_modules/.package-lock.json',
    sources: ['package-lock.json'],
    command: ['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error'],
  },
  {
    result: addon,
    sources: ['crates', 'build.rs', 'Cargo.toml', 'Cargo.lock'],
    // Built quickly, to be serving soon; `npm run build` makes the one with all optimisations.
    command: ['npm', 'run', '--silent', 'build:addon:quick'],
    needs: {
      program: 'cargo',
      otherwise: 'Rust is missing: install it as https://www.rust-lang.org/tools/install says.',
    },
  },
  {
    result: () => 'dist/cli/taskcluster-proxy.cjs',
    sources: ['ts', 'tsconfig.json', 'tools/bundle.mjs', 'tools/manual.mjs', 'package-lock.json'],
    command: ['npm', 'run', '--silent', 'build:ts'],
  },
];

main(process.argv.includes('--tests'));

function main(tests) {
  if (Number(process.versions.node.split('.')[0]) < OLDEST_NODE) {
    stop(`Node ${process.versions.node} is too old: install Node ${OLDEST_NODE} or newer.`);
  }
  for (const { result, sources, command, needs } of STEPS) {
    const source = Math.max(...sources.map(newest));
    if (existsSync(join(ROOT, result())) && modified(result()) >= source) {
      continue;
    }
    if (needs && spawnSync(needs.program, ['--version'], { stdio: 'ignore' }).error) {
      stop(needs.otherwise);
    }
    run(command);
    // A tool that finds nothing to change leaves the result's time as it was.
    utimesSync(join(ROOT, result()), new Date(), new Date());
  }
  if (tests && existsSync(join(ROOT, 'tools/test-setup.mjs'))) {
    run([process.execPath, join(ROOT, 'tools/test-setup.mjs')]);
  }
}

/** The addon's file; its name contains the platform. */
function addon() {
  const found = readdirSync(ROOT).filter((name) => /^taskcluster-proxy\..*\.node$/.test(name));
  return found[0] || 'taskcluster-proxy.node';
}

function modified(file) {
  return statSync(join(ROOT, file)).mtimeMs;
}

/** When the newest file at or under `source` was modified. */
function newest(source) {
  const path = join(ROOT, source);
  if (!statSync(path).isDirectory()) {
    return modified(source);
  }
  const names = readdirSync(path);
  return Math.max(modified(source), ...names.map((name) => newest(join(source, name))));
}

function run(command) {
  console.error(`> ${command.join(' ')}`);
  // npm is a script on Windows, which only a shell starts.
  const [program, ...args] = command;
  const { status } = spawnSync(program, args, {
    cwd: ROOT,
    stdio: 'inherit',
    shell: process.platform === 'win32',
  });
  if (status !== 0) {
    stop(`${command.join(' ')} failed; what it said stands above.`);
  }
}

function stop(sentence) {
  console.error(sentence);
  process.exit(1);
}
