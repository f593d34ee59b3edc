import type { Migration } from './migration.js';

/** What operators declare of a task queue. */
export const DECLARED_QUEUES: Migration = {
  name: '0011-declared-queues',
  up: `
    ALTER TABLE task_queues ADD COLUMN description text NOT NULL DEFAULT '';
    ALTER TABLE task_queues ADD COLUMN stability text NOT NULL DEFAULT 'experimental';`,
};
