/**
 * Opens all data of a deployment together: the database with migrated tables, the encryption keys, the
 * folder of artifacts, and the bucket for artifacts if there is one.
 *
 * A data folder holds `artifacts/`, `keys` (unless the environment has them) and `database/` (unless
 * a PostgreSQL server has it).
 */
import { join } from 'node:path';
import type { Database } from './database.js';
import { migrate } from './migrations/index.js';
import { ObjectBucket } from './object-bucket.js';
import { ObjectFolder } from './object-folder.js';
import { openDatabase } from './open.js';
import { type KeyRing, loadKeys } from './sealing.js';
import { sqlStore } from './sql/index.js';
import type { Store } from './store.js';

export interface StorageOptions {
  /** The data folder. It is created if missing. */
  readonly folder: string;
  /** `postgres://user:password@host:port/database`; PGlite in the data folder when absent. */
  readonly databaseUrl?: string | undefined;
  /**
   * `s3://bucket/prefix` for new artifacts; the data folder when absent. The environment has the other
   * settings: see `object-bucket.ts`.
   */
  readonly objectStore?: string | undefined;
  /** Connections of this process to a PostgreSQL server, beside the listening one; 10 when absent. */
  readonly databaseConnections?: number | undefined;
  /** An open database to use instead. It is closed with the rest. */
  readonly database?: Database | undefined;
}

export interface Storage {
  readonly store: Store;
  readonly database: Database;
  readonly keys: KeyRing;
  readonly objects: ObjectFolder;
  readonly bucket: ObjectBucket | undefined;
  close(): Promise<void>;
}

/** @throws DatabaseOpenError, MigrationError, ObjectBucketError, SealingError */
export async function openStorage(options: StorageOptions): Promise<Storage> {
  const { objectStore } = options;
  const bucket = objectStore === undefined ? undefined : await ObjectBucket.open(objectStore);
  try {
    return await openWith(bucket, options);
  } catch (error) {
    bucket?.close();
    throw error;
  }
}

async function openWith(
  bucket: ObjectBucket | undefined,
  { folder, databaseUrl: url, databaseConnections: connections, database: open }: StorageOptions,
): Promise<Storage> {
  const keys = await loadKeys(join(folder, 'keys'));
  const database =
    open ?? (await openDatabase({ folder: join(folder, 'database'), url, connections }));
  try {
    await migrate(database);
    const objects = await ObjectFolder.open(join(folder, 'artifacts'), {
      isShared: !database.isExclusive,
    });
    const close = async () => {
      bucket?.close();
      await database.close();
    };
    return { store: sqlStore(database, keys), database, keys, objects, bucket, close };
  } catch (error) {
    await database.close();
    throw error;
  }
}
