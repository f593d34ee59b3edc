// Databases for tests. Each deployment gets its own schema in one PGlite that all tests of a file share: a
// PGlite for each takes longer to start than most tests run. Tests of the database itself start PGlite in a
// folder, copied from one that is created once.
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { PGlite } from '@electric-sql/pglite';
import type { Database, Queryable } from '../../ts/deployment/storage/database.js';
import { migrate } from '../../ts/deployment/storage/migrations/index.js';
import { openPglite, PARSERS, PgliteDatabase } from '../../ts/deployment/storage/pglite.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const STORAGE = path.join(ROOT, 'ts/deployment/storage');

let shared: Promise<Database> | undefined;
let schemas = 0;

/** An empty database, gone with the test. */
export async function schemaFor(): Promise<Database> {
  shared ??= openShared();
  const database = await shared;
  schemas += 1;
  const schema = `test_${schemas}`;
  await database.script(`CREATE SCHEMA ${schema}`);
  return new SchemaDatabase(database, schema);
}

/** As fast as possible: nothing of it is read again. */
async function openShared(): Promise<Database> {
  const place = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-test-'));
  process.once('exit', () => rmSync(place, { recursive: true, force: true }));
  await addDatabase(place);
  const pglite = await PGlite.create(path.join(place, 'database/data'), {
    startParams: [...PGlite.defaultStartParams, '-c', 'shared_buffers=8MB'],
    parsers: PARSERS,
  });
  return new PgliteDatabase(pglite, { location: 'memory' });
}

/**
 * A schema that looks like a database: each of its statements runs in a transaction that sets the
 * schema.
 */
class SchemaDatabase implements Database {
  readonly location = 'memory';
  readonly isExclusive = true;
  readonly #database: Database;
  readonly #schema: string;

  constructor(database: Database, schema: string) {
    this.#database = database;
    this.#schema = schema;
  }

  query<Row>(...statement: Parameters<Queryable['query']>): Promise<Row[]> {
    return this.transaction((transaction) => transaction.query(...statement));
  }

  script(sql: string): Promise<void> {
    return this.transaction((transaction) => transaction.script(sql));
  }

  transaction<Result>(work: (transaction: Queryable) => Promise<Result>): Promise<Result> {
    return this.#database.transaction(async (transaction) => {
      await transaction.script(`SET LOCAL search_path TO ${this.#schema}`);
      return work(transaction);
    });
  }

  listen(...parameters: Parameters<Database['listen']>): Promise<() => Promise<void>> {
    return this.#database.listen(...parameters);
  }

  listenAnew(): void {}

  async close(): Promise<void> {
    await this.#database.script(`DROP SCHEMA ${this.#schema} CASCADE`);
  }
}

let migrated: Promise<string> | undefined;
let bare: Promise<string> | undefined;

/** Puts a migrated, empty database into a data folder, where `openStorage` finds it. */
export async function addDatabase(folder: string): Promise<void> {
  migrated ??= template('migrated', async (place) => {
    await addBareDatabase(place);
    const database = await openPglite(path.join(place, 'database'));
    await migrate(database);
    await database.close();
  });
  copyDatabase(await migrated, folder);
}

/** The same without a table. */
export async function addBareDatabase(folder: string): Promise<void> {
  bare ??= template('bare', async (place) => {
    const database = await openPglite(path.join(place, 'database'));
    await database.close();
  });
  copyDatabase(await bare, folder);
}

function copyDatabase(from: string, to: string): void {
  cpSync(path.join(from, 'database'), path.join(to, 'database'), { recursive: true });
}

/** A folder that is made once, for all files of tests and all runs. */
async function template(kind: string, make: (place: string) => Promise<void>): Promise<string> {
  const place = path.join(ROOT, 'build', `test-database-${kind}-${contentHash()}`);
  if (!existsSync(place)) {
    const unfinished = mkdtempSync(`${place}-`);
    await make(unfinished);
    try {
      renameSync(unfinished, place);
    } catch {
      // Another test was faster.
      await rm(unfinished, { recursive: true });
    }
  }
  return place;
}

/** A hash of everything that decides what is in a new database. */
function contentHash(): string {
  const hash = createHash('sha256');
  const migrations = readdirSync(path.join(STORAGE, 'migrations')).sort();
  for (const file of [
    'pglite.ts',
    'pglite-new.ts',
    ...migrations.map((name) => path.join('migrations', name)),
  ]) {
    hash.update(readFileSync(path.join(STORAGE, file)));
  }
  hash.update(readFileSync(path.join(ROOT, 'node_modules/@electric-sql/pglite/package.json')));
  return hash.digest('hex').slice(0, 16);
}
