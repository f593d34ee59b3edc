/**
 * Roles of the auth service. A trigger of the table notifies every process of each change on
 * `roles_changed`, and raises the version of the roles.
 */
import { one, type Queryable } from '../database.js';
import type { Role, Store } from '../store.js';

/** Where every process hears that roles have changed. */
export const ROLES_CHANNEL = 'roles_changed';

export function roles(database: Queryable): Store['roles'] {
  const known: KnownRoles = { roles: new Map() };
  return {
    all: () => all(database, known),
    async version() {
      const sql = 'SELECT version FROM roles_version';
      return (await one<{ version: number }>(database, sql, []))?.version ?? 0;
    },
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
        const present = await all(transaction, known);
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

/** Roles as they were last read, by their ids, each with the version of its row. */
interface KnownRoles {
  roles: ReadonlyMap<string, readonly [version: string, role: Role]>;
}

/**
 * Which transaction wrote the row, and where to: a row is never changed, another one takes its place
 * (PostgreSQL, section 5.6).
 */
const VERSION = "xmin || ' ' || ctid";

/** All roles as of one moment. Only roles that are not known in this version are read whole. */
async function all(database: Queryable, known: KnownRoles): Promise<Role[]> {
  for (;;) {
    const present = await versions(database);
    const { roles: before } = known;
    const unknown = present.filter(([roleId, version]) => before.get(roleId)?.[0] !== version);
    const read = await several(
      database,
      unknown.map(([roleId]) => roleId),
    );
    const roles = new Map<string, readonly [version: string, role: Role]>();
    for (const [roleId, version] of present) {
      const found = read.get(roleId) ?? before.get(roleId);
      if (found?.[0] === version) {
        roles.set(roleId, found);
      }
    }
    known.roles = roles;
    // Otherwise a role has been changed or removed since the versions were read.
    if (roles.size === present.length) {
      return Array.from(roles.values(), ([, role]) => role);
    }
  }
}

/** The version of each role, read as one value: ten thousand rows take longer. */
async function versions(database: Queryable): Promise<[roleId: string, version: string][]> {
  const [row] = await database.query<{ all: [string, string][] | null }>(
    `SELECT json_agg(json_build_array(role_id, ${VERSION}) ORDER BY role_id) AS "all" FROM roles`,
  );
  return row?.all ?? [];
}

async function several(
  database: Queryable,
  roleIds: readonly string[],
): Promise<KnownRoles['roles']> {
  if (roleIds.length === 0) {
    return new Map();
  }
  const rows = await database.query<Role & { version: string }>(
    `SELECT role_id AS "roleId", scopes, description, created, last_modified AS "lastModified",
       ${VERSION} AS version
     FROM roles WHERE role_id = ANY($1)`,
    [roleIds],
  );
  return new Map(rows.map(({ version, ...role }) => [role.roleId, [version, role]]));
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
