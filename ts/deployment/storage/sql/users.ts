/** People who may sign in, and the sessions of those who have. */
import { one, type Queryable } from '../database.js';
import type { LocalUser, Store } from '../store.js';

const USER = 'name, password_hash AS "passwordHash", roles';

export function users(database: Queryable): Store['users'] {
  return {
    get: (name) => one(database, `SELECT ${USER} FROM users WHERE name = $1`, [name]),
    all: () => database.query(`SELECT ${USER} FROM users ORDER BY name COLLATE "C"`),
    async add({ name, passwordHash, roles }) {
      const added = await database.query(
        `INSERT INTO users (name, password_hash, roles) VALUES ($1, $2, $3)
         ON CONFLICT (name) DO NOTHING RETURNING name`,
        [name, passwordHash, roles],
      );
      return added.length === 1;
    },
    put: ({ name, passwordHash, roles }) =>
      database.transaction(async (transaction) => {
        const before = await one<LocalUser>(
          transaction,
          `SELECT ${USER} FROM users WHERE name = $1 FOR UPDATE`,
          [name],
        );
        await transaction.query(
          `INSERT INTO users (name, password_hash, roles) VALUES ($1, $2, $3)
           ON CONFLICT (name) DO UPDATE SET
             password_hash = excluded.password_hash, roles = excluded.roles`,
          [name, passwordHash, roles],
        );
        if (before?.passwordHash !== passwordHash) {
          await endAllOf(transaction, name);
        }
      }),
    async rehash(name, from, to) {
      await database.query(
        'UPDATE users SET password_hash = $3 WHERE name = $1 AND password_hash = $2',
        [name, from, to],
      );
    },
    remove: (name) =>
      database.transaction(async (transaction) => {
        const removed = await transaction.query(
          'DELETE FROM users WHERE name = $1 RETURNING name',
          [name],
        );
        await endAllOf(transaction, name);
        return removed.length === 1;
      }),
  };
}

/** Ends all sessions of the user. */
async function endAllOf(transaction: Queryable, name: string): Promise<void> {
  await transaction.query('DELETE FROM sessions WHERE user_name = $1', [name]);
}

export function sessions(database: Queryable): Store['sessions'] {
  return {
    async open({ idHash, userName, expires }, passwordHash) {
      // FOR SHARE, so that it waits for a password that is being changed, and looks again.
      const opened = await database.query(
        `INSERT INTO sessions (id_hash, user_name, expires)
           SELECT $1, name, $2 FROM users WHERE name = $3 AND password_hash = $4 FOR SHARE
         RETURNING user_name`,
        [idHash, expires, userName, passwordHash],
      );
      return opened.length === 1;
    },
    async get(idHash, time) {
      const row = await one<LocalUser & { readonly expires: Date }>(
        database,
        `SELECT ${USER}, expires FROM sessions JOIN users ON user_name = name
         WHERE id_hash = $1 AND expires > $2`,
        [idHash, time],
      );
      if (row === undefined) {
        return undefined;
      }
      const { expires, ...user } = row;
      return { user, expires };
    },
    async remove(idHash) {
      await database.query('DELETE FROM sessions WHERE id_hash = $1', [idHash]);
    },
    async removeExpired(time) {
      await database.query('DELETE FROM sessions WHERE expires <= $1', [time]);
    },
  };
}
