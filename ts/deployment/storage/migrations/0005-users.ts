import type { Migration } from './migration.js';

/**
 * People who may sign in, and the sessions of those who have. No table refers to the other, so that a
 * backup can be restored table by table.
 */
export const USERS: Migration = {
  name: '0005-users',
  up: `
    CREATE TABLE users (
      name text PRIMARY KEY,
      password_hash text NOT NULL,
      roles text[] NOT NULL
    );
    CREATE TABLE sessions (
      id_hash bytea PRIMARY KEY,
      user_name text NOT NULL,
      expires timestamptz NOT NULL
    );
    CREATE INDEX sessions_of_user ON sessions (user_name);
    CREATE INDEX sessions_to_purge ON sessions (expires);`,
};
