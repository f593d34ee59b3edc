import type { Migration } from './migration.js';

/** Where a change came from, and what it opened or closed. */
export const GRANT_CHANGES: Migration = {
  name: '0010-grant-changes',
  up: `
    ALTER TABLE audit_history ADD COLUMN address text NOT NULL DEFAULT '';
    ALTER TABLE audit_history ADD COLUMN grants jsonb;`,
};
