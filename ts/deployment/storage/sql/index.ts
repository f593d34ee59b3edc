/** The store on a database: one file for each group of tables. */
import type { Queryable } from '../database.js';
import type { KeyRing } from '../sealing.js';
import type { Store } from '../store.js';
import { artifacts } from './artifacts.js';
import { audit } from './audit.js';
import { clients } from './clients.js';
import { groups } from './groups.js';
import { objects } from './objects.js';
import { roles } from './roles.js';
import { secrets } from './secrets.js';
import { tasks } from './tasks.js';
import { sessions, users } from './users.js';
import { taskQueues, workers } from './workers.js';

/** A store on a database, or on one transaction of it. */
export function sqlStore(database: Queryable, keys: KeyRing): Store {
  return {
    clients: clients(database, keys),
    roles: roles(database),
    audit: audit(database),
    tasks: tasks(database),
    taskQueues: taskQueues(database),
    workers: workers(database),
    groups: groups(database),
    artifacts: artifacts(database),
    objects: objects(database),
    secrets: secrets(database, keys),
    users: users(database),
    sessions: sessions(database),
    transaction: (work) => database.transaction((transaction) => work(sqlStore(transaction, keys))),
  };
}
