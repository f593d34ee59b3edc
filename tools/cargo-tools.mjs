/**
 * The programs of Cargo's that CI and a release need and a checkout does not, each of the version that is
 * named here. One that is missing is built into build/cargo-tools, in one to five minutes.
 *
 *   node tools/cargo-tools.mjs NAME ARGUMENT...      runs it in the checkout
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { endWithSentence } from './ending.mjs';
import { CARGO, ROOT } from './platforms.mjs';

const TOOLS = {
  /** Writes the list of crates into what it builds, and reads it from there as CycloneDX. */
  'cargo-auditable': { version: '0.7.7' },
  auditable2cdx: { version: '0.1.0' },
  /** Collects the licences of what is linked. */
  'cargo-about': { version: '0.9.3', features: ['cli'] },
  /** Signs Apple's files, on any machine. Building it takes longer than the others. */
  rcodesign: { version: '0.29.0', crate: 'apple-codesign', defaults: false },
  /** Licences, sources and bans, by deny.toml; advisories. */
  'cargo-deny': { version: '0.20.2' },
};

const DIRECTORY = join(ROOT, 'build/cargo-tools');

/** The program's path, after it has been built where it was missing. */
export function cargoTool(name) {
  const tool = TOOLS[name];
  if (tool === undefined) {
    throw new Error(`There is no tool ${name}: it is one of ${Object.keys(TOOLS).join(', ')}.`);
  }
  const program = join(DIRECTORY, 'bin', process.platform === 'win32' ? `${name}.exe` : name);
  const { version, crate = name, features = [], defaults = true } = tool;
  if (!existsSync(program) || !isInstalled(crate, version)) {
    const args = [
      ...['install', '--locked', '--force', '--root', DIRECTORY, `${crate}@${version}`],
      ...(defaults ? [] : ['--no-default-features']),
      ...(features.length > 0 ? ['--features', features.join(',')] : []),
    ];
    const { status } = spawnSync(CARGO, args, { stdio: ['ignore', 'inherit', 'inherit'] });
    if (status !== 0) {
      throw new Error(`${name} ${version} was not built: what Cargo said stands above.`);
    }
  }
  return program;
}

/** Cargo keeps a list of what it has installed. */
function isInstalled(name, version) {
  const list = join(DIRECTORY, '.crates2.json');
  const { installs } = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : { installs: {} };
  return Object.keys(installs).some((id) => id.startsWith(`${name} ${version} `));
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  const [, , name, ...args] = argv;
  endWithSentence(() => {
    const { status } = spawnSync(cargoTool(name), args, { cwd: ROOT, stdio: 'inherit' });
    process.exitCode = status ?? 1;
  });
}
