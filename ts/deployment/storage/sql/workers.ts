/** Task queues that have been served, and the workers that have served them. */
import { one, type Parameter, type Queryable } from '../database.js';
import type { KnownWorker, ServedQueue, Stability, Store, TaskRun, WorkerName } from '../store.js';

interface QueueRow {
  readonly id: string;
  readonly last_active: Date;
  readonly expires: Date;
  readonly description: string;
  readonly stability: Stability;
}

const QUEUES =
  'SELECT task_queue_id AS id, last_active, expires, description, stability FROM task_queues';

/** There is no table of provisioners: each consists of its task queues, and has no description of its own. */
const PROVISIONERS = `
  SELECT id, max(last_active) AS last_active, max(expires) AS expires, '' AS description,
    'experimental' AS stability FROM
    (SELECT split_part(task_queue_id, '/', 1) COLLATE "C" AS id, last_active, expires
     FROM task_queues WHERE expires > $1) AS queues`;

export function taskQueues(database: Queryable): Store['taskQueues'] {
  const ofRows = async (sql: string, params: readonly Parameter[]) =>
    (await database.query<QueueRow>(sql, params)).map(toQueue);
  return {
    async get(taskQueueId, time) {
      const sql = `${QUEUES} WHERE expires > $1 AND task_queue_id = $2`;
      return (await ofRows(sql, [time, taskQueueId]))[0];
    },
    list: (time, { after, limit }, provisionerId = '') =>
      ofRows(
        `${QUEUES} WHERE expires > $1 AND task_queue_id > $2
           AND ($4 = '' OR split_part(task_queue_id, '/', 1) = $4)
         ORDER BY task_queue_id LIMIT $3`,
        [time, after, limit, provisionerId],
      ),
    async provisioner(provisionerId, time) {
      const sql = `${PROVISIONERS} WHERE id = $2 GROUP BY id`;
      return (await ofRows(sql, [time, provisionerId]))[0];
    },
    provisioners: (time, { after, limit }) =>
      ofRows(`${PROVISIONERS} WHERE id > $2 GROUP BY id ORDER BY id LIMIT $3`, [
        time,
        after,
        limit,
      ]),
    async seen({ id, lastActive, expires, description = null, stability = null }) {
      await database.query(
        `INSERT INTO task_queues AS present (task_queue_id, last_active, expires, description, stability)
         VALUES ($1, $2, $3, coalesce($4, ''), coalesce($5, 'experimental'))
         ON CONFLICT (task_queue_id) DO UPDATE SET
           last_active = greatest(present.last_active, excluded.last_active),
           expires = greatest(present.expires, excluded.expires),
           description = coalesce($4, present.description),
           stability = coalesce($5, present.stability)`,
        [id, lastActive, expires, description, stability],
      );
    },
    async removeExpired(time) {
      await database.query('DELETE FROM task_queues WHERE expires < $1', [time]);
    },
  };
}

function toQueue({ last_active, ...row }: QueueRow): ServedQueue {
  return { ...row, lastActive: last_active };
}

interface WorkerRow {
  readonly task_queue_id: string;
  readonly worker_group: string;
  readonly worker_id: string;
  readonly first_claim: Date;
  readonly last_active: Date;
  readonly expires: Date;
  readonly quarantine_until: Date;
  readonly recent_tasks: readonly TaskRun[];
}

const ONE = 'task_queue_id = $1 AND worker_group = $2 AND worker_id = $3';

/** How many of the runs that a worker took are kept. */
const RECENT = 20;

export function workers(database: Queryable): Store['workers'] {
  return {
    async get(worker) {
      const sql = `SELECT * FROM workers WHERE ${ONE}`;
      const row = await one<WorkerRow>(database, sql, names(worker));
      return row && toWorker(row);
    },
    async list(taskQueueId, time, { after, limit }, isQuarantined) {
      const rows = await database.query<WorkerRow>(
        `SELECT * FROM workers
         WHERE task_queue_id = $1 AND (expires >= $2 OR quarantine_until >= $2)
           AND ($5::boolean IS NULL OR $5 = (quarantine_until >= $2))
           AND (worker_group || '/' || worker_id) COLLATE "C" > $3
         ORDER BY (worker_group || '/' || worker_id) COLLATE "C" LIMIT $4`,
        [taskQueueId, time, after, limit, isQuarantined ?? null],
      );
      return rows.map(toWorker);
    },
    async seen(worker, { lastActive, expires }) {
      await database.query(
        `INSERT INTO workers AS present (task_queue_id, worker_group, worker_id, first_claim,
           last_active, expires, quarantine_until)
         VALUES ($1, $2, $3, $4, $4, $5, $4::timestamptz - interval '10 years')
         ON CONFLICT (task_queue_id, worker_group, worker_id) DO UPDATE SET
           last_active = greatest(present.last_active, excluded.last_active),
           expires = greatest(present.expires, excluded.expires)`,
        [...names(worker), lastActive, expires],
      );
    },
    async took(worker, runs) {
      await database.query(
        `UPDATE workers SET recent_tasks =
           (SELECT jsonb_agg(run ORDER BY place) FROM
             (SELECT run, place FROM
                jsonb_array_elements(recent_tasks || $4::jsonb) WITH ORDINALITY AS each (run, place)
              ORDER BY place DESC LIMIT ${RECENT}) AS latest)
         WHERE ${ONE}`,
        [...names(worker), JSON.stringify(runs)],
      );
    },
    async quarantine(worker, quarantine, expires) {
      const row = await one<WorkerRow>(
        database,
        `UPDATE workers SET quarantine_until = $4, expires = greatest(expires, $5),
           quarantines = array_append(quarantines, $6::json)
         WHERE ${ONE} RETURNING *`,
        [
          ...names(worker),
          new Date(quarantine.quarantineUntil),
          expires,
          JSON.stringify(quarantine),
        ],
      );
      return row && toWorker(row);
    },
    async removeExpired(time) {
      await database.query('DELETE FROM workers WHERE expires < $1 AND quarantine_until < $1', [
        time,
      ]);
    },
  };
}

function names({ taskQueueId, workerGroup, workerId }: WorkerName) {
  return [taskQueueId, workerGroup, workerId];
}

function toWorker(row: WorkerRow): KnownWorker {
  return {
    taskQueueId: row.task_queue_id,
    workerGroup: row.worker_group,
    workerId: row.worker_id,
    firstClaim: row.first_claim,
    lastActive: row.last_active,
    expires: row.expires,
    quarantineUntil: row.quarantine_until,
    recentTasks: row.recent_tasks,
  };
}
