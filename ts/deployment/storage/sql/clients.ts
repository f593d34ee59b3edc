/** Clients of the auth service. Access tokens are sealed. */
import { one, type Parameter, type Queryable } from '../database.js';
import type { KeyRing } from '../sealing.js';
import type { Client, Store } from '../store.js';

interface Row {
  readonly client_id: string;
  readonly access_token: Uint8Array;
  readonly access_token_key: string;
  readonly description: string;
  readonly scopes: string[];
  readonly expires: Date;
  readonly disabled: boolean;
  readonly delete_on_expiration: boolean;
  readonly created: Date;
  readonly last_modified: Date;
  readonly last_date_used: Date;
  readonly last_rotated: Date;
}

const SELECT = 'SELECT * FROM clients WHERE client_id = $1';

export function clients(database: Queryable, keys: KeyRing): Store['clients'] {
  return {
    async get(clientId) {
      const row = await one<Row>(database, SELECT, [clientId]);
      return row && fromRow(row, keys);
    },
    async put(client) {
      const { accessToken, clientId, description = '', deleteOnExpiration = false } = client;
      const { bytes, keyId } = keys.seal(accessToken, tokenPlace(clientId));
      await database.query(
        `INSERT INTO clients
           (client_id, access_token, access_token_key, description, scopes, expires, disabled,
            delete_on_expiration)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (client_id) DO UPDATE SET
           access_token = excluded.access_token, access_token_key = excluded.access_token_key,
           description = excluded.description, scopes = excluded.scopes,
           expires = excluded.expires, disabled = excluded.disabled,
           delete_on_expiration = excluded.delete_on_expiration, last_modified = now()`,
        [
          clientId,
          bytes,
          keyId,
          description,
          client.scopes,
          client.expires,
          client.disabled,
          deleteOnExpiration,
        ],
      );
    },
    async add(client) {
      const row = await one<Row>(
        database,
        `INSERT INTO clients
           (client_id, access_token, access_token_key, description, scopes, expires, disabled,
            delete_on_expiration, created, last_modified, last_date_used, last_rotated)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (client_id) DO NOTHING
         RETURNING *`,
        parameters(client, keys),
      );
      const present = row ?? (await one<Row>(database, SELECT, [client.clientId]));
      return present === undefined ? client : fromRow(present, keys);
    },
    change: (clientId, change) =>
      database.transaction(async (transaction) => {
        const row = await one<Row>(transaction, `${SELECT} FOR UPDATE`, [clientId]);
        if (row === undefined) {
          return undefined;
        }
        const changed = change(fromRow(row, keys));
        await transaction.query(
          `UPDATE clients SET
             access_token = $2, access_token_key = $3, description = $4, scopes = $5, expires = $6,
             disabled = $7, delete_on_expiration = $8, created = $9, last_modified = $10,
             last_date_used = $11, last_rotated = $12
           WHERE client_id = $1`,
          parameters(changed, keys),
        );
        return changed;
      }),
    async used(clientId, time) {
      await database.query('UPDATE clients SET last_date_used = $2 WHERE client_id = $1', [
        clientId,
        time,
      ]);
    },
    async remove(clientId) {
      await database.query('DELETE FROM clients WHERE client_id = $1', [clientId]);
    },
    async list(prefix, { after, limit }) {
      const rows = await database.query<Row>(
        `SELECT * FROM clients WHERE client_id > $1 AND starts_with(client_id, $2)
         ORDER BY client_id LIMIT $3`,
        [after, prefix, limit],
      );
      return rows.map((row) => fromRow(row, keys));
    },
    async removeExpired(time) {
      const rows = await database.query<Pick<Row, 'client_id'>>(
        `DELETE FROM clients WHERE delete_on_expiration AND expires < $1 RETURNING client_id`,
        [time],
      );
      return rows.map((row) => row.client_id);
    },
  };
}

function parameters(client: Client, keys: KeyRing): Parameter[] {
  const { bytes, keyId } = keys.seal(client.accessToken, tokenPlace(client.clientId));
  return [
    client.clientId,
    bytes,
    keyId,
    client.description,
    client.scopes,
    client.expires,
    client.disabled,
    client.deleteOnExpiration,
    client.created,
    client.lastModified,
    client.lastDateUsed,
    client.lastRotated,
  ];
}

function fromRow(row: Row, keys: KeyRing): Client {
  const { client_id: clientId, description, scopes, expires, disabled, created } = row;
  const sealed = { bytes: row.access_token, keyId: row.access_token_key };
  return {
    clientId,
    accessToken: keys.open(sealed, tokenPlace(clientId)),
    description,
    scopes,
    expires,
    disabled,
    deleteOnExpiration: row.delete_on_expiration,
    created,
    lastModified: row.last_modified,
    lastDateUsed: row.last_date_used,
    lastRotated: row.last_rotated,
  };
}

/** The place for which a client's access token is sealed. */
export function tokenPlace(clientId: string): string {
  return `access token of ${clientId}`;
}
