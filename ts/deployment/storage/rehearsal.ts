/**
 * Runs a change on a deployment's data to show its result, and leaves the data unchanged.
 *
 * On a PostgreSQL server it runs in one transaction, which is rolled back. PGlite cannot open a folder
 * without writing to it, so there it runs on a copy.
 */
import { constants, existsSync } from 'node:fs';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Database, Queryable } from './database.js';
import { type DatabaseOptions, openDatabase } from './open.js';

/**
 * Returns the result of `work`, which may read and write data and create tables. Without data it gets an
 * empty database.
 *
 * @throws DatabaseOpenError
 */
export async function rehearse<Result>(
  { folder, url }: DatabaseOptions,
  work: (tables: Queryable) => Promise<Result>,
): Promise<Result> {
  if (url !== undefined) {
    return onOpened({ folder, url }, work);
  }
  const copy = await mkdtemp(join(tmpdir(), 'taskcluster-local-'));
  try {
    await copyData(folder, copy);
    return await onOpened({ folder: copy }, work);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}

async function copyData(folder: string, copy: string): Promise<void> {
  if (!existsSync(join(folder, 'data'))) {
    return;
  }
  const { lockedFolder } = await import('./pglite.js');
  const lock = await lockedFolder(folder);
  try {
    const mode = constants.COPYFILE_FICLONE;
    await cp(join(folder, 'data'), join(copy, 'data'), { recursive: true, mode });
  } finally {
    await lock.release();
  }
}

async function onOpened<Result>(
  place: DatabaseOptions,
  work: (tables: Queryable) => Promise<Result>,
): Promise<Result> {
  const database = await openDatabase(place);
  try {
    return await rolledBack(database, work);
  } finally {
    await database.close();
  }
}

/** Thrown after success, to roll the transaction back. */
class RolledBack<Result> extends Error {
  readonly result: Result;

  constructor(result: Result) {
    super('rolled back as it was meant to be');
    this.result = result;
  }
}

async function rolledBack<Result>(
  database: Database,
  work: (tables: Queryable) => Promise<Result>,
): Promise<Result> {
  try {
    return await database.transaction<never>(async (tables) => {
      throw new RolledBack(await work(tables));
    });
  } catch (error) {
    if (error instanceof RolledBack) {
      return (error as RolledBack<Result>).result;
    }
    throw error;
  }
}
