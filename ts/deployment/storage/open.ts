/** Opens the database of a deployment: PGlite in a folder, or a PostgreSQL server. */
import type { Database } from './database.js';

export interface DatabaseOptions {
  /** PGlite's folder, without a `url`. It is created if missing. */
  readonly folder: string;
  /** `postgres://user:password@host:port/database` of a PostgreSQL server. */
  readonly url?: string | undefined;
  /** Connections of one process to that server, beside the listening one; 10 when absent. */
  readonly connections?: number | undefined;
}

/** Opens a database; creates PGlite's if missing, without tables. @throws DatabaseOpenError */
export async function openDatabase({
  folder,
  url,
  connections,
}: DatabaseOptions): Promise<Database> {
  // Only one is needed, and each takes a while to load.
  if (url !== undefined) {
    const { openPostgresql } = await import('./postgresql.js');
    return openPostgresql(url, connections);
  }
  const { openPglite } = await import('./pglite.js');
  return openPglite(folder);
}
