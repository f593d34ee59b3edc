/** Groups of tasks, each with the one scheduler that adds to it. */
import { one, type Queryable } from '../database.js';
import type { Store, TaskGroup } from '../store.js';

interface Row {
  readonly task_group_id: string;
  readonly scheduler_id: string;
  readonly expires: Date;
  readonly sealed: Date | null;
}

export function groups(database: Queryable): Store['groups'] {
  return {
    async get(taskGroupId) {
      const sql = 'SELECT * FROM task_groups WHERE task_group_id = $1';
      const row = await one<Row>(database, sql, [taskGroupId]);
      return row && fromRow(row);
    },
    async join({ taskGroupId, schedulerId, expires }) {
      const row = await one<Row>(
        database,
        `INSERT INTO task_groups AS present (task_group_id, scheduler_id, expires)
         VALUES ($1, $2, $3)
         ON CONFLICT (task_group_id) DO UPDATE SET
           expires = greatest(present.expires, excluded.expires)
         RETURNING *`,
        [taskGroupId, schedulerId, expires],
      );
      return row === undefined ? { taskGroupId, schedulerId, expires } : fromRow(row);
    },
    async seal(taskGroupId, time) {
      const row = await one<Row>(
        database,
        `UPDATE task_groups SET sealed = coalesce(sealed, $2) WHERE task_group_id = $1
         RETURNING *`,
        [taskGroupId, time],
      );
      return row && fromRow(row);
    },
    async removeExpired(time) {
      await database.query('DELETE FROM task_groups WHERE expires < $1', [time]);
    },
  };
}

function fromRow({ task_group_id, scheduler_id, expires, sealed }: Row): TaskGroup {
  return {
    taskGroupId: task_group_id,
    schedulerId: scheduler_id,
    expires,
    ...(sealed === null ? {} : { sealed }),
  };
}
