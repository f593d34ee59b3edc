/**
 * A store in memory: everything is forgotten when the process ends. For trying things out and for
 * tests; it has no limits of its own and scans lists that are short there.
 */
import {
  type Artifact,
  type Client,
  PRIORITIES,
  type Role,
  type Secret,
  type Store,
  type StoredObject,
  type Task,
} from './store.js';

/** An empty store. */
export function memoryStore(): Store {
  const clients = new Map<string, Client>();
  const roles = new Map<string, Role>();
  return {
    clients: {
      get: async (clientId) => clients.get(clientId),
      put: async (client) => {
        clients.set(client.clientId, client);
      },
    },
    roles: {
      all: async () => [...roles.values()],
      put: async (role) => {
        roles.set(role.roleId, role);
      },
    },
    tasks: tasks(),
    artifacts: artifacts(),
    objects: objects(),
    secrets: secrets(),
  };
}

function tasks(): Store['tasks'] {
  const byId = new Map<string, Task>();
  return {
    get: async (taskId) => byId.get(taskId),
    add: async (task) => {
      const present = byId.get(task.taskId);
      if (present === undefined) {
        byId.set(task.taskId, task);
      }
      return present ?? task;
    },
    change: async (taskId, change) => {
      const task = byId.get(taskId);
      if (task === undefined) {
        return undefined;
      }
      const changed = change(task);
      byId.set(taskId, changed);
      return changed;
    },
    pending: async (taskQueueId, limit) =>
      [...byId.values()]
        .filter((task) => task.definition.taskQueueId === taskQueueId)
        .filter((task) => task.runs.at(-1)?.state === 'pending')
        .sort((a, b) => urgency(a) - urgency(b))
        .slice(0, limit)
        .map((task) => task.taskId),
  };
}

function urgency(task: Task): number {
  return PRIORITIES.indexOf(task.definition.priority);
}

function artifacts(): Store['artifacts'] {
  const runs = new Map<string, Map<string, Artifact>>();
  const run = (taskId: string, runId: number) => runs.get(`${taskId}/${runId}`);
  return {
    get: async (taskId, runId, name) => run(taskId, runId)?.get(name),
    change: async (taskId, runId, name, change) => {
      const names = run(taskId, runId) ?? new Map<string, Artifact>();
      const artifact = change(names.get(name));
      runs.set(`${taskId}/${runId}`, names.set(name, artifact));
      return artifact;
    },
    list: async (taskId, runId, { after, limit }) =>
      [...(run(taskId, runId)?.values() ?? [])]
        .filter((artifact) => artifact.name > after)
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .slice(0, limit),
  };
}

function objects(): Store['objects'] {
  const byName = new Map<string, StoredObject>();
  return {
    get: async (name) => byName.get(name),
    put: async (object) => {
      const replaced = byName.get(object.name);
      byName.set(object.name, object);
      return replaced;
    },
  };
}

function secrets(): Store['secrets'] {
  const byName = new Map<string, Secret>();
  return {
    get: async (name) => byName.get(name),
    put: async (secret) => {
      byName.set(secret.name, secret);
    },
    remove: async (name) => {
      byName.delete(name);
    },
  };
}
