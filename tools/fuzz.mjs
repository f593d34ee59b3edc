/**
 * Fuzzes the readers of foreign bytes: `npm run fuzz -- --minutes 5 [--target NAME]`, or each for two
 * seconds, built in a third of the time: `npm run fuzz -- --quick`. `npm run fuzz -- --coverage` tells
 * which of their lines the present inputs reach.
 *
 * It builds the targets in fuzz/ with the compiler at hand and runs them in turn, the time divided among
 * them. Inputs that break a property are kept in fuzz/artifacts, new inputs in fuzz/target/corpus;
 * fuzz/corpus is for inputs that have been chosen. The last target, `typescript`, runs the property tests
 * in TypeScript with other seeds.
 */
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const FUZZ = join(ROOT, 'fuzz');
const PASSES = ['level=4', 'inline-8bit-counters', 'pc-table', 'trace-compares'];
const GUIDED = [
  '-Cpasses=sancov-module',
  ...PASSES.map((pass) => `-Cllvm-args=-sanitizer-coverage-${pass}`),
];
/** The ways to build the targets: flags of the compiler, and cargo's profile. */
const WAYS = {
  fuzzing: { profile: 'release', flags: GUIDED },
  quick: { profile: 'quick', flags: GUIDED },
  // Code that is inlined into its caller is not counted where it stands.
  coverage: { profile: 'dev', flags: ['-Cinstrument-coverage'] },
};

const QUICK_SECONDS = 2;
/** Calls the readers for the targets, and reads nothing itself. */
const ENTRANCES = 'proxy/src/fuzzing.rs';
const TYPESCRIPT = 'typescript';
const PROPERTIES = ['__test__/*/*-properties.test.ts', '__test__/proxy/hawk-oracle.test.ts'];

main();

function main() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      target: { type: 'string' },
      quick: { type: 'boolean', default: false },
      coverage: { type: 'boolean', default: false },
    },
  });
  const targets = [...readdirSync(join(FUZZ, 'corpus')), TYPESCRIPT];
  const chosen = targets.filter((name) => name === (values.target ?? name));
  const seconds = Math.round((Number(values.minutes) * 60) / chosen.length);
  if (!(seconds >= 1)) {
    console.error(`Give --minutes a number, and --target one of ${targets.join(', ')}.`);
    process.exit(64);
  }
  const fuzzed = chosen.filter((name) => name !== TYPESCRIPT);
  if (values.coverage) {
    cover(fuzzed);
    return;
  }
  if (values.quick) {
    process.exitCode = fuzz(build('quick', fuzzed), fuzzed, QUICK_SECONDS) ? 0 : 1;
    return;
  }
  const isSound = [
    fuzzed.length === 0 || fuzz(build('fuzzing', fuzzed), fuzzed, seconds),
    fuzzed.length === chosen.length || play(seconds),
  ];
  process.exitCode = isSound.includes(false) ? 1 : 0;
}

/** Builds these targets and gives where they are. */
function build(way, targets) {
  const { profile, flags } = WAYS[way];
  const target = join(FUZZ, 'target', ...(way === 'coverage' ? [way] : []));
  // With a target named, build scripts are built without the flags.
  const where = ['--target', host(), '--target-dir', target];
  const named = targets.flatMap((name) => ['--bin', name]);
  const args = ['build', '--profile', profile, '--locked', ...where, ...named];
  const { status } = spawnSync('cargo', args, {
    cwd: FUZZ,
    stdio: 'inherit',
    env: { ...process.env, RUSTFLAGS: flags.join(' ') },
  });
  if (status !== 0) {
    process.exit(1);
  }
  return join(target, host(), profile === 'dev' ? 'debug' : profile);
}

function host() {
  const [, name = ''] = output('rustc', ['-vV']).match(/^host: (\S+)$/m) ?? [];
  return name;
}

function output(command, args, env = {}) {
  const options = { encoding: 'utf8', env: { ...process.env, ...env }, maxBuffer: 2 ** 30 };
  const { status, stdout, stderr } = spawnSync(command, args, options);
  if (status !== 0) {
    console.error(stderr);
    process.exit(1);
  }
  return stdout;
}

/** Runs each target for `seconds`. Returns whether none has found anything. */
function fuzz(directory, targets, seconds) {
  let total = 0;
  let isSound = true;
  for (const target of targets) {
    const artifacts = join(FUZZ, 'artifacts', target);
    const found = join(FUZZ, 'target/corpus', target);
    mkdirSync(artifacts, { recursive: true });
    mkdirSync(found, { recursive: true });
    const { status, stderr } = spawnSync(
      join(directory, target),
      [
        `-max_total_time=${seconds}`,
        '-timeout=10',
        '-print_final_stats=1',
        `-artifact_prefix=${artifacts}/`,
        found,
        join(FUZZ, 'corpus', target),
      ],
      { encoding: 'utf8', maxBuffer: 2 ** 30 },
    );
    const [, executions = '0'] = stderr.match(/number_of_executed_units: (\d+)/) ?? [];
    const edges = [...stderr.matchAll(/ cov: (\d+)/g)].at(-1)?.[1] ?? '0';
    total += Number(executions);
    console.log(
      `${target.padEnd(16)} ${executions.padStart(12)} executions ${edges.padStart(6)} edges`,
    );
    if (status !== 0) {
      isSound = false;
      const from = stderr.indexOf('panicked at');
      console.log(stderr.slice(from < 0 ? -2000 : from).trim());
    }
  }
  console.log(`${'all'.padEnd(16)} ${String(total).padStart(12)} executions`);
  return isSound;
}

/** Runs the tests in TypeScript for `seconds`, once at least. Returns whether all have passed. */
function play(seconds) {
  const [setup, ava] = ['tools/setup.mjs', 'node_modules/ava/entrypoints/cli.mjs'];
  const options = { cwd: ROOT, stdio: 'inherit' };
  if (spawnSync(process.execPath, [setup], options).status !== 0) {
    return false;
  }
  const end = Date.now() + seconds * 1000;
  let isSound = true;
  do {
    const env = { ...process.env, TEST_SEED: String(randomInt(2 ** 31)) };
    const { status } = spawnSync(process.execPath, [ava, ...PROPERTIES], { ...options, env });
    console.log(`${TYPESCRIPT.padEnd(16)} TEST_SEED=${env.TEST_SEED}`);
    isSound &&= status === 0;
  } while (Date.now() < end);
  return isSound;
}

/** Plays each target's inputs once, and tells which lines they have reached. */
function cover(targets) {
  const tools = join(output('rustc', ['--print', 'sysroot']).trim(), 'lib/rustlib', host(), 'bin');
  if (!existsSync(join(tools, 'llvm-cov'))) {
    console.error('The tools of the compiler are not there: rustup component add llvm-tools.');
    process.exit(1);
  }
  const directory = build('coverage', targets);
  const profiles = join(FUZZ, 'target/coverage/profiles');
  rmSync(profiles, { recursive: true, force: true });
  for (const target of targets) {
    const inputs = [join(FUZZ, 'corpus', target), join(FUZZ, 'target/corpus', target)];
    const env = { LLVM_PROFILE_FILE: join(profiles, `${target}.profraw`) };
    output(join(directory, target), ['-runs=0', ...inputs.filter(existsSync)], env);
  }
  const merged = join(profiles, 'merged.profdata');
  const raw = targets.map((target) => join(profiles, `${target}.profraw`));
  output(join(tools, 'llvm-profdata'), ['merge', '--sparse', '-o', merged, ...raw]);
  const [first, ...others] = targets.map((target) => join(directory, target));
  const objects = [first, ...others.flatMap((binary) => ['--object', binary])];
  const args = ['export', '--summary-only', `--instr-profile=${merged}`, ...objects];
  printTable(JSON.parse(output(join(tools, 'llvm-cov'), args)).data[0].files);
}

/** A row for each file of the project of which the inputs reach something, in Markdown. */
function printTable(files) {
  console.log('| file | lines reached | of |\n| --- | --- | --- |');
  for (const { filename, summary } of files) {
    const { covered, count, percent } = summary.lines;
    const name = relative(join(ROOT, 'crates'), filename);
    if (!name.startsWith('..') && name !== ENTRANCES && covered > 0) {
      console.log(`| \`${name}\` | ${Math.floor(percent)} % | ${count} |`);
    }
  }
}
