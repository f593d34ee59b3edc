// kill -9: a writing process is killed many times, while it writes, while it starts and while it creates
// its database, and every acknowledged write is still there. `KILLS=1000` kills it more often.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { build } from 'esbuild';
import { openStorage } from '../../ts/deployment/storage/index.js';
import { endsWith } from '../harness/child.js';
import { addDatabase } from '../harness/database.js';
import { DATABASE_PATIENCE_MS, pause, TEST_PATIENCE_MS, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { SHORT_LIVED } from '../harness/local.js';
import { postgresql } from '../harness/postgresql.js';
import { testWith } from '../harness/tools.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
/**
 * The writer in one file, since it is started so often, beside the program that makes a database.
 */
const WRITERS = path.join(ROOT, `build/test-writer-${process.pid}`);
const WRITER = path.join(WRITERS, 'writer.mjs');

/** How many writers run at once, each with data of its own. */
const LANES = 4;
/** A process is killed at most this long after its first write, in milliseconds. */
const LONGEST_LIFE = 30;
/**
 * Every other process is killed while it starts: at most this long after its start, in
 * milliseconds.
 */
const LONGEST_START = 400;
/** How many processes are killed; each start of PGlite takes half a second of a processor. */
const { KILLS = '80' } = process.env;

test.after.always(() => rmSync(WRITERS, { recursive: true, force: true }));

test.before(async () => {
  await build({
    entryPoints: {
      writer: path.join(ROOT, '__test__/harness/writer.ts'),
      'pglite-new': path.join(ROOT, 'ts/deployment/storage/pglite-new.ts'),
    },
    outdir: WRITERS,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    logLevel: 'warning',
  });
});

test('PGlite loses nothing that it has acknowledged', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  await killAll(t, Number(KILLS), async () => {
    const folder = freshDirectory(t);
    await addDatabase(folder);
    return [folder];
  });
});

testWith('postgres')(
  'PostgreSQL loses nothing that a killed process has acknowledged',
  async (t) => {
    t.timeout(TEST_PATIENCE_MS);
    const server = await postgresql();
    // The server goes on: the killed process is a client of it.
    await killAll(t, Number(KILLS) / 2, async () => [
      freshDirectory(t),
      await server.createDatabase(),
    ]);
  },
);

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
  const { child, ended } = startWriter(t, args);
  const killWithin = (longest: number) =>
    setTimeout(() => child.kill('SIGKILL'), Math.random() * longest);
  const early = isStarting ? killWithin(LONGEST_START) : undefined;
  let isDying = false;
  let known = written;
  for await (const line of linesOf(child)) {
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
  t.deepEqual(await ended(), KILLED);
  return known;
}

/** How a killed writer ends. */
const KILLED = { code: null, signal: 'SIGKILL', said: '' };

function startWriter(t: ExecutionContext, args: readonly string[]) {
  const child = spawn(process.execPath, [...SHORT_LIVED, WRITER, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = endsWith(t, child);
  const said = text(child.stderr);
  const ended = async () => {
    const [code, signal] = await within(exited, 'its end');
    return { code, signal, said: await said };
  };
  return { child, ended };
}

function linesOf({ stdout }: ChildProcess): AsyncIterable<string> {
  return createInterface({ input: stdout as NonNullable<typeof stdout> });
}

/**
 * How many files of a new database there are when its process is killed; a whole one has about a
 * thousand.
 */
const FILES = [1, 30, 300, 700];

test.serial('a process that is killed leaves no half-made database', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const folder = freshDirectory(t);
  const place = path.join(folder, 'database/data');
  const begun = () => namesIn(path.dirname(place)).filter((name) => name.includes('.unfinished'));
  const isWhole = () => existsSync(place);
  const killAt = async (moment: () => boolean) => {
    const { child, ended } = startWriter(t, [folder]);
    await within(until(moment, child), 'the moment', DATABASE_PATIENCE_MS);
    child.kill('SIGKILL');
    t.deepEqual(await ended(), KILLED);
  };
  for (const files of FILES) {
    do {
      rmSync(place, { recursive: true, force: true });
      const before = new Set(begun());
      const unfinished = () => begun().find((name) => !before.has(name));
      await killAt(() => {
        const name = unfinished();
        return name !== undefined && countNames(path.join(path.dirname(place), name)) > files;
      });
      // A kill may come too late on a busy machine; it is repeated then.
    } while (isWhole());
  }
  await killAt(isWhole);
  // The next processes make its tables.
  let written = 0;
  for (let turn = 1; turn <= 12; turn += 1) {
    written = await killOne(t, [folder], written, true);
  }
  t.true((await killOne(t, [folder], written, false)) > 0);
  t.deepEqual(begun(), []);
});

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/**
 * The number of files. NaN, which no number is less or more than, where the folder is being removed
 * just now.
 */
function countNames(folder: string): number {
  try {
    return existsSync(folder) ? readdirSync(folder, { recursive: true }).length : 0;
  } catch {
    return Number.NaN;
  }
}

/** Waits until it is so, or until the process has ended, which it should not have. */
async function until(isSo: () => boolean, child: ChildProcess): Promise<void> {
  while (!isSo() && child.exitCode === null && child.signalCode === null) {
    await pause(1);
  }
}

/** Files that a process leaves in `database/` if it is killed between two steps. */
const REMAINS: [file: string, content: string][] = [
  ['data/postmaster.pid', ''],
  ['data/postmaster.pid', '-'],
  ['data/postmaster.pid', '1\n/pglite/data\n'],
  ['lock', ''],
  ['lock', '{"pid":4194304,"since":1}'],
  ['lock.4194304.0', ''],
];

for (const [file, content] of REMAINS) {
  test.serial(
    `a deployment opens data in which a killed process has left database/${file} with ${JSON.stringify(content)}`,
    async (t) => {
      const folder = freshDirectory(t);
      await addDatabase(folder);
      const left = path.join(folder, 'database', file);
      mkdirSync(path.dirname(left), { recursive: true });
      writeFileSync(left, content);
      const { store, close } = await openStorage({ folder });
      t.deepEqual(await store.roles.all(), []);
      await close();
      t.deepEqual(readdirSync(path.join(folder, 'database')), ['data']);
      t.false(existsSync(left));
    },
  );
}
