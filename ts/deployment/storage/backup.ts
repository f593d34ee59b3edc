/**
 * Writes a deployment's data to one file, and reads it back: a tar archive of all tables as of one moment, of
 * the artifacts that they name, and of the information to read them.
 *
 *     backup.json               format, and the migrations that made the tables
 *     artifacts/<file>          the bytes of objects
 *     tables/<name>/<number>    rows as JSON, one a line
 *
 * The backup does not contain the encryption keys, so a finder of the file can read no token and no
 * secret. The operator keeps the keys in another place. A backup of PGlite restores into PostgreSQL and
 * the other way round.
 */
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { isDeepStrictEqual } from 'node:util';
import { type ExtractEvents, extract, type Pack, pack } from 'tar-stream';
import type { Queryable } from './database.js';
import type { Storage, StorageOptions } from './index.js';
import { MIGRATIONS, migrate } from './migrations/index.js';
import { ObjectFolder } from './object-folder.js';
import { openDatabase } from './open.js';
import { KEYS_VARIABLE, type KeyRing, loadKeys } from './sealing.js';
import { sqlStore } from './sql/index.js';

/** The amount of data in a backup. */
export interface BackupSummary {
  readonly rows: number;
  readonly artifacts: number;
}

/** A backup that cannot be made or restored. The message says what to do. */
export class BackupError extends Error {
  override readonly name = 'BackupError';
}

interface Manifest {
  readonly format: string;
  readonly migrations: readonly string[];
}

const FORMAT = 'taskcluster-local backup 1';

/** Rows in memory at once. */
const ROWS = 500;

/** Writes a backup, which appears under its name when it is complete. @throws BackupError */
export async function backUp(
  { database, objects }: Pick<Storage, 'database' | 'objects'>,
  file: string,
): Promise<BackupSummary> {
  if (existsSync(file)) {
    throw new BackupError(`${file} exists: name a file that does not`);
  }
  const unfinished = `${file}.unfinished`;
  const archive = pack();
  const written = pipeline(archive, createWriteStream(unfinished, { mode: 0o600 }));
  try {
    const filled = database.transaction(async (transaction) => {
      await transaction.script('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY');
      return fill(archive, transaction, objects.root);
    });
    const [summary] = await Promise.all([filled, written]);
    await sync(unfinished);
    await rename(unfinished, file);
    return summary;
  } catch (error) {
    archive.destroy();
    await written.catch(() => undefined);
    await rm(unfinished, { force: true });
    throw error;
  }
}

async function sync(file: string): Promise<void> {
  const handle = await open(file, 'r+');
  await handle.sync();
  await handle.close();
}

async function fill(archive: Pack, tables: Queryable, folder: string): Promise<BackupSummary> {
  const migrations = await tables.query<{ name: string }>(
    'SELECT name FROM migrations ORDER BY version',
  );
  const manifest: Manifest = { format: FORMAT, migrations: migrations.map(({ name }) => name) };
  archive.entry({ name: 'backup.json' }, JSON.stringify(manifest));
  const artifacts = await addArtifacts(archive, tables, folder);
  let rows = 0;
  for (const table of await tableNames(tables)) {
    rows += await addTable(archive, tables, table);
  }
  archive.finalize();
  return { rows, artifacts };
}

async function addArtifacts(archive: Pack, tables: Queryable, folder: string): Promise<number> {
  const files = await tables.query<{ file: string }>('SELECT file FROM objects ORDER BY file');
  for (const { file } of files) {
    const path = join(folder, file);
    const found = await stat(path).catch(() => undefined);
    if (found === undefined) {
      throw new BackupError(
        `the artifact ${path} is missing: if it has been replaced just now, try again`,
      );
    }
    const entry = archive.entry({ name: `artifacts/${file}`, size: found.size });
    await pipeline(createReadStream(path), entry);
  }
  return files.length;
}

async function tableNames(tables: Queryable): Promise<string[]> {
  const names = await tables.query<{ name: string }>(`
    SELECT table_name AS name FROM information_schema.tables
    WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
      AND table_name <> 'migrations'
    ORDER BY table_name`);
  return names.map(({ name }) => name);
}

async function addTable(archive: Pack, tables: Queryable, table: string): Promise<number> {
  await tables.script(`
    DECLARE backup NO SCROLL CURSOR FOR SELECT row_to_json(t)::text AS line FROM "${table}" t`);
  let count = 0;
  for (let part = 0; ; part += 1) {
    const rows = await tables.query<{ line: string }>(`FETCH ${ROWS} FROM backup`);
    if (rows.length === 0) {
      await tables.script('CLOSE backup');
      return count;
    }
    count += rows.length;
    const lines = rows.map(({ line }) => `${line.replaceAll('\n', ' ')}\n`).join('');
    archive.entry({ name: `tables/${table}/${part}` }, lines);
  }
}

/**
 * Restores into a data folder and a database without tables. On an error the database is unchanged; the
 * folder may contain artifacts without a row, which the next attempt writes again.
 *
 * @throws BackupError, DatabaseOpenError, SealingError if the keys are not those of the backup
 */
export async function restore(
  { folder, databaseUrl: url }: Pick<StorageOptions, 'folder' | 'databaseUrl'>,
  file: string,
): Promise<BackupSummary> {
  const entries = readArchive(file);
  const keys = await presentKeys(join(folder, 'keys'));
  const objects = await ObjectFolder.open(join(folder, 'artifacts'), { isShared: true });
  const database = await openDatabase({ folder: join(folder, 'database'), url });
  try {
    const manifest = await readManifest(await entries.next());
    let entry = await entries.next();
    let artifacts = 0;
    for (; nameOf(entry).startsWith('artifacts/'); entry = await entries.next()) {
      await addArtifact(entry.value, objects.root);
      artifacts += 1;
    }
    const rows = await database.transaction(async (tables) => {
      await makeTables(tables, manifest);
      let count = 0;
      for (; !entry.done; entry = await entries.next()) {
        count += await addRows(tables, entry.value);
      }
      await restartNumbers(tables);
      await sqlStore(tables, keys).clients.get('static/taskcluster/root');
      return count;
    });
    await migrate(database);
    return { rows, artifacts };
  } finally {
    await entries.return(undefined);
    await database.close();
  }
}

/** An entry of the archive while it is read. */
type Source = ExtractEvents['entry'][1];

type Entries = AsyncGenerator<Source, undefined>;

async function* readArchive(file: string): Entries {
  const archive = extract();
  // Errors are thrown where the entries are read.
  pipeline(createReadStream(file), archive).catch(() => undefined);
  try {
    yield* archive;
  } catch (error) {
    throw new BackupError(
      `the backup ${file} cannot be read, or is not whole: ${(error as Error).message}`,
    );
  }
  return undefined;
}

async function presentKeys(file: string): Promise<KeyRing> {
  if (!existsSync(file) && process.env[KEYS_VARIABLE] === undefined) {
    throw new BackupError(
      `there are no keys: copy those that belong to the backup to ${file}, or set ${KEYS_VARIABLE}`,
    );
  }
  return loadKeys(file);
}

function nameOf(entry: IteratorResult<Source, undefined>): string {
  return entry.value?.header.name ?? '';
}

async function readManifest(entry: IteratorResult<Source, undefined>): Promise<Manifest> {
  const content = entry.value && (await text(entry.value));
  const manifest = JSON.parse(
    nameOf(entry) === 'backup.json' ? (content ?? '{}') : '{}',
  ) as Manifest;
  if (manifest.format !== FORMAT) {
    throw new BackupError('this is not a backup of taskcluster-local, or one of a newer version');
  }
  return manifest;
}

async function addArtifact(entry: Source | undefined, folder: string): Promise<void> {
  const file = entry?.header.name.slice('artifacts/'.length) ?? '';
  if (entry === undefined || !/^[\w-]+$/.test(file)) {
    throw new BackupError('the backup names an artifact that is not its own');
  }
  await pipeline(entry, createWriteStream(join(folder, file)));
  await sync(join(folder, file));
}

/** Creates the tables of the backup's version; newer migrations follow once they are filled. */
async function makeTables(tables: Queryable, { migrations }: Manifest): Promise<void> {
  const [found] = await tables.query<{ table: string | null }>(
    "SELECT to_regclass('migrations')::text AS table",
  );
  if (found?.table !== null) {
    throw new BackupError('the database has data: restore into one that is empty');
  }
  const known = MIGRATIONS.slice(0, migrations.length);
  if (
    !isDeepStrictEqual(
      migrations,
      known.map(({ name }) => name),
    )
  ) {
    throw new BackupError('the backup is of a newer version: restore it with that one');
  }
  await migrate(tables, known);
  for (const table of await tableNames(tables)) {
    await tables.script(`DELETE FROM "${table}"`);
  }
}

async function addRows(tables: Queryable, entry: Source): Promise<number> {
  const [, table = ''] = /^tables\/(\w+)\/\d+$/.exec(entry.header.name) ?? [];
  const lines = (await text(entry)).split('\n').slice(0, -1);
  for (const line of lines) {
    await tables.query(
      `INSERT INTO "${table}" OVERRIDING SYSTEM VALUE
       SELECT * FROM json_populate_record(NULL::"${table}", $1)`,
      [line],
    );
  }
  return lines.length;
}

/** Lets the database's sequences continue after the restored numbers. */
async function restartNumbers(tables: Queryable): Promise<void> {
  const numbered = await tables.query<{ table: string; column: string }>(`
    SELECT table_name AS table, column_name AS column FROM information_schema.columns
    WHERE table_schema = current_schema() AND is_identity = 'YES'`);
  for (const { table, column } of numbered) {
    await tables.script(`
      SELECT setval(pg_get_serial_sequence('"${table}"', '${column}'), max("${column}"))
      FROM "${table}"`);
  }
}
