import type { Migration } from './migration.js';

/** Which task queues have been served, and by which workers. */
export const WORKERS: Migration = {
  name: '0008-workers',
  up: `
    CREATE TABLE task_queues (
      task_queue_id text COLLATE "C" PRIMARY KEY,
      expires timestamptz NOT NULL,
      last_active timestamptz NOT NULL
    );
    CREATE TABLE workers (
      task_queue_id text COLLATE "C" NOT NULL,
      worker_group text COLLATE "C" NOT NULL,
      worker_id text COLLATE "C" NOT NULL,
      first_claim timestamptz NOT NULL,
      last_active timestamptz NOT NULL,
      expires timestamptz NOT NULL,
      quarantine_until timestamptz NOT NULL,
      quarantines json[] NOT NULL DEFAULT '{}',
      recent_tasks jsonb NOT NULL DEFAULT '[]',
      PRIMARY KEY (task_queue_id, worker_group, worker_id)
    );
    COMMENT ON COLUMN workers.quarantines IS 'who has put it into quarantine, when, until when and why';
    CREATE INDEX tasks_running ON tasks (task_queue_id) WHERE state = 'running';`,
};
