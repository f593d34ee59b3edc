/**
 * Stands in for parts of Taskcluster's services that their tests use, so that the deployment under test can be
 * asked the same: database functions by which a test prepares its data or looks at them, pollers, and the expiry of
 * old data.
 *
 * What a service tells its own log, metrics and Pulse is not observed: assertions about these pass (`assert.mjs`).
 */
import { setTimeout } from 'node:timers/promises';
import { removeExpired, sqlStore } from './deployment.mjs';

/** What no test can see from outside. */
export const UNSEEN = Symbol('unseen');

const seen = (value) => ({ find: () => value });

/** The service's monitor. */
export const MONITOR = {
  manager: {
    messages: seen(UNSEEN),
    reset: () => undefined,
    _prometheus: { metricsJson: async () => seen({ values: seen({ value: 1 }) }) },
  },
};

/** For a deployment on `database`: database functions, what the service's loader loads, and the expiry. */
export function standIns(database, apiClient) {
  const store = sqlStore(database);
  return {
    fns: databaseFunctions(store, database, apiClient),
    loaded: { monitor: MONITOR, workerInfo: workerInfo(store) },
    /** Resolves when no deadline or claim before that time is left. */
    async nothingDue(time) {
      while (
        (await database.query('SELECT 1 FROM tasks WHERE due < $1 LIMIT 1', [time])).length > 0
      ) {
        await setTimeout(100);
      }
    },
    /** The deployment removes what has expired once in a while: here at once. */
    expire: (time) => removeExpired(store, { remove: async () => undefined }, time),
  };
}

function workerInfo({ taskQueues, workers }) {
  return {
    async seen(id, workerGroup, workerId) {
      const times = { lastActive: new Date(), expires: new Date(Date.now() + 86_400_000) };
      await taskQueues.seen({ id, ...times });
      if (workerGroup !== undefined) {
        await workers.seen({ taskQueueId: id, workerGroup, workerId }, times);
      }
    },
  };
}

function databaseFunctions(store, database, apiClient) {
  const { taskQueues, workers } = store;
  const workerOf = ({ task_queue_id_in, worker_group_in, worker_id_in }) => ({
    taskQueueId: task_queue_id_in,
    workerGroup: worker_group_in,
    workerId: worker_id_in,
  });
  return {
    task_queue_seen: ({ task_queue_id_in, expires_in, description_in, stability_in }) =>
      taskQueues.seen({
        id: task_queue_id_in,
        lastActive: new Date(),
        expires: expires_in,
        description: description_in ?? undefined,
        stability: stability_in ?? undefined,
      }),
    queue_worker_seen_with_last_date_active: (named) =>
      workers.seen(workerOf(named), { lastActive: new Date(), expires: named.expires_in }),
    queue_worker_task_seen: (named) => workers.took(workerOf(named), [named.task_run_in]),
    get_task_queue: async (id) => {
      const queue = await taskQueues.get(id, new Date(0));
      return queue === undefined
        ? []
        : [{ task_queue_id: id, last_date_active: queue.lastActive, ...queue }];
    },
    get_roles: async () => {
      const { roles } = await apiClient().listRoles2();
      return roles.map((role) => ({ role_id: role.roleId, etag: 'any', ...role }));
    },
    modify_roles: (text) => replaceRoles(apiClient(), JSON.parse(text)),
    get_dependent_tasks: (taskId) =>
      database.query(
        `SELECT task_id AS dependent_task_id, requires, satisfied FROM task_dependencies
           WHERE required_id = $1`,
        [taskId],
      ),
    get_combined_audit_history: (_client, entityId, type) =>
      database.query(
        'SELECT action_type FROM audit_history WHERE entity_type = $1 AND entity_id = $2',
        [type, entityId],
      ),
    get_secret: (name) => database.query('SELECT name FROM secrets WHERE name = $1', [name]),
    get_queue_worker_tqid_with_last_date_active: async (taskQueueId, workerGroup, workerId) => {
      const worker = await workers.get({ taskQueueId, workerGroup, workerId });
      return worker === undefined ? [] : [workerRow(worker)];
    },
  };
}

function workerRow(worker) {
  return {
    task_queue_id: worker.taskQueueId,
    worker_group: worker.workerGroup,
    worker_id: worker.workerId,
    quarantine_until: worker.quarantineUntil,
    expires: worker.expires,
    first_claim: worker.firstClaim,
    recent_tasks: worker.recentTasks,
    last_date_active: worker.lastActive,
  };
}

async function replaceRoles(auth, wanted) {
  const { roles } = await auth.listRoles2();
  for (const { roleId } of roles) {
    if (!wanted.some((role) => role.role_id === roleId)) {
      await auth.deleteRole(roleId);
    }
  }
  for (const { role_id, scopes, description } of wanted) {
    if (!roles.some(({ roleId }) => roleId === role_id)) {
      await auth.createRole(role_id, { scopes, description });
    }
  }
}
