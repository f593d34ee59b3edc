/**
 * `npm run build`: the addon with all optimisations, and dist/. For this machine by its own Cargo;
 * for other platforms from Linux, each by what tools/platforms.mjs says that it needs.
 *
 *   npm run build                          this machine: taskcluster-proxy.<platform>.node, dist/
 *   npm run build -- --all                 every platform, into build/platforms/
 *   npm run build -- --platform NAME       one of them; may be repeated
 *   npm run build -- --all --plan          says what each needs and what of it is missing
 *
 * With the last three `--profile NAME` takes another profile of Cargo.toml. Where one platform lacks
 * something the others are still built, and the exit code is 1. What is built by the profile `release`
 * names the crates that are in it, for `cargo audit` and tools/sbom.mjs.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { cargoTool } from './cargo-tools.mjs';
import { endWithSentence } from './ending.mjs';
import { checkGlibc } from './glibc.mjs';
import { shell } from './packages.mjs';
import {
  binaryOf,
  CARGO,
  needs,
  PLATFORMS,
  platformNamed,
  ROOT,
  standardLibrary,
} from './platforms.mjs';

const OUTPUT = join(ROOT, 'build/platforms');

/** Files that linkers ask for and that this machine does not have; made anew by each run. */
const STUBS = join(ROOT, 'build/stubs');

endWithSentence(main);

function main() {
  const { values } = parseArgs({
    options: {
      all: { type: 'boolean', default: false },
      platform: { type: 'string', multiple: true, default: [] },
      plan: { type: 'boolean', default: false },
      profile: { type: 'string', default: 'release' },
    },
  });
  if (!values.all && values.platform.length === 0) {
    return buildHere();
  }
  const platforms = values.all ? PLATFORMS : values.platform.map(platformNamed);
  const lacking = plan(platforms);
  if (values.plan) {
    return;
  }
  const outcomes = platforms.map((platform) => ({
    platform,
    outcome: lacking.has(platform) ? 'not built: see above' : attempt(platform, values.profile),
  }));
  for (const { platform, outcome } of outcomes) {
    console.log(`${platform.name.padEnd(18)} ${outcome}`);
  }
  process.exitCode = outcomes.every(({ outcome }) => outcome.startsWith('built')) ? 0 : 1;
}

/** Builds by napi, which also writes the addon's types. */
function buildHere() {
  run('npm', ['run', '--silent', 'build:addon']);
  run('npm', ['run', '--silent', 'build:ts']);
}

/** Says what each platform needs; gives those that lack something. */
function plan(platforms) {
  const lacking = new Set();
  for (const platform of platforms) {
    console.log(`${platform.name} (${platform.pinned})`);
    for (const { what, isThere } of needs(platform)) {
      console.log(`  ${isThere ? 'there  ' : 'MISSING'}  ${what}`);
      if (!isThere) {
        lacking.add(platform);
      }
    }
  }
  return lacking;
}

function attempt(platform, profile) {
  try {
    return build(platform, profile);
  } catch (error) {
    return `failed: ${error.message}`;
  }
}

function build(platform, profile) {
  const fromSource = standardLibrary(platform) === 'source';
  const isZig = platform.linker === 'zig';
  const command = profile === 'release' ? listing(isZig) : linking(isZig);
  const { environment, rustflags = [] } = makeStubs(platform);
  run(
    command[0],
    [
      ...command.slice(1),
      ...['--locked', '--profile', profile, '--package', 'taskcluster-proxy-addon'],
      ...['--target', isZig ? platform.pinned : platform.target],
      // Unwinding is what keeps a panic in one thread from ending the process.
      ...(fromSource ? ['-Zbuild-std=std,panic_unwind'] : []),
    ],
    {
      ...process.env,
      ...(fromSource && { RUSTC_BOOTSTRAP: '1' }),
      ...environment,
      CARGO,
      CARGO_ENCODED_RUSTFLAGS: [...platform.rustflags, ...rustflags].join('\x1f'),
    },
  );
  const file = join(OUTPUT, binaryOf(platform));
  mkdirSync(OUTPUT, { recursive: true });
  copyFileSync(join(ROOT, 'target', platform.target, profile, platform.library), file);
  return platform.floor === undefined ? 'built' : `built, needs GLIBC_${checkGlibc(file)}`;
}

function linking(isZig) {
  return isZig ? ['cargo-zigbuild', 'zigbuild'] : [CARGO, 'build'];
}

/** The same, and writes the list of crates into the file. */
function listing(isZig) {
  return [cargoTool('cargo-auditable'), 'auditable', isZig ? 'zigbuild' : 'build'];
}

/** What the linker needs for `platform` beside the sources. */
function makeStubs({ stubs }) {
  switch (stubs) {
    case 'libnode':
      return makeLibnode();
    case 'frameworks':
      return makeFrameworks();
    default:
      return {};
  }
}

/**
 * napi looks for Node's symbols when the addon is loaded. Its build script still asks for Node's
 * library, and finds an empty one.
 */
function makeLibnode() {
  mkdirSync(STUBS, { recursive: true });
  writeFileSync(join(STUBS, 'libnode.dll'), '');
  for (const archive of ['libnode.a', 'node.lib']) {
    writeFileSync(join(STUBS, archive), '!<arch>\n');
  }
  return { environment: { LIBNODE_PATH: STUBS }, rustflags: ['-L', `native=${STUBS}`] };
}

/** Apple's frameworks as the linker sees them: the names that the crates which bind them use. */
function makeFrameworks() {
  const frameworks = { CoreFoundation: 'core-foundation-sys', Security: 'security-framework-sys' };
  for (const [framework, crate] of Object.entries(frameworks)) {
    const directory = join(STUBS, `${framework}.framework`);
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, `${framework}.tbd`), stubOf(framework, symbolsOf(crate)));
  }
  return {
    // The oldest macOS that runs on Apple's own processors.
    environment: { MACOSX_DEPLOYMENT_TARGET: '11.0' },
    rustflags: ['-L', `framework=${STUBS}`],
  };
}

/** A text-based stub of a framework, version 4. */
function stubOf(framework, symbols) {
  const targets = '[ x86_64-macos, arm64-macos ]';
  return `--- !tapi-tbd
tbd-version:     4
targets:         ${targets}
install-name:    '/System/Library/Frameworks/${framework}.framework/Versions/A/${framework}'
exports:
  - targets:         ${targets}
    symbols:         [ ${symbols.map((symbol) => `_${symbol}`).join(', ')} ]
...
`;
}

/** Every function and variable that a crate of bindings declares. */
function symbolsOf(crate) {
  const { stdout, status } = spawnSync(CARGO, ['metadata', '--format-version=1', '--locked'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  const found = status === 0 && JSON.parse(stdout).packages.find(({ name }) => name === crate);
  if (!found) {
    throw new Error(`cargo metadata does not name the crate ${crate}`);
  }
  const source = join(dirname(found.manifest_path), 'src');
  const text = readdirSync(source, { recursive: true })
    .filter((name) => name.endsWith('.rs'))
    .map((name) => readFileSync(join(source, name), 'utf8'))
    .join('\n');
  const declared = text.matchAll(/^\s*pub (?:fn|static(?: mut)?) (\w+)\s*[(:]/gm);
  return [...new Set([...declared].map(([, name]) => name))].sort();
}

function run(program, args, env = process.env) {
  console.error(`> ${program} ${args.join(' ')}`);
  const { status, error } = spawnSync(program, args, { cwd: ROOT, stdio: 'inherit', env, shell });
  if (status !== 0) {
    throw new Error(`${program} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`);
  }
}
