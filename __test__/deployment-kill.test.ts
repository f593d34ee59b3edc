// kill -9: a process that writes is killed two hundred times, while it writes and while it starts,
// and what it said it had written is there.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import test, { type ExecutionContext } from 'ava';
import { build } from 'esbuild';
import { addDatabase } from './harness/database.js';
import { within } from './harness/deadline.js';
import { freshDirectory } from './harness/directory.js';
import { postgresql } from './harness/postgresql.js';
import { testWith } from './harness/tools.js';

const ROOT = path.resolve(import.meta.dirname, '..');
/** In one file, since it is started so often. */
const WRITER = path.join(ROOT, `build/test-writer-${process.pid}.mjs`);

/** So many writers at once, each with data of its own. */
const LANES = 4;
/** A process is killed at most so long after its first write, in milliseconds. */
const LONGEST_LIFE = 30;
/** Every other one is killed while it starts: at most so long after that began. */
const LONGEST_START = 400;
/** V8's optimising compilers would take longer than most of these processes live. */
const FLAGS = ['--liftoff-only'];

test.after.always(() => rmSync(WRITER, { force: true }));

test.before(async () => {
  await build({
    entryPoints: [path.join(ROOT, '__test__/harness/writer.ts')],
    outfile: WRITER,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'warning',
  });
});

test('PGlite loses nothing that it has acknowledged', async (t) => {
  t.timeout(300_000);
  await killAll(t, 200, async () => {
    const folder = freshDirectory(t);
    await addDatabase(folder);
    return [folder];
  });
});

testWith('postgres')('nor is anything lost with PostgreSQL', async (t) => {
  t.timeout(300_000);
  const server = await postgresql();
  await killAll(t, 40, async () => [freshDirectory(t), await server.createDatabase()]);
});

async function killAll(
  t: ExecutionContext,
  kills: number,
  place: () => Promise<string[]>,
): Promise<void> {
  const lanes = Array.from({ length: LANES }, async () => {
    const args = await place();
    let written = 0;
    for (let turn = 1; turn <= kills / LANES; turn += 1) {
      written = await killOne(t, args, written, turn % 2 === 0);
    }
    return killOne(t, args, written, false);
  });
  const written = (await Promise.all(lanes)).reduce((sum, each) => sum + each);
  t.log(`${written} acknowledged writes`);
  t.true(written > kills / 4);
}

/** Returns the last number that is known to be there, which the next process has to find. */
async function killOne(
  t: ExecutionContext,
  args: readonly string[],
  written: number,
  isStarting: boolean,
): Promise<number> {
  const child = spawn(process.execPath, [...FLAGS, WRITER, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  const killWithin = (longest: number) =>
    setTimeout(() => child.kill('SIGKILL'), Math.random() * longest);
  const early = isStarting ? killWithin(LONGEST_START) : undefined;
  let isDying = false;
  let known = written;
  for await (const line of createInterface(child.stdout)) {
    const [verb, number, state] = line.split(' ');
    if (verb === 'found') {
      t.is(state, 'whole');
      t.true(Number(number) >= written, `${number} of ${written}`);
    } else if (!isDying) {
      killWithin(LONGEST_LIFE);
      isDying = true;
    }
    known = Number(number);
  }
  clearTimeout(early);
  const [code, signal] = await within(exited, 'its end');
  t.deepEqual([code, signal], [null, 'SIGKILL']);
  return known;
}
