/**
 * Everything that a deployment keeps, opened together: the database with its tables brought up to
 * date, the keys to what is sealed in it, and the folder of artifacts.
 *
 * A data folder holds `artifacts/`, `keys` (unless the environment has them) and `database/` (unless
 * a PostgreSQL server has it).
 */
import { join } from 'node:path';
import { type Database, openDatabase } from './database.js';
import { migrate } from './migrations/index.js';
import { ObjectFolder } from './object-folder.js';
import { type KeyRing, loadKeys } from './sealing.js';
import { sqlStore } from './sql/index.js';
import type { Store } from './store.js';

export interface StorageOptions {
  /** The data folder. It is made if it is not there. */
  readonly folder: string;
  /** `postgres://user:password@host:port/database`; PGlite in the data folder when absent. */
  readonly databaseUrl?: string | undefined;
  /** One that is open already, instead of either. It is closed with the rest. */
  readonly database?: Database | undefined;
}

export interface Storage {
  readonly store: Store;
  readonly database: Database;
  readonly keys: KeyRing;
  readonly objects: ObjectFolder;
  close(): Promise<void>;
}

/** @throws DatabaseOpenError, MigrationError, SealingError */
export async function openStorage(options: StorageOptions): Promise<Storage> {
  const { folder, databaseUrl: url } = options;
  const keys = await loadKeys(join(folder, 'keys'));
  const database =
    options.database ?? (await openDatabase({ folder: join(folder, 'database'), url }));
  try {
    await migrate(database);
    const objects = await ObjectFolder.open(join(folder, 'artifacts'), {
      isShared: !database.isExclusive,
    });
    const store = sqlStore(database, keys);
    return { store, database, keys, objects, close: () => database.close() };
  } catch (error) {
    await database.close();
    throw error;
  }
}
