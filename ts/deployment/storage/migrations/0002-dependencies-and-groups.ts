import type { Migration } from './migration.js';

/** Tasks wait for others and belong to groups, and what is due by time can be found. */
export const DEPENDENCIES_AND_GROUPS: Migration = {
  name: '0002-dependencies-and-groups',
  up: `
    ALTER TABLE tasks
      ADD COLUMN task_group_id text COLLATE "C",
      ADD COLUMN due timestamptz,
      ADD COLUMN expires timestamptz;
    UPDATE tasks SET
      task_group_id = definition->>'taskGroupId',
      expires = (definition->>'expires')::timestamptz,
      due = CASE WHEN state IN ('pending', 'running') THEN least(
        (definition->>'deadline')::timestamptz,
        (runs->-1->>'takenUntil')::timestamptz
      ) END;
    ALTER TABLE tasks
      ALTER COLUMN task_group_id SET NOT NULL,
      ALTER COLUMN expires SET NOT NULL;
    COMMENT ON COLUMN tasks.due IS
      'when its deadline or the claim on it passes, null once it is resolved';
    CREATE INDEX tasks_due ON tasks (due) WHERE due IS NOT NULL;
    CREATE INDEX tasks_group ON tasks (task_group_id, task_id);
    CREATE INDEX tasks_expires ON tasks (expires);
    CREATE INDEX artifacts_expires ON artifacts (expires);

    CREATE TABLE task_dependencies (
      task_id text COLLATE "C" NOT NULL,
      required_id text COLLATE "C" NOT NULL,
      requires text NOT NULL,
      satisfied boolean NOT NULL,
      PRIMARY KEY (task_id, required_id)
    );
    CREATE INDEX task_dependencies_required ON task_dependencies (required_id, task_id);

    CREATE TABLE task_groups (
      task_group_id text COLLATE "C" PRIMARY KEY,
      scheduler_id text NOT NULL,
      expires timestamptz NOT NULL,
      sealed timestamptz
    );
    INSERT INTO task_groups (task_group_id, scheduler_id, expires)
      SELECT task_group_id, min(definition->>'schedulerId'), max(expires)
      FROM tasks GROUP BY task_group_id;`,
};
