/**
 * Fuzzes the readers of foreign bytes: `npm run fuzz -- --minutes 5 [--target NAME]`.
 *
 * It builds the targets in fuzz/ with the compiler at hand and runs them in turn, the time divided
 * among them. What is found is kept in fuzz/artifacts, what is new in fuzz/target/corpus; fuzz/corpus
 * is for inputs that have been chosen.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const FUZZ = join(dirname(fileURLToPath(import.meta.url)), '../fuzz');
const PASSES = ['level=4', 'inline-8bit-counters', 'pc-table', 'trace-compares'];
const FLAGS = [
  '-Cpasses=sancov-module',
  ...PASSES.map((pass) => `-Cllvm-args=-sanitizer-coverage-${pass}`),
];

main();

function main() {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      target: { type: 'string' },
    },
  });
  const targets = readdirSync(join(FUZZ, 'corpus'));
  const chosen = targets.filter((name) => name === (values.target ?? name));
  const seconds = Math.round((Number(values.minutes) * 60) / chosen.length);
  if (!(seconds >= 1)) {
    console.error(`Give --minutes a number, and --target one of ${targets.join(', ')}.`);
    process.exit(64);
  }
  process.exitCode = fuzz(build(), chosen, seconds) ? 0 : 1;
}

/** Builds all targets and gives where they are. */
function build() {
  const { stdout } = spawnSync('rustc', ['-vV'], { encoding: 'utf8' });
  const [, host = ''] = stdout.match(/^host: (\S+)$/m) ?? [];
  const target = join(FUZZ, 'target');
  // With a target named, build scripts are built without the flags.
  const args = ['build', '--release', '--locked', '--target', host, '--target-dir', target];
  const { status } = spawnSync('cargo', args, {
    cwd: FUZZ,
    stdio: 'inherit',
    env: { ...process.env, RUSTFLAGS: FLAGS.join(' ') },
  });
  if (status !== 0) {
    process.exit(1);
  }
  return join(target, host, 'release');
}

/** Runs each target for so many seconds; whether none has found anything. */
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
