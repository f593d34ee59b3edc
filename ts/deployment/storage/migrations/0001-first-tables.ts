import type { Migration } from './migration.js';

/**
 * Names sort by their bytes (`COLLATE "C"`), on every server alike. Documents are `json`, which
 * keeps every character and the order of keys, and not `jsonb`, which refuses `\u0000`.
 */
export const FIRST_TABLES: Migration = {
  name: '0001-first-tables',
  up: `
    CREATE TABLE clients (
      client_id text COLLATE "C" PRIMARY KEY,
      access_token bytea NOT NULL,
      access_token_key text NOT NULL,
      scopes text[] NOT NULL,
      expires timestamptz NOT NULL,
      disabled boolean NOT NULL
    );

    CREATE TABLE roles (
      role_id text COLLATE "C" PRIMARY KEY,
      scopes text[] NOT NULL
    );

    CREATE TABLE tasks (
      task_id text COLLATE "C" PRIMARY KEY,
      task_queue_id text COLLATE "C" NOT NULL,
      urgency smallint NOT NULL,
      number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
      state text NOT NULL,
      definition json NOT NULL,
      retries_left integer NOT NULL,
      runs json NOT NULL
    );
    COMMENT ON COLUMN tasks.urgency IS 'place of its priority, from the first served to the last';
    COMMENT ON COLUMN tasks.number IS 'the order in which tasks came';
    CREATE INDEX tasks_pending ON tasks (task_queue_id, urgency, number) WHERE state = 'pending';

    CREATE TABLE artifacts (
      task_id text COLLATE "C" NOT NULL,
      run_id integer NOT NULL,
      name text COLLATE "C" NOT NULL,
      content_type text NOT NULL,
      content_length bigint,
      expires timestamptz NOT NULL,
      content json NOT NULL,
      PRIMARY KEY (task_id, run_id, name)
    );

    CREATE TABLE objects (
      name text COLLATE "C" PRIMARY KEY,
      file text NOT NULL UNIQUE,
      size bigint NOT NULL,
      content_type text NOT NULL,
      content_encoding text
    );

    CREATE TABLE secrets (
      name text COLLATE "C" PRIMARY KEY,
      secret bytea NOT NULL,
      secret_key text NOT NULL,
      expires timestamptz NOT NULL
    );`,
};
