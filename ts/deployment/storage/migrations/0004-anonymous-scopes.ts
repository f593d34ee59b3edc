import type { Migration } from './migration.js';

/**
 * Whether the role `anonymous` has been granted the scopes of calls that once needed none (RFC 165). Data
 * older than this table belong to a deployment that was public.
 */
export const ANONYMOUS_SCOPES: Migration = {
  name: '0004-anonymous-scopes',
  up: `
    CREATE TABLE anonymous_scopes (
      only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
      state text NOT NULL CHECK (state IN ('decided', 'predates', 'granted', 'undone')),
      granted text[] NOT NULL DEFAULT '{}',
      changed timestamptz NOT NULL DEFAULT now()
    );
    INSERT INTO anonymous_scopes (state)
      SELECT CASE WHEN EXISTS (SELECT FROM clients) THEN 'predates' ELSE 'decided' END;`,
};
