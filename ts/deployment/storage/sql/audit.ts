/** The history of changes to clients, roles and secrets. */
import type { Queryable } from '../database.js';
import type { AuditRecord, GrantChange, Store } from '../store.js';

interface Row {
  readonly number: number;
  readonly entity_type: AuditRecord['entityType'];
  readonly entity_id: string;
  readonly client_id: string;
  readonly action_type: AuditRecord['actionType'];
  readonly created: Date;
  readonly address: string;
  readonly grants: GrantChange | null;
}

export function audit(database: Queryable): Store['audit'] {
  const list = async (where: string, values: readonly string[], after: number, limit: number) => {
    const rows = await database.query<Row>(
      `SELECT * FROM audit_history WHERE ${where} AND number > $1 ORDER BY number LIMIT $2`,
      [after, limit, ...values],
    );
    return rows.map(fromRow);
  };
  return {
    async add({ entityType, entityId, clientId, actionType, address = '', grants }) {
      await database.query(
        `INSERT INTO audit_history (entity_type, entity_id, client_id, action_type, created, address, grants)
         VALUES ($1, $2, $3, $4, $5, $6, $7)`,
        [
          entityType,
          entityId,
          clientId,
          actionType,
          new Date(),
          address,
          grants === undefined ? null : JSON.stringify(grants),
        ],
      );
    },
    ofEntity: (entityType, entityId, after, limit) =>
      list('entity_type = $3 AND entity_id = $4', [entityType, entityId], after, limit),
    byClient: (clientId, after, limit) => list('client_id = $3', [clientId], after, limit),
    async latest({ entityType, entityId, clientId, since }, limit, before) {
      const rows = await database.query<Row>(
        `SELECT * FROM audit_history
         WHERE ($1::text IS NULL OR entity_type = $1) AND ($2::text IS NULL OR entity_id = $2)
           AND ($3::text IS NULL OR client_id = $3)
           AND ($4::timestamptz IS NULL OR created >= $4)
           AND ($5::bigint IS NULL OR number < $5)
         ORDER BY number DESC LIMIT $6`,
        [
          entityType ?? null,
          entityId ?? null,
          clientId ?? null,
          since ?? null,
          before ?? null,
          limit,
        ],
      );
      return rows.map(fromRow);
    },
    async removeBefore(time) {
      await database.query('DELETE FROM audit_history WHERE created < $1', [time]);
    },
  };
}

function fromRow(row: Row): AuditRecord {
  return {
    number: row.number,
    entityType: row.entity_type,
    entityId: row.entity_id,
    clientId: row.client_id,
    actionType: row.action_type,
    created: row.created,
    address: row.address,
    grants: row.grants ?? undefined,
  };
}
