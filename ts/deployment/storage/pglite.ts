/**
 * A database in a folder of its own, by PGlite: PostgreSQL in WebAssembly, in this process. An
 * acknowledged write is on disk, so that neither `kill -9` nor a power failure loses it.
 *
 * PGlite runs PostgreSQL as a single-user backend, which leaves to us what other processes of a
 * server do: keeping a second process out of the folder, checkpoints, and vacuuming.
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

/** `bigint` comes as a BigInt else where it is large: what is counted here stays below 2^53. */
export const PARSERS = { [types.INT8]: Number };

/** How often to look whether there is something to tidy, and from how much WAL on there is. */
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
    // It names no process. Where a process was killed while it made one, PostgreSQL does not start.
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
 * V8 compiles WebAssembly once, and not again for speed: that would take as much memory as the database
 * itself, and short statements, which are all that there are here, would cost no less time.
 */
const COMPILED_ONCE = '--liftoff-only';

/** Puts a new database into a folder, by a process that gives its memory back. */
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

/** What belongs to a PGlite beside itself. */
interface Surroundings {
  readonly location: string;
  /** Called when it has been closed. */
  readonly release?: () => Promise<void>;
}

/** A database on any PGlite, which it closes. */
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
    // What cannot be tidied now can be next time, and a statement that matters says so itself.
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

  /** It hears within the process. */
  listenAnew(): void {}

  async close(): Promise<void> {
    clearInterval(this.#maintenance);
    await this.#pglite.close();
    await this.#release?.();
  }

  /** What a server's checkpointer and autovacuum do. */
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
