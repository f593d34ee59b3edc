/**
 * An embedded database in a folder, by PGlite: PostgreSQL in WebAssembly, in this process. An acknowledged
 * write is on disk, so that neither `kill -9` nor a power failure loses it.
 *
 * PGlite runs PostgreSQL as a single-user backend. This module does the work of a server's other processes:
 * it keeps a second process out of the folder, makes checkpoints, and vacuums.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { PGlite, types } from '@electric-sql/pglite';
import type { NodeFS } from '@electric-sql/pglite/nodefs';
import { type Database, DatabaseOpenError, type Listener, type Queryable } from './database.js';
import { type FolderLock, LockedError, lockFolder } from './folder-lock.js';
import { DurableFolder, makeFolder, removeBegun } from './pglite-folder.js';

/** PGlite's parameters without `-F`, which is `fsync=off`, and with buffers as small as the data. */
const START_PARAMETERS = [
  ...PGlite.defaultStartParams.filter((parameter) => parameter !== '-F'),
  ...['-c', 'shared_buffers=8MB'],
  // Emscripten's fdatasync(2) does nothing, its fsync(2) is the file system's.
  ...['-c', 'wal_sync_method=fsync'],
];

/** Reads `bigint` as a number instead of a BigInt: all counts here stay below 2^53. */
export const PARSERS = { [types.INT8]: Number };

/** Interval of the upkeep, and the amount of WAL from which it runs. */
const MAINTENANCE_INTERVAL = 5 * 60 * 1000;
const MAINTENANCE_WAL = 16 * 1024 * 1024;

/** @throws DatabaseOpenError */
export async function openPglite(folder: string): Promise<Database> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = await lockedFolder(folder);
  try {
    const data = join(folder, 'data');
    await removeBegun(data);
    if (!existsSync(data)) {
      await makeFolder(data, initialise);
    }
    // This file names no process, and PostgreSQL does not start with the rest of a killed process's one.
    await rm(join(data, 'postmaster.pid'), { force: true });
    const started = Date.now();
    const fs = new DurableFolder(data, lock.syncedUntil);
    setFlagsFromString(COMPILED_ONCE);
    const pglite = await startPglite(fs);
    fs.hasStarted();
    await lock.setSyncedUntil(started);
    return new PgliteDatabase(pglite, { location: folder, release: () => lock.release() });
  } catch (error) {
    await lock.release();
    throw new DatabaseOpenError(
      `the database in ${folder} cannot be opened: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/**
 * Keeps V8 from compiling WebAssembly a second time for speed: that takes as much memory as the database
 * itself, and makes the short statements of a deployment no faster.
 */
const COMPILED_ONCE = '--liftoff-only';

/** Creates a new database in a folder, by a separate process, which frees its memory. */
async function initialise(data: string): Promise<void> {
  const program = fileURLToPath(new URL(`pglite-new${extname(import.meta.url)}`, import.meta.url));
  const child = fork(program, [data], {
    execArgv: [...process.execArgv, COMPILED_ONCE],
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const said = child.stderr === null ? '' : text(child.stderr);
  const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
  if (code !== 0) {
    const [reason = ''] = (await said).match(/^.*(?:Error|FATAL|PANIC): .*$/m) ?? [];
    throw new Error(`it cannot be made: ${reason || `initdb ended with ${signal ?? code}`}`);
  }
}

async function startPglite(fs: NodeFS): Promise<PGlite> {
  let reason = '';
  try {
    return await PGlite.create({
      fs,
      startParams: START_PARAMETERS,
      parsers: PARSERS,
      onStderr(text) {
        reason = /(?:FATAL|PANIC): .*/.exec(text)?.[0] ?? reason;
        return false;
      },
    });
  } catch (error) {
    throw reason === '' ? error : new Error(reason, { cause: error });
  }
}

/** Keeps other processes out of a database's folder. @throws DatabaseOpenError */
export async function lockedFolder(folder: string): Promise<FolderLock> {
  try {
    return await lockFolder(join(folder, 'lock'));
  } catch (error) {
    if (error instanceof LockedError) {
      throw new DatabaseOpenError(
        `the database in ${folder} is in use by process ${error.pid}: stop that first, or keep ` +
          'the data in a PostgreSQL server, which several processes may use',
      );
    }
    throw error;
  }
}

/** The parts of a database beside PGlite itself. */
interface Surroundings {
  readonly location: string;
  /** Called after the close. */
  readonly release?: () => Promise<void>;
}

/** A database on a PGlite, which its close also closes. */
export class PgliteDatabase implements Database {
  readonly location: string;
  readonly isExclusive = true;
  readonly #pglite: PGlite;
  readonly #release: Surroundings['release'];
  readonly #maintenance: NodeJS.Timeout;
  #tidiedAt = 0;

  constructor(pglite: PGlite, { location, release }: Surroundings) {
    this.location = location;
    this.#pglite = pglite;
    this.#release = release;
    // A failed upkeep is repeated the next time; a real fault also fails the next statement.
    const maintain = () => void this.#maintain().catch(() => undefined);
    this.#maintenance = setInterval(maintain, MAINTENANCE_INTERVAL).unref();
  }

  query<Row>(...statement: Parameters<Queryable['query']>): Promise<Row[]> {
    return queryable(this.#pglite).query(...statement);
  }

  script(sql: string): Promise<void> {
    return queryable(this.#pglite).script(sql);
  }

  transaction<Result>(work: (transaction: Queryable) => Promise<Result>): Promise<Result> {
    return this.#pglite.transaction((transaction) => work(queryable(transaction)));
  }

  listen(channel: string, listener: Listener): Promise<() => Promise<void>> {
    return this.#pglite.listen(channel, listener);
  }

  /** Notifications stay within the process. */
  listenAnew(): void {}

  async close(): Promise<void> {
    clearInterval(this.#maintenance);
    await this.#pglite.close();
    await this.#release?.();
  }

  /** The work of a server's checkpointer and autovacuum. */
  async #maintain(): Promise<void> {
    const sql = "SELECT (pg_current_wal_lsn() - '0/0')::bigint AS written";
    const [row] = await this.query<{ written: number }>(sql);
    const written = row?.written ?? 0;
    if (written - this.#tidiedAt >= MAINTENANCE_WAL) {
      this.#tidiedAt = written;
      await this.script('VACUUM (ANALYZE)');
      await this.script('CHECKPOINT');
    }
  }
}

/** PGlite or a transaction on it. */
function queryable(on: Pick<PGlite, 'query' | 'exec'>): Queryable {
  const itself: Queryable = {
    async query<Row>(sql: string, params: readonly unknown[] = []): Promise<Row[]> {
      const { rows } = await on.query<Row>(sql, [...params]);
      return rows;
    },
    async script(sql) {
      await on.exec(sql);
    },
    transaction: (work) => work(itself),
  };
  return itself;
}
