/** Records of the queue's artifacts, without their bytes. */
import { one, type Queryable } from '../database.js';
import type { Artifact, Store } from '../store.js';

interface Row {
  readonly task_id: string;
  readonly run_id: number;
  readonly name: string;
  readonly content_type: string;
  readonly content_length: number | null;
  readonly expires: Date;
  readonly content: Artifact['content'];
}

const SELECT = 'SELECT * FROM artifacts WHERE task_id = $1 AND run_id = $2';

export function artifacts(database: Queryable): Store['artifacts'] {
  return {
    async get(taskId, runId, name) {
      const row = await one<Row>(database, `${SELECT} AND name = $3`, [taskId, runId, name]);
      return row && fromRow(row);
    },
    change: (taskId, runId, name, change) =>
      database.transaction(async (transaction) => {
        // Locks the name: a row that does not exist yet cannot be locked.
        await transaction.query('SELECT pg_advisory_xact_lock(hashtextextended($1, 0))', [
          `artifact ${taskId}/${runId}/${name}`,
        ]);
        const row = await one<Row>(transaction, `${SELECT} AND name = $3`, [taskId, runId, name]);
        const artifact = change(row && fromRow(row));
        await put(transaction, artifact);
        return artifact;
      }),
    async list(taskId, runId, { after, limit }) {
      const rows = await database.query<Row>(`${SELECT} AND name > $3 ORDER BY name LIMIT $4`, [
        taskId,
        runId,
        after,
        limit,
      ]);
      return rows.map(fromRow);
    },
    async removeExpired(time, limit) {
      const rows = await database.query<Row>(
        `DELETE FROM artifacts WHERE (task_id, run_id, name) IN
           (SELECT task_id, run_id, name FROM artifacts
            WHERE expires < $1 AND content->>'bucket' IS NULL
            ORDER BY task_id, run_id, name LIMIT $2 FOR UPDATE)
         RETURNING *`,
        [time, limit],
      );
      return rows.map(fromRow);
    },
    async expiredIn(bucket, time, limit) {
      const rows = await database.query<Row>(
        `SELECT * FROM artifacts WHERE expires < $1 AND content->>'bucket' = $2 LIMIT $3`,
        [time, bucket, limit],
      );
      return rows.map(fromRow);
    },
    async removeThese(these, time) {
      await database.query(
        `DELETE FROM artifacts WHERE expires < $1 AND (task_id, run_id, name) IN
           (SELECT * FROM unnest($2::text[], $3::integer[], $4::text[]))`,
        [
          time,
          these.map(({ taskId }) => taskId),
          these.map(({ runId }) => runId),
          these.map(({ name }) => name),
        ],
      );
    },
    async otherBucket(bucket) {
      const row = await one<{ bucket: string }>(
        database,
        `SELECT content->>'bucket' AS bucket FROM artifacts
         WHERE content->>'bucket' <> coalesce($1::text, '') LIMIT 1`,
        [bucket ?? null],
      );
      return row?.bucket;
    },
  };
}

async function put(transaction: Queryable, artifact: Artifact): Promise<void> {
  const { taskId, runId, name, contentType, contentLength, expires, content } = artifact;
  await transaction.query(
    `INSERT INTO artifacts
       (task_id, run_id, name, content_type, content_length, expires, content)
     VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (task_id, run_id, name) DO UPDATE SET
       content_type = excluded.content_type, content_length = excluded.content_length,
       expires = excluded.expires, content = excluded.content`,
    [taskId, runId, name, contentType, contentLength ?? null, expires, JSON.stringify(content)],
  );
}

function fromRow(row: Row): Artifact {
  const { task_id, run_id, name, content_type, content_length, expires, content } = row;
  return {
    taskId: task_id,
    runId: run_id,
    name,
    contentType: content_type,
    ...(content_length === null ? {} : { contentLength: content_length }),
    expires,
    content,
  };
}
