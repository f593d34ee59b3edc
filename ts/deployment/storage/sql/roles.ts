/** Roles of the auth service. */
import type { Queryable } from '../database.js';
import type { Store } from '../store.js';

export function roles(database: Queryable): Store['roles'] {
  return {
    all: () => database.query('SELECT role_id AS "roleId", scopes FROM roles ORDER BY role_id'),
    async put({ roleId, scopes }) {
      await database.query(
        `INSERT INTO roles (role_id, scopes) VALUES ($1, $2)
         ON CONFLICT (role_id) DO UPDATE SET scopes = excluded.scopes`,
        [roleId, scopes],
      );
    },
  };
}
