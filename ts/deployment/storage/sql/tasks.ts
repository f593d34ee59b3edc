/** Tasks of the queue: which of them wait for a worker, for other tasks, or for their time to pass. */
import type { PageRequest } from '../../api/pages.js';
import { one, type Parameter, type Queryable } from '../database.js';
import { PRIORITIES, type Store, type Task } from '../store.js';

interface Row {
  readonly task_id: string;
  readonly definition: Task['definition'];
  readonly retries_left: number;
  readonly runs: Task['runs'];
}

const COLUMNS = 'task_id, definition, retries_left, runs';
const SELECT = `SELECT ${COLUMNS} FROM tasks`;

/** A number for an advisory lock that no other code uses in this database. */
const DEPENDENCIES_LOCK = 7_241_650_166;

/** The channel on which every process hears of tasks to claim; says their task queue's id. */
export const PENDING_CHANNEL = 'tasks_pending';

export function tasks(database: Queryable): Store['tasks'] {
  const ofRows = async (sql: string, params: readonly Parameter[]) =>
    (await database.query<Row>(sql, params)).map(fromRow);
  const get = async (taskId: string) => {
    const row = await one<Row>(database, `${SELECT} WHERE task_id = $1`, [taskId]);
    return row && fromRow(row);
  };
  const changeAll: Store['tasks']['changeAll'] = (taskIds, change) =>
    database.transaction((transaction) => changed(transaction, taskIds, change));
  return {
    get,
    several: (taskIds, { after, limit } = EVERYTHING) =>
      ofRows(`${SELECT} WHERE task_id = ANY($1) AND task_id > $2 ORDER BY task_id LIMIT $3`, [
        taskIds,
        after,
        limit,
      ]),
    inGroup: (taskGroupId, { after, limit }) =>
      ofRows(`${SELECT} WHERE task_group_id = $1 AND task_id > $2 ORDER BY task_id LIMIT $3`, [
        taskGroupId,
        after,
        limit,
      ]),
    dependents: (taskId, { after, limit }) =>
      ofRows(
        `${SELECT} WHERE task_id > $2 AND task_id IN
           (SELECT task_id FROM task_dependencies WHERE required_id = $1)
         ORDER BY task_id LIMIT $3`,
        [taskId, after, limit],
      ),
    async add(task) {
      const added = await insert(database, task);
      return { added, task: added ? task : ((await get(task.taskId)) ?? task) };
    },
    async change(taskId, change) {
      const [task] = await changeAll([taskId], change);
      return task;
    },
    changeAll,
    pending: (taskQueueId, limit) =>
      idsOf(
        database,
        `SELECT task_id FROM tasks
         WHERE task_queue_id = $1 AND state = 'pending' AND due > $2
         ORDER BY urgency, number LIMIT $3`,
        [taskQueueId, new Date(), limit],
      ),
    overdue: (time, limit) =>
      idsOf(database, 'SELECT task_id FROM tasks WHERE due <= $1 ORDER BY due LIMIT $2', [
        time,
        limit,
      ]),
    count: (taskQueueId, state) =>
      counted(database, 'task_queue_id = $1 AND state = $2', [taskQueueId, state]),
    waiting: (taskQueueId, { after, limit }) =>
      ofRows(byTime('scheduled', "state = 'pending' AND due > $4"), [
        taskQueueId,
        after,
        limit,
        new Date(),
      ]),
    claimed: (taskQueueId, { after, limit }) =>
      ofRows(byTime('started', "state = 'running'"), [taskQueueId, after, limit]),
    countInGroup: (taskGroupId) => counted(database, 'task_group_id = $1', [taskGroupId]),
    countOpen: () => countOpen(database),
    hasExpired: async (time) =>
      (await one(database, 'SELECT FROM tasks WHERE expires < $1 LIMIT 1', [time])) !== undefined,
    removeExpired: (time, limit) => removeExpired(database, time, limit),
    ...dependencies(database),
  };
}

/** A page of a task queue's tasks, by a time of their last run. */
function byTime(time: 'scheduled' | 'started', where: string): string {
  const key = `((runs->-1->>'${time}') || '/' || task_id) COLLATE "C"`;
  return `${SELECT} WHERE task_queue_id = $1 AND ${where} AND ${key} > $2 ORDER BY ${key} LIMIT $3`;
}

const EVERYTHING: PageRequest = { after: '', limit: 1_000_000 };

/** Adds the task; false if there is one with its id. */
async function insert(database: Queryable, task: Task): Promise<boolean> {
  const { taskId, definition, retriesLeft, runs } = task;
  const added = await one(
    database,
    `INSERT INTO tasks (task_id, task_queue_id, task_group_id, urgency, state, due, expires,
       definition, retries_left, runs)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     ON CONFLICT (task_id) DO NOTHING RETURNING task_id`,
    [
      taskId,
      definition.taskQueueId,
      definition.taskGroupId,
      PRIORITIES.indexOf(definition.priority),
      stateOf(task),
      dueOf(task),
      new Date(definition.expires),
      JSON.stringify(definition),
      retriesLeft,
      JSON.stringify(runs),
    ],
  );
  return added !== undefined;
}

/** In few statements for any number of tasks, since other transactions wait for them. */
async function changed(
  transaction: Queryable,
  taskIds: readonly string[],
  change: (task: Task) => Task,
): Promise<Task[]> {
  const rows = await transaction.query<Row>(
    `${SELECT} WHERE task_id = ANY($1) ORDER BY task_id FOR UPDATE`,
    [taskIds],
  );
  const steps = rows.map(fromRow).map((before) => ({ before, task: change(before) }));
  const changes = steps.filter(({ before, task }) => task !== before);
  for (const { before, task } of changes) {
    if (task.definition.priority !== before.definition.priority) {
      await transaction.query('UPDATE tasks SET urgency = $2, definition = $3 WHERE task_id = $1', [
        task.taskId,
        PRIORITIES.indexOf(task.definition.priority),
        JSON.stringify(task.definition),
      ]);
    }
  }
  if (changes.length > 0) {
    await transaction.query(UPDATE, [JSON.stringify(changes.map(({ task }) => updateOf(task)))]);
  }
  const begun = changes.filter(
    ({ before, task }) => stateOf(task) === 'pending' && task.runs.length > before.runs.length,
  );
  const queues = new Set(begun.map(({ task }) => task.definition.taskQueueId));
  if (queues.size > 0) {
    const sql = 'SELECT pg_notify($1, id) FROM unnest($2::text[]) AS id';
    await transaction.query(sql, [PENDING_CHANNEL, [...queues]]);
  }
  return steps.map(({ task }) => task);
}

const UPDATE = `UPDATE tasks SET state = new.state, due = new.due, retries_left = new.retries_left, runs = new.runs
  FROM json_to_recordset($1)
    AS new (task_id text, state text, due timestamptz, retries_left integer, runs json)
  WHERE tasks.task_id = new.task_id`;

function updateOf(task: Task): object {
  const { taskId, retriesLeft, runs } = task;
  return {
    task_id: taskId,
    state: stateOf(task),
    due: dueOf(task),
    retries_left: retriesLeft,
    runs,
  };
}

function dependencies(
  database: Queryable,
): Pick<Store['tasks'], 'holdResolutions' | 'lockDependencies' | 'depend' | 'settle'> {
  return {
    async holdResolutions() {
      await database.query('SELECT pg_advisory_xact_lock_shared($1)', [DEPENDENCIES_LOCK]);
    },
    async lockDependencies() {
      await database.query('SELECT pg_advisory_xact_lock($1)', [DEPENDENCIES_LOCK]);
    },
    async depend(taskId, requires, requiredIds, openIds) {
      await database.query(
        `INSERT INTO task_dependencies (task_id, requires, required_id, satisfied)
         SELECT $1, $2, required_id, required_id <> ALL($4) FROM unnest($3::text[]) AS required_id`,
        [taskId, requires, requiredIds, openIds],
      );
    },
    async settle(requiredId, relations) {
      const settled = await idsOf(
        database,
        `UPDATE task_dependencies SET satisfied = true
         WHERE required_id = $1 AND requires = ANY($2) AND NOT satisfied RETURNING task_id`,
        [requiredId, relations],
      );
      return idsOf(
        database,
        `SELECT id AS task_id FROM unnest($1::text[]) AS id WHERE NOT EXISTS
           (SELECT FROM task_dependencies WHERE task_id = id AND NOT satisfied)
         ORDER BY id COLLATE "C"`,
        [settled],
      );
    },
  };
}

async function removeExpired(database: Queryable, time: Date, limit: number): Promise<void> {
  const removed = await idsOf(
    database,
    `DELETE FROM tasks WHERE task_id IN
       (SELECT task_id FROM tasks WHERE expires < $1 ORDER BY task_id LIMIT $2 FOR UPDATE)
     RETURNING task_id`,
    [time, limit],
  );
  await database.query('DELETE FROM task_dependencies WHERE task_id = ANY($1)', [removed]);
}

async function idsOf(
  database: Queryable,
  sql: string,
  params: readonly Parameter[],
): Promise<string[]> {
  const rows = await database.query<Pick<Row, 'task_id'>>(sql, params);
  return rows.map((row) => row.task_id);
}

async function counted(
  database: Queryable,
  where: string,
  params: readonly Parameter[],
): Promise<number> {
  const sql = `SELECT count(*) AS count FROM tasks WHERE ${where}`;
  const row = await one<{ count: number }>(database, sql, params);
  return row?.count ?? 0;
}

async function countOpen(database: Queryable): Promise<Record<string, number>> {
  const rows = await database.query<{ state: string; count: number }>(
    'SELECT state, count(*) AS count FROM tasks WHERE due IS NOT NULL GROUP BY state',
  );
  const counts = { unscheduled: 0, pending: 0, running: 0 };
  return { ...counts, ...Object.fromEntries(rows.map(({ state, count }) => [state, count])) };
}

function stateOf({ runs }: Task): string {
  return runs.at(-1)?.state ?? 'unscheduled';
}

/** When to look at a task again: at its deadline, or before that when its claim ends. */
function dueOf(task: Task): Date | null {
  const state = stateOf(task);
  if (!['unscheduled', 'pending', 'running'].includes(state)) {
    return null;
  }
  const { takenUntil } = task.runs.at(-1) ?? {};
  const deadline = Date.parse(task.definition.deadline);
  return new Date(Math.min(deadline, Date.parse(takenUntil ?? task.definition.deadline)));
}

function fromRow({ task_id, definition, retries_left, runs }: Row): Task {
  return { taskId: task_id, definition, retriesLeft: retries_left, runs };
}
