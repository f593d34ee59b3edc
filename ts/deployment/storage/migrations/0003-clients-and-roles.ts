import type { Migration } from './migration.js';

/** Descriptions and dates of clients and roles, and a notification when a role has changed. */
export const CLIENTS_AND_ROLES: Migration = {
  name: '0003-clients-and-roles',
  up: `
    ALTER TABLE clients
      ADD COLUMN description text NOT NULL DEFAULT '',
      ADD COLUMN delete_on_expiration boolean NOT NULL DEFAULT false,
      ADD COLUMN created timestamptz NOT NULL DEFAULT now(),
      ADD COLUMN last_modified timestamptz NOT NULL DEFAULT now(),
      ADD COLUMN last_date_used timestamptz NOT NULL DEFAULT now(),
      ADD COLUMN last_rotated timestamptz NOT NULL DEFAULT now();
    CREATE INDEX clients_to_purge ON clients (expires) WHERE delete_on_expiration;

    ALTER TABLE roles
      ADD COLUMN description text NOT NULL DEFAULT '',
      ADD COLUMN created timestamptz NOT NULL DEFAULT now(),
      ADD COLUMN last_modified timestamptz NOT NULL DEFAULT now();

    CREATE FUNCTION notify_roles_changed() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        NOTIFY roles_changed;
        RETURN NULL;
      END
    $$;
    CREATE TRIGGER roles_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON roles
      FOR EACH STATEMENT EXECUTE FUNCTION notify_roles_changed();`,
};
