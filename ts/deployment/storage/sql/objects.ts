/** Uploaded objects and the files that hold them. */
import { one, type Queryable } from '../database.js';
import type { Store, StoredObject } from '../store.js';

interface Row {
  readonly name: string;
  readonly file: string;
  readonly size: number;
  readonly content_type: string;
  readonly content_encoding: string | null;
}

export function objects(database: Queryable): Store['objects'] {
  return {
    async get(name) {
      const row = await one<Row>(database, 'SELECT * FROM objects WHERE name = $1', [name]);
      return row && fromRow(row);
    },
    put: (object) =>
      database.transaction(async (transaction) => {
        // Locks the name, so that of several uploads each is replaced by one.
        await transaction.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [
          `object ${object.name}`,
        ]);
        const row = await one<Row>(transaction, 'SELECT * FROM objects WHERE name = $1', [
          object.name,
        ]);
        await put(transaction, object);
        return row && fromRow(row);
      }),
    async remove(name) {
      const row = await one<Row>(database, 'DELETE FROM objects WHERE name = $1 RETURNING *', [
        name,
      ]);
      return row && fromRow(row);
    },
    async hasFile(file) {
      const row = await one(database, 'SELECT FROM objects WHERE file = $1', [file]);
      return row !== undefined;
    },
  };
}

async function put(transaction: Queryable, object: StoredObject): Promise<void> {
  const { name, file, size, contentType, contentEncoding } = object;
  await transaction.query(
    `INSERT INTO objects (name, file, size, content_type, content_encoding)
     VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (name) DO UPDATE SET
       file = excluded.file, size = excluded.size, content_type = excluded.content_type,
       content_encoding = excluded.content_encoding`,
    [name, file, size, contentType, contentEncoding ?? null],
  );
}

function fromRow({ name, file, size, content_type, content_encoding }: Row): StoredObject {
  return {
    name,
    file,
    size,
    contentType: content_type,
    ...(content_encoding === null ? {} : { contentEncoding: content_encoding }),
  };
}
