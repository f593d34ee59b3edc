/**
 * A database on a PostgreSQL server. Several processes may use it at once; `LISTEN` has a separate
 * connection, which is opened again when it is lost.
 */
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';
import { Outage } from '../outage.js';
import { type Database, DatabaseOpenError, type Listener, type Queryable } from './database.js';

/** Default number of connections of one process, beside the listening one. */
const POOL_SIZE = 10;

/** Pause between attempts to reopen a lost listening connection, in milliseconds. */
const RECONNECT_DELAY = 100;

/** Default time in which the server accepts a connection, in seconds. */
const CONNECT_TIMEOUT = 10;

const LONGEST_CONNECT_TIMEOUT = 3600;

/**
 * Idle time after which a connection is probed, in milliseconds. The listening connection is idle most of
 * the time: a firewall may drop it, and the process would miss all further changes.
 */
const PROBE_AFTER = 10_000;

/** @throws DatabaseOpenError */
export async function openPostgresql(url: string, connections = POOL_SIZE): Promise<Database> {
  const database = new PostgresqlDatabase(connectionOf(url), connections);
  try {
    const [row] = await database.query<{ encoding: string }>(
      "SELECT current_setting('server_encoding') AS encoding",
    );
    if (row?.encoding !== 'UTF8') {
      throw new Error(
        `its encoding is ${row?.encoding}: make one by CREATE DATABASE ... ENCODING 'UTF8'`,
      );
    }
    return database;
  } catch (error) {
    await database.close();
    throw new DatabaseOpenError(
      `the database ${database.location} cannot be used: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

interface Connection {
  readonly config: pg.ClientConfig;
  readonly location: string;
}

function connectionOf(url: string): Connection {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    parsed = new URL('invalid:');
  }
  if (!['postgres:', 'postgresql:'].includes(parsed.protocol)) {
    throw new DatabaseOpenError(
      'a database URL is postgres://user:password@host:port/database, and this is not one',
    );
  }
  // libpq's parameter, which pg does not read.
  const timeout = Number(parsed.searchParams.get('connect_timeout') ?? CONNECT_TIMEOUT);
  if (!(Number.isInteger(timeout) && timeout > 0 && timeout <= LONGEST_CONNECT_TIMEOUT)) {
    throw new DatabaseOpenError(
      'connect_timeout in a database URL is a number of seconds from 1 to 3600',
    );
  }
  const config = {
    connectionString: url,
    connectionTimeoutMillis: timeout * 1000,
    keepAlive: true,
    keepAliveInitialDelayMillis: PROBE_AFTER,
    types: { getTypeParser },
    application_name: 'taskcluster-local',
  };
  return { config, location: `${parsed.protocol}//${parsed.host}${parsed.pathname}` };
}

/** Reads `bigint` as a number instead of text: all counts here stay below 2^53. */
const getTypeParser: typeof pg.types.getTypeParser = (oid, format) =>
  (oid as number) === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format);

class PostgresqlDatabase implements Database {
  readonly location: string;
  readonly isExclusive = false;
  readonly #pool: pg.Pool;
  readonly #notifications: Notifications;

  constructor({ config, location }: Connection, connections: number) {
    this.location = location;
    this.#pool = new pg.Pool({ ...config, max: connections });
    // The server has closed an idle connection: the pool opens another when it needs one.
    this.#pool.on('error', () => undefined);
    this.#notifications = new Notifications(config);
  }

  query<Row>(...statement: Parameters<Queryable['query']>): Promise<Row[]> {
    return queryable(this.#pool).query(...statement);
  }

  script(sql: string): Promise<void> {
    return queryable(this.#pool).script(sql);
  }

  async transaction<Result>(work: (transaction: Queryable) => Promise<Result>): Promise<Result> {
    const client = await reached(this.#pool.connect());
    let broken: Error | undefined;
    // Without this handler the loss of an idle connection ends the process.
    const lost = (error: Error) => {
      broken = error;
    };
    client.on('error', lost);
    try {
      await reached(client.query('BEGIN'));
      const result = await work(queryable(client));
      await reached(client.query('COMMIT'));
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch(lost);
      throw error;
    } finally {
      client.off('error', lost);
      client.release(broken);
    }
  }

  listen(channel: string, listener: Listener): Promise<() => Promise<void>> {
    return this.#notifications.listen(channel, listener);
  }

  listenAnew(): void {
    this.#notifications.renew();
  }

  async close(): Promise<void> {
    await this.#notifications.close();
    await this.#pool.end();
  }
}

function queryable(on: Pick<pg.ClientBase, 'query'>): Queryable {
  const itself: Queryable = {
    async query<Row>(sql: string, params: readonly unknown[] = []): Promise<Row[]> {
      const { rows } = await reached(on.query(sql, [...params]));
      return rows as Row[];
    },
    async script(sql) {
      await reached(on.query(sql));
    },
    transaction: (work) => work(itself),
  };
  return itself;
}

/**
 * The codes of a server that cannot serve now (appendix A): lost connections, which PgBouncer tells of too, a lack of
 * connections, memory or disk, a shutdown or a start, and a standby that does not write yet.
 */
const CANNOT_SERVE = /^(?:08|53)...$|^57P0[1-5]$|^25006$/;

/** Tells an outage from an error in a statement. */
async function reached<Result>(statement: Promise<Result>): Promise<Result> {
  try {
    return await statement;
  } catch (error) {
    if (!isOutage(error)) {
      throw error;
    }
    const { message, code } = error as NodeJS.ErrnoException;
    // Node gives the refusals of several addresses a code only.
    throw new Outage(message || code, { cause: error });
  }
}

/**
 * Whether an error means an outage. An error that the server has not reported comes from the connection to
 * it.
 */
export function isOutage(error: unknown): boolean {
  return error instanceof pg.DatabaseError
    ? CANNOT_SERVE.test(error.code ?? '')
    : !(error instanceof TypeError);
}

/** The listening connection, opened by the first `listen`. */
class Notifications {
  readonly #config: pg.ClientConfig;
  readonly #listeners = new Map<string, Set<Listener>>();
  #client: Promise<pg.Client> | undefined;
  #isClosed = false;

  constructor(config: pg.ClientConfig) {
    this.#config = config;
  }

  async listen(channel: string, listener: Listener): Promise<() => Promise<void>> {
    const listeners = this.#listeners.get(channel) ?? new Set();
    this.#listeners.set(channel, listeners.add(listener));
    this.#client ??= this.#connect();
    try {
      const client = await this.#client;
      await client.query(`LISTEN ${client.escapeIdentifier(channel)}`);
    } catch (error) {
      listeners.delete(listener);
      throw error;
    }
    return async () => {
      listeners.delete(listener);
    };
  }

  /** When the connection ends, a new one is opened. */
  renew(): void {
    this.#client?.then((client) => client.end()).catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const client = await this.#client?.catch(() => undefined);
    await client?.end();
  }

  async #connect(): Promise<pg.Client> {
    const client = new pg.Client(this.#config);
    client.on('error', () => undefined);
    client.on('notification', ({ channel, payload = '' }) => this.#tell(channel, payload));
    try {
      await client.connect();
      for (const channel of this.#listeners.keys()) {
        await client.query(`LISTEN ${client.escapeIdentifier(channel)}`);
      }
    } catch (error) {
      this.#client = undefined;
      await client.end().catch(() => undefined);
      throw error;
    }
    client.once('end', () => this.#reconnect());
    return client;
  }

  #reconnect(): void {
    if (this.#isClosed) {
      return;
    }
    this.#client = setTimeout(RECONNECT_DELAY).then(() => this.#connect());
    this.#client.then(
      () => {
        for (const channel of this.#listeners.keys()) {
          this.#tell(channel, undefined);
        }
      },
      () => this.#reconnect(),
    );
  }

  #tell(channel: string, payload: string | undefined): void {
    for (const listener of this.#listeners.get(channel) ?? []) {
      listener(payload);
    }
  }
}
