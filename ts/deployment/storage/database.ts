/**
 * The door to SQL: one narrow type for the two places where a deployment can keep its data, PGlite
 * in a folder of its own or a PostgreSQL server. Both are given the same SQL.
 *
 * What it is not: it knows no tables. Those are made by `migrations/` and used by `sql/`.
 *
 * Columns come back as these types on both: `timestamptz` as Date, `json` parsed, `bigint` as a
 * number, `bytea` as a Uint8Array, arrays as arrays. A parameter for a `json` column is its text.
 */

/** What may stand for `$1`, `$2` and so on. */
export type Parameter =
  | string
  | number
  | boolean
  | Date
  | Uint8Array
  | null
  | readonly string[]
  | readonly number[];

/** Where statements can be run: the database, or a transaction on it. */
export interface Queryable {
  /** Runs one statement and returns its rows. Rejects with an error that `sqlState` knows. */
  query<Row>(sql: string, params?: readonly Parameter[]): Promise<Row[]>;
  /** Runs statements without parameters, one after the other. */
  script(sql: string): Promise<void>;
  /**
   * Runs `work` in one transaction: all that it does on what it is given takes effect together, or
   * nothing if it throws. Within a transaction it becomes a part of that one.
   */
  transaction<Result>(work: (transaction: Queryable) => Promise<Result>): Promise<Result>;
}

/**
 * Hears what `NOTIFY` says. `undefined` means that notifications may have been missed, since the
 * connection was lost and is back: what depends on them has to be read again.
 */
export type Listener = (payload: string | undefined) => void;

/** An open database. */
export interface Database extends Queryable {
  /** Where it is, without a password. */
  readonly location: string;
  /** Whether no other process can have it open. */
  readonly isExclusive: boolean;
  /**
   * Hears `NOTIFY` on a channel, from every process, this one included, once the transaction that
   * says it is committed. The name is an SQL identifier in lower case. Returns how to stop.
   */
  listen(channel: string, listener: Listener): Promise<() => Promise<void>>;
  /** Makes the connection anew that hears, where there is one: nothing arrives on it. */
  listenAnew(): void;
  /** Waits for what is running, then closes. */
  close(): Promise<void>;
}

/** A database that cannot be opened. The message says what to do. */
export class DatabaseOpenError extends Error {
  override readonly name = 'DatabaseOpenError';
}

/** The five letters or digits by which PostgreSQL tells its errors apart (appendix A), if it is one. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
}

/** As `query`, for statements that return one row or none. */
export async function one<Row>(
  on: Queryable,
  sql: string,
  params: readonly Parameter[],
): Promise<Row | undefined> {
  const [row] = await on.query<Row>(sql, params);
  return row;
}

export interface DatabaseOptions {
  /** Where PGlite keeps its data when there is no `url`. It is made if it is not there. */
  readonly folder: string;
  /** `postgres://user:password@host:port/database` of a PostgreSQL server. */
  readonly url?: string | undefined;
  /** Of one process to that server, beside the one that listens; 10 when absent. */
  readonly connections?: number | undefined;
}

/** Opens a database, made if it is not there. Its tables are `migrate`'s. @throws DatabaseOpenError */
export async function openDatabase({
  folder,
  url,
  connections,
}: DatabaseOptions): Promise<Database> {
  // Each takes a while to load, and only one is needed.
  if (url !== undefined) {
    const { openPostgresql } = await import('./postgresql.js');
    return openPostgresql(url, connections);
  }
  const { openPglite } = await import('./pglite.js');
  return openPglite(folder);
}
