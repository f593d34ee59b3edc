import type { Migration } from './migration.js';

/**
 * A number that changes with every change of a role, in the same transaction: a process that receives no
 * notification asks for it instead. A sequence would change before the commit.
 */
export const ROLES_VERSION: Migration = {
  name: '0007-roles-version',
  up: `
    CREATE TABLE roles_version (
      only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
      version bigint NOT NULL
    );
    INSERT INTO roles_version (version) VALUES (1);
    CREATE OR REPLACE FUNCTION notify_roles_changed() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        UPDATE roles_version SET version = version + 1;
        NOTIFY roles_changed;
        RETURN NULL;
      END
    $$;`,
};
