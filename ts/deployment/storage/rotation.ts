/**
 * Encrypts all values again with the current key, so that older keys can be thrown away.
 */
import { setTimeout } from 'node:timers/promises';
import type { Database, Parameter, Queryable } from './database.js';
import type { KeyRing } from './sealing.js';
import { tokenPlace } from './sql/clients.js';
import { secretPlace } from './sql/secrets.js';

/** A sealed column; the id of its key is in the column `<column>_key`. */
interface SealedColumn {
  readonly table: string;
  readonly column: string;
  /** The column that names the row. */
  readonly name: string;
  readonly place: (name: string) => string;
}

const SEALED: readonly SealedColumn[] = [
  { table: 'clients', column: 'access_token', name: 'client_id', place: tokenPlace },
  { table: 'secrets', column: 'secret', name: 'name', place: secretPlace },
];

/** Rows that are locked at once. */
const ROWS = 100;

/** Time in which another process stores the values that it sealed with the older key, in milliseconds. */
const UNDER_WAY = 1000;

/**
 * As `sealAgain`, beside running processes with the same key file: it runs once more for values that they
 * were writing when the key was added.
 */
export async function sealAgainBeside(database: Database, keys: KeyRing): Promise<number> {
  const sealed = await sealAgain(database, keys);
  await setTimeout(UNDER_WAY);
  return sealed + (await sealAgain(database, keys));
}

/** Returns the number of sealed values. Other processes may use the database meanwhile. */
export async function sealAgain(database: Database, keys: KeyRing): Promise<number> {
  let sealed = 0;
  for (const column of SEALED) {
    for (let count = ROWS; count === ROWS; sealed += count) {
      count = await database.transaction((transaction) => sealSome(transaction, keys, column));
    }
  }
  return sealed;
}

interface Row {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly keyId: string;
}

async function sealSome(
  transaction: Queryable,
  keys: KeyRing,
  { table, column, name, place }: SealedColumn,
): Promise<number> {
  const rows = await transaction.query<Row>(
    `SELECT ${name} AS name, ${column} AS bytes, ${column}_key AS "keyId" FROM ${table}
     WHERE ${column}_key <> $1 LIMIT $2 FOR UPDATE`,
    [keys.currentId, ROWS],
  );
  for (const row of rows) {
    const { bytes, keyId } = keys.seal(keys.open(row, place(row.name)), place(row.name));
    const values: Parameter[] = [row.name, bytes, keyId];
    await transaction.query(
      `UPDATE ${table} SET ${column} = $2, ${column}_key = $3 WHERE ${name} = $1`,
      values,
    );
  }
  return rows.length;
}
