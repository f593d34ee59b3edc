/** What users have granted to third parties, on its way to becoming a client. */
import { one, type Queryable } from '../database.js';
import type { Store, ThirdPartyGrant } from '../store.js';

interface Row {
  readonly id_hash: Uint8Array;
  readonly kind: ThirdPartyGrant['kind'];
  readonly user_name: string;
  readonly third_party: string;
  readonly redirect_uri: string;
  readonly details: unknown;
  readonly expires: Date;
}

const THE_ONE = 'WHERE kind = $1 AND id_hash = $2 AND expires > $3';

export function thirdPartyGrants(database: Queryable): Store['thirdPartyGrants'] {
  return {
    async add({ idHash, kind, userName, thirdParty, redirectUri, details, expires }) {
      await database.query(
        `INSERT INTO third_party_grants
           (id_hash, kind, user_name, third_party, redirect_uri, details, expires)
         VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        [idHash, kind, userName, thirdParty, redirectUri, JSON.stringify(details), expires],
      );
    },
    async get(kind, idHash, time) {
      const sql = `SELECT * FROM third_party_grants ${THE_ONE}`;
      const row = await one<Row>(database, sql, [kind, idHash, time]);
      return row && fromRow(row);
    },
    async take(kind, idHash, time) {
      const sql = `DELETE FROM third_party_grants ${THE_ONE} RETURNING *`;
      const row = await one<Row>(database, sql, [kind, idHash, time]);
      return row && fromRow(row);
    },
    async removeExpired(time) {
      await database.query('DELETE FROM third_party_grants WHERE expires <= $1', [time]);
    },
  };
}

function fromRow(row: Row): ThirdPartyGrant {
  return {
    idHash: row.id_hash,
    kind: row.kind,
    userName: row.user_name,
    thirdParty: row.third_party,
    redirectUri: row.redirect_uri,
    details: row.details,
    expires: row.expires,
  };
}
