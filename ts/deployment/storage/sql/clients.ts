/** Clients of the auth service. Access tokens are sealed. */
import { one, type Queryable } from '../database.js';
import type { KeyRing } from '../sealing.js';
import type { Client, Store } from '../store.js';

interface Row {
  readonly client_id: string;
  readonly access_token: Uint8Array;
  readonly access_token_key: string;
  readonly scopes: string[];
  readonly expires: Date;
  readonly disabled: boolean;
}

export function clients(database: Queryable, keys: KeyRing): Store['clients'] {
  return {
    async get(clientId) {
      const row = await one<Row>(database, 'SELECT * FROM clients WHERE client_id = $1', [
        clientId,
      ]);
      return row && fromRow(row, keys);
    },
    async put({ clientId, accessToken, scopes, expires, disabled }) {
      const { bytes, keyId } = keys.seal(accessToken, tokenPlace(clientId));
      await database.query(
        `INSERT INTO clients
           (client_id, access_token, access_token_key, scopes, expires, disabled)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (client_id) DO UPDATE SET
           access_token = excluded.access_token, access_token_key = excluded.access_token_key,
           scopes = excluded.scopes, expires = excluded.expires, disabled = excluded.disabled`,
        [clientId, bytes, keyId, scopes, expires, disabled],
      );
    },
  };
}

function fromRow(row: Row, keys: KeyRing): Client {
  const { client_id: clientId, scopes, expires, disabled } = row;
  const sealed = { bytes: row.access_token, keyId: row.access_token_key };
  const accessToken = keys.open(sealed, tokenPlace(clientId));
  return { clientId, accessToken, scopes, expires, disabled };
}

/** What a client's access token is sealed for. */
export function tokenPlace(clientId: string): string {
  return `access token of ${clientId}`;
}
