/**
 * Brings a database's tables to the form that this program needs, by numbered migrations: each is applied
 * once, in order, in its own transaction. Processes that start together wait for each other.
 *
 * A released migration is never changed: another one follows it. It only adds. It removes nothing that the
 * previous release reads or writes, and requires nothing that the previous release does not write: processes
 * of that release continue beside it.
 */
import { setTimeout } from 'node:timers/promises';
import { type Queryable, sqlState } from '../database.js';
import { FIRST_TABLES } from './0001-first-tables.js';
import { DEPENDENCIES_AND_GROUPS } from './0002-dependencies-and-groups.js';
import { CLIENTS_AND_ROLES } from './0003-clients-and-roles.js';
import { ANONYMOUS_SCOPES } from './0004-anonymous-scopes.js';
import { USERS } from './0005-users.js';
import { THIRD_PARTIES } from './0006-third-parties.js';
import { ROLES_VERSION } from './0007-roles-version.js';
import { WORKERS } from './0008-workers.js';
import { AUDIT_HISTORY } from './0009-audit-history.js';
import { GRANT_CHANGES } from './0010-grant-changes.js';
import { DECLARED_QUEUES } from './0011-declared-queues.js';
import type { Migration } from './migration.js';

export const MIGRATIONS: readonly Migration[] = [
  FIRST_TABLES,
  DEPENDENCIES_AND_GROUPS,
  CLIENTS_AND_ROLES,
  ANONYMOUS_SCOPES,
  USERS,
  THIRD_PARTIES,
  ROLES_VERSION,
  WORKERS,
  AUDIT_HISTORY,
  GRANT_CHANGES,
  DECLARED_QUEUES,
];

/** A database with tables that neither this version nor an older one has made. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError';
}

/** A number for an advisory lock that no other code uses in this database. */
const LOCK = 7_241_650_165;

/** Applies the missing migrations and returns their names. @throws MigrationError */
export async function migrate(
  database: Queryable,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<string[]> {
  const applied: string[] = [];
  for (;;) {
    const name = await withoutHoldingUp(() =>
      database.transaction((transaction) => applyNext(transaction, migrations)),
    );
    if (name === undefined) {
      return applied;
    }
    applied.push(name);
  }
}

/**
 * Longest wait of a migration for a table lock: meanwhile all other statements on that table, even reads of
 * an older process, wait behind the migration (PostgreSQL 13.3.1).
 */
const LOCK_TIMEOUT = '1s';

/** Pause before another try, in milliseconds, and number of tries. */
const LOCK_PAUSE = 1_000;
const LOCK_TRIES = 60;

const LOCK_NOT_AVAILABLE = '55P03';

async function withoutHoldingUp<Result>(work: () => Promise<Result>): Promise<Result> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (sqlState(error) !== LOCK_NOT_AVAILABLE) {
        throw error;
      }
      if (tries === LOCK_TRIES) {
        throw new MigrationError(
          'the tables are in use for long, by a backup perhaps: migrate again when that has ended',
        );
      }
      await setTimeout(LOCK_PAUSE);
    }
  }
}

async function applyNext(
  transaction: Queryable,
  migrations: readonly Migration[],
): Promise<string | undefined> {
  await transaction.query('SELECT pg_advisory_xact_lock($1)', [LOCK]);
  await transaction.script(`
    CREATE TABLE IF NOT EXISTS migrations (
      version integer PRIMARY KEY,
      name text NOT NULL,
      applied timestamptz NOT NULL DEFAULT now()
    )`);
  const version = await checkedVersion(transaction, migrations);
  const next = migrations[version];
  if (next === undefined) {
    return undefined;
  }
  await transaction.script(`SET LOCAL lock_timeout = '${LOCK_TIMEOUT}'`);
  await (typeof next.up === 'string' ? transaction.script(next.up) : next.up(transaction));
  await transaction.query('INSERT INTO migrations (version, name) VALUES ($1, $2)', [
    version + 1,
    next.name,
  ]);
  return next.name;
}

export interface AppliedMigration {
  readonly version: number;
  readonly name: string;
  readonly applied: Date;
}

/** The applied migrations of any version of this program, in order. Changes nothing. */
export async function appliedMigrations(database: Queryable): Promise<AppliedMigration[]> {
  const [table] = await database.query<{ name: string | null }>(
    "SELECT to_regclass('migrations')::text AS name",
  );
  return table?.name == null
    ? []
    : database.query('SELECT version, name, applied FROM migrations ORDER BY version');
}

/** The number of applied migrations, after a check that they are these. */
async function checkedVersion(
  transaction: Queryable,
  migrations: readonly Migration[],
): Promise<number> {
  const applied = await transaction.query<{ version: number; name: string }>(
    'SELECT version, name FROM migrations ORDER BY version',
  );
  if (applied.length > migrations.length) {
    throw new MigrationError(
      `the database has been used by a newer version (${applied.at(-1)?.name}): start that ` +
        'version, or restore a backup from before',
    );
  }
  for (const [index, { version, name }] of applied.entries()) {
    if (version !== index + 1 || name !== migrations[index]?.name) {
      throw new MigrationError(
        `the database has tables of another program (migration ${version} is ${name}): give ` +
          'this one a database of its own',
      );
    }
  }
  return applied.length;
}
