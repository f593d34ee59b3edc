/** Secrets, with sealed values. */
import { one, type Queryable } from '../database.js';
import type { KeyRing } from '../sealing.js';
import type { Secret, Store } from '../store.js';

interface Row {
  readonly name: string;
  readonly secret: Uint8Array;
  readonly secret_key: string;
  readonly expires: Date;
}

export function secrets(database: Queryable, keys: KeyRing): Store['secrets'] {
  return {
    async get(name) {
      const row = await one<Row>(database, 'SELECT * FROM secrets WHERE name = $1', [name]);
      return row && fromRow(row, keys);
    },
    async put({ name, secret, expires }) {
      const { bytes, keyId } = keys.seal(JSON.stringify(secret), secretPlace(name));
      await database.query(
        `INSERT INTO secrets (name, secret, secret_key, expires) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE SET
           secret = excluded.secret, secret_key = excluded.secret_key, expires = excluded.expires`,
        [name, bytes, keyId, expires],
      );
    },
    async remove(name) {
      await database.query('DELETE FROM secrets WHERE name = $1', [name]);
    },
    async names(time, { after, limit }) {
      const rows = await database.query<Pick<Row, 'name'>>(
        'SELECT name FROM secrets WHERE expires >= $1 AND name > $2 ORDER BY name LIMIT $3',
        [time, after, limit],
      );
      return rows.map(({ name }) => name);
    },
    async removeExpired(time) {
      const rows = await database.query<Pick<Row, 'name'>>(
        'DELETE FROM secrets WHERE expires < $1 RETURNING name',
        [time],
      );
      return rows.map(({ name }) => name);
    },
  };
}

function fromRow({ name, secret, secret_key, expires }: Row, keys: KeyRing): Secret {
  const text = keys.open({ bytes: secret, keyId: secret_key }, secretPlace(name));
  return { name, secret: JSON.parse(text), expires };
}

/** The place for which a secret's value is sealed. */
export function secretPlace(name: string): string {
  return `secret ${name}`;
}
