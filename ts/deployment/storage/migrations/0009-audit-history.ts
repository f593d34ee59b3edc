import type { Migration } from './migration.js';

/** The history: which client has changed what. */
export const AUDIT_HISTORY: Migration = {
  name: '0009-audit-history',
  up: `
    CREATE TABLE audit_history (
      number bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
      entity_type text NOT NULL,
      entity_id text COLLATE "C" NOT NULL,
      client_id text COLLATE "C" NOT NULL,
      action_type text NOT NULL,
      created timestamptz NOT NULL
    );
    CREATE INDEX audit_history_entity ON audit_history (entity_type, entity_id, number);
    CREATE INDEX audit_history_client ON audit_history (client_id, number);
    CREATE INDEX audit_history_created ON audit_history (created);`,
};
