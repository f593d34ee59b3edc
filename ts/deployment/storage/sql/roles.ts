/**
 * Roles of the auth service. Whoever changes one, every process hears of it on `roles_changed`,
 * which a trigger of the table sees to.
 */
import type { Queryable } from '../database.js';
import type { Role, Store } from '../store.js';

/** Where every process hears that roles have changed. */
export const ROLES_CHANNEL = 'roles_changed';

export function roles(database: Queryable): Store['roles'] {
  return {
    all: () => all(database),
    async put({ roleId, scopes, description = '' }) {
      await database.query(
        `INSERT INTO roles (role_id, scopes, description) VALUES ($1, $2, $3)
         ON CONFLICT (role_id) DO UPDATE SET
           scopes = excluded.scopes, description = excluded.description, last_modified = now()`,
        [roleId, scopes, description],
      );
    },
    change: (roleId, change) =>
      database.transaction(async (transaction) => {
        // Whether there is a cycle depends on all of them.
        await transaction.query('LOCK TABLE roles IN SHARE ROW EXCLUSIVE MODE');
        const present = await all(transaction);
        const role = present.find((each) => each.roleId === roleId);
        const changed = change(role, present);
        if (changed === undefined) {
          await transaction.query('DELETE FROM roles WHERE role_id = $1', [roleId]);
        } else if (changed !== role) {
          await write(transaction, changed);
        }
        return changed;
      }),
  };
}

function all(database: Queryable): Promise<Role[]> {
  return database.query(
    `SELECT role_id AS "roleId", scopes, description, created, last_modified AS "lastModified"
     FROM roles ORDER BY role_id`,
  );
}

async function write(transaction: Queryable, role: Role): Promise<void> {
  const { roleId, scopes, description, created, lastModified } = role;
  await transaction.query(
    `INSERT INTO roles (role_id, scopes, description, created, last_modified)
     VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (role_id) DO UPDATE SET
       scopes = excluded.scopes, description = excluded.description,
       last_modified = excluded.last_modified`,
    [roleId, scopes, description, created, lastModified],
  );
}
