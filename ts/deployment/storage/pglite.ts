/**
 * A database in a folder of its own, by PGlite: PostgreSQL in WebAssembly, in this process. An
 * acknowledged write is on disk, so that neither `kill -9` nor a power failure loses it.
 *
 * PGlite runs PostgreSQL as a single-user backend, which leaves to us what other processes of a
 * server do: keeping a second process out of the folder, checkpoints, and vacuuming.
 */
import { closeSync, fstatSync, fsyncSync, openSync } from 'node:fs';
import { mkdir, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PGlite, types } from '@electric-sql/pglite';
import { NodeFS } from '@electric-sql/pglite/nodefs';
import { type Database, DatabaseOpenError, type Listener, type Queryable } from './database.js';
import { type FolderLock, LockedError, lockFolder } from './folder-lock.js';

/** PGlite's parameters without `-F`, which is `fsync=off`, and with buffers as small as the data. */
const START_PARAMETERS = [
  ...PGlite.defaultStartParams.filter((parameter) => parameter !== '-F'),
  ...['-c', 'shared_buffers=8MB'],
  // Emscripten's fdatasync(2) does nothing, its fsync(2) is the file system's.
  ...['-c', 'wal_sync_method=fsync'],
];

/** WAL in segments of 1 MiB, since the default of 16 MiB is most of a small database's size. */
const INITDB_PARAMETERS = ['--wal-segsize=1', '--encoding=UTF8', '--locale=C.UTF-8', '--no-sync'];

/** `bigint` comes as a BigInt else where it is large: what is counted here stays below 2^53. */
export const PARSERS = { [types.INT8]: Number };

/** How often to look whether there is something to tidy, and from how much WAL on there is. */
const MAINTENANCE_INTERVAL = 5 * 60 * 1000;
const MAINTENANCE_WAL = 16 * 1024 * 1024;

/** File times and clock may differ by the granularity of either. */
const CLOCK_MARGIN = 2000;

/** @throws DatabaseOpenError */
export async function openPglite(folder: string): Promise<Database> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const lock = await lockedFolder(folder);
  try {
    const data = join(folder, 'data');
    const isNew = !(await readdir(folder)).includes('data');
    const fs = new DurableFolder(data, lock.abandonedSince);
    const pglite = await PGlite.create({
      fs,
      startParams: START_PARAMETERS,
      initDbStartParams: INITDB_PARAMETERS,
      parsers: PARSERS,
    });
    fs.hasStarted();
    if (isNew) {
      await syncAll(data);
    }
    return new PgliteDatabase(pglite, { location: folder, release: () => lock.release() });
  } catch (error) {
    await lock.release();
    throw new DatabaseOpenError(
      `the database in ${folder} cannot be opened: ${(error as Error).message}`,
      { cause: error },
    );
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

/** What Emscripten hands to the file operations of NODEFS. */
interface Stream {
  readonly nfd?: number;
  readonly node: object;
}

interface NodeFsModule {
  readonly NODEFS: {
    readonly stream_ops: { fsync?: (stream: Stream) => number };
    realPath(node: object): string;
  };
}

/**
 * PGlite's folder with an fsync(2) that is one. After a crash PostgreSQL syncs every file it has,
 * of which all but a few have been synced before: those are left out while it starts.
 */
class DurableFolder extends NodeFS {
  /** Files older than this were synced, in milliseconds since the epoch. */
  #syncedUntil: number;

  constructor(data: string, abandonedSince: number | undefined) {
    super(data);
    this.#syncedUntil = (abandonedSince ?? 0) - CLOCK_MARGIN;
  }

  override async init(...parameters: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(...parameters);
    const preRun = [emscriptenOpts.preRun ?? []].flat();
    const addFsync = (module: unknown) => {
      const { NODEFS } = module as NodeFsModule;
      NODEFS.stream_ops.fsync = ({ nfd, node }) => {
        this.#sync(nfd, () => NODEFS.realPath(node));
        return 0;
      };
    };
    return { emscriptenOpts: { ...emscriptenOpts, preRun: [...preRun, addFsync] } };
  }

  /** From now on every fsync(2) counts. */
  hasStarted(): void {
    this.#syncedUntil = 0;
  }

  /** NODEFS opens no descriptor for directories. */
  #sync(descriptor: number | undefined, path: () => string): void {
    if (descriptor !== undefined) {
      if (fstatSync(descriptor).mtimeMs >= this.#syncedUntil) {
        fsyncSync(descriptor);
      }
    } else if (process.platform !== 'win32') {
      const directory = openSync(path(), 'r');
      fsyncSync(directory);
      closeSync(directory);
    }
  }
}

/** What a new database consists of has been written without syncing it. */
async function syncAll(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  await Promise.all(
    files.map(async ({ parentPath, name }) => {
      const file = await open(join(parentPath, name), 'r+');
      await file.sync();
      await file.close();
    }),
  );
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
