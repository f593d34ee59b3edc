/**
 * SQL access: one narrow type for the two databases of a deployment, PGlite in a folder or a PostgreSQL
 * server. Both get the same SQL.
 *
 * It knows no tables: `migrations/` creates them and `sql/` uses them.
 *
 * Columns come back as these types on both: `timestamptz` as Date, `json` parsed, `bigint` as a
 * number, `bytea` as a Uint8Array, arrays as arrays. A parameter for a `json` column is its text.
 */

/** A value for `$1`, `$2` and so on. */
export type Parameter =
  | string
  | number
  | boolean
  | Date
  | Uint8Array
  | null
  | readonly string[]
  | readonly number[];

/** Runs statements: the database, or a transaction on it. */
export interface Queryable {
  /** Runs one statement and returns its rows. Rejects with an error that `sqlState` reads. */
  query<Row>(sql: string, params?: readonly Parameter[]): Promise<Row[]>;
  /** Runs statements without parameters, one after the other. */
  script(sql: string): Promise<void>;
  /**
   * Runs `work` in one transaction: all its statements take effect together, or none if it throws. Within a
   * transaction it becomes a part of that one.
   */
  transaction<Result>(work: (transaction: Queryable) => Promise<Result>): Promise<Result>;
}

/**
 * Receives notifications. `undefined` means that some may have been missed while the connection was lost:
 * the receiver then reads its data again.
 */
export type Listener = (payload: string | undefined) => void;

/** An open database. */
export interface Database extends Queryable {
  /** Its location, without a password. */
  readonly location: string;
  /** Whether this process is the only one that can open it. */
  readonly isExclusive: boolean;
  /**
   * Receives each `NOTIFY` on a channel, from every process, this one included, once its transaction is
   * committed. The channel is an SQL identifier in lower case. Returns a function that stops it.
   */
  listen(channel: string, listener: Listener): Promise<() => Promise<void>>;
  /** Replaces the listening connection, if there is one, after it has become silent. */
  listenAnew(): void;
  /** Waits for running statements, then closes. */
  close(): Promise<void>;
}

/** A database that cannot be opened. The message says what to do. */
export class DatabaseOpenError extends Error {
  override readonly name = 'DatabaseOpenError';
}

/** The five-character code of a PostgreSQL error (appendix A); undefined for other errors. */
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
