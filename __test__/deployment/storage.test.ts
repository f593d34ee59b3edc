// The data of a deployment, on PGlite and on PostgreSQL: of many processes that start together one
// creates the tables, sealed values cannot be read from the data, notifications arrive, and no
// acknowledged write is lost.
import { randomBytes } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import test, { type ExecutionContext, type TestFn } from 'ava';
import { noteAnonymous } from '../../ts/deployment/grant-anonymous.js';
import {
  grantAnonymousScopes,
  undoAnonymousScopes,
} from '../../ts/deployment/storage/anonymous-scopes.js';
import { backUp, restore } from '../../ts/deployment/storage/backup.js';
import { openStorage, type StorageOptions } from '../../ts/deployment/storage/index.js';
import { MIGRATIONS, migrate } from '../../ts/deployment/storage/migrations/index.js';
import { openDatabase } from '../../ts/deployment/storage/open.js';
import { sealAgain } from '../../ts/deployment/storage/rotation.js';
import { addKey, KeyRing, loadKeys } from '../../ts/deployment/storage/sealing.js';
import { sqlStore } from '../../ts/deployment/storage/sql/index.js';
import type { Store } from '../../ts/deployment/storage/store.js';
import { addDatabase, schemaFor } from '../harness/database.js';
import { pause, STILL_MS, until } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { pooledDatabase } from '../harness/pgbouncer.js';
import { postgresql, runSql } from '../harness/postgresql.js';
import { testWith } from '../harness/tools.js';

interface Backend {
  readonly name: string;
  readonly test: TestFn | TestFn['skip'];
  /** Whether `LISTEN` hears anything there. */
  readonly isHeard: boolean;
  /** Where an empty, migrated database is. */
  readonly place: (t: ExecutionContext) => Promise<StorageOptions>;
}

const BACKENDS: readonly Backend[] = [
  {
    name: 'PGlite',
    test,
    isHeard: true,
    place: async (t) => {
      const folder = freshDirectory(t);
      await addDatabase(folder);
      return { folder };
    },
  },
  {
    name: 'PostgreSQL',
    test: testWith('postgres'),
    isHeard: true,
    place: async (t) => ({
      folder: freshDirectory(t),
      databaseUrl: await (await postgresql()).createDatabase(),
    }),
  },
  {
    name: 'PgBouncer',
    test: testWith('postgres', 'pgbouncer'),
    isHeard: false,
    place: async (t) => ({ folder: freshDirectory(t), databaseUrl: await pooledDatabase() }),
  },
];

async function open(t: ExecutionContext, options: StorageOptions) {
  const storage = await openStorage(options);
  t.teardown(() => storage.close().catch(() => undefined));
  return storage;
}

const NEVER = new Date('3000-01-01T00:00:00.000Z');

const KEY = Buffer.alloc(32, 'key').toString('base64');

const CLIENT = { clientId: 'c', accessToken: 't', scopes: [], expires: NEVER, disabled: false };

async function anonymousScopes({ roles }: Store): Promise<readonly string[] | undefined> {
  return (await roles.all()).find(({ roleId }) => roleId === 'anonymous')?.scopes;
}

for (const { name: backend, test, place, isHeard } of BACKENDS) {
  test(`${backend}: values come back as they were given`, async (t) => {
    const options = await place(t);
    const storage = await open(t, options);
    const { store } = storage;
    const client = {
      clientId: 'project/ü "quoted" \\ {a,b}',
      accessToken: 'a-token',
      scopes: ['', 'NULL', 'a,b', '"c"', '{d}', '\\', 'é😀'],
      expires: new Date('2031-02-03T04:05:06.789Z'),
      disabled: true,
    };
    await store.clients.put(client);
    const secret = {
      name: 'nested/name',
      secret: { z: 1, a: ['\u0000', '\ud800', '\\', 1e300, null, true, { '': '' }] },
      expires: NEVER,
    };
    await store.secrets.put(secret);
    const object = { name: 'o', file: 'f', size: 2 ** 45, contentType: 'text/plain' };
    t.is(await store.objects.put(object), undefined);
    t.deepEqual(await store.objects.put({ ...object, file: 'g' }), object);
    await storage.close();
    const again = (await open(t, options)).store;
    t.like(await again.clients.get(client.clientId), client);
    t.deepEqual(await again.secrets.get('nested/name'), secret);
    t.deepEqual(await again.objects.get('o'), { ...object, file: 'g' });
    t.is(await again.secrets.get('other'), undefined);
  });

  test(`${backend}: a transaction takes effect as a whole or not at all`, async (t) => {
    const { store, database } = await open(t, await place(t));
    const role = (roleId: string) => ({ roleId, scopes: [] });
    const failing = store.transaction(async (inner) => {
      await inner.roles.put(role('lost'));
      await inner.transaction((innermost) => innermost.roles.put(role('lost too')));
      throw new Error('on the way');
    });
    await t.throwsAsync(failing, { message: 'on the way' });
    await t.throwsAsync(
      database.transaction(async (inner) => {
        await inner.query('SELECT 1');
        await inner.query('SELECT x FROM nowhere');
      }),
      { message: /nowhere/ },
    );
    await store.roles.put(role('kept'));
    t.deepEqual(
      (await store.roles.all()).map(({ roleId }) => roleId),
      ['kept'],
    );
  });

  test(`${backend}: roles that were read before are read again when they have changed`, async (t) => {
    const { store, database, keys } = await open(t, await place(t));
    const put = ({ roles }: Store, roleId: string, ...scopes: string[]) =>
      roles.put({ roleId, scopes });
    const expect = async (inner: Store, expected: Record<string, string[]>) => {
      const all = await inner.roles.all();
      t.deepEqual(Object.fromEntries(all.map(({ roleId, scopes }) => [roleId, scopes])), expected);
    };
    await expect(store, {});
    await Promise.all(['a', 'b', 'c'].map((roleId) => put(store, roleId, '1')));
    await expect(store, { a: ['1'], b: ['1'], c: ['1'] });
    await put(sqlStore(database, keys), 'b', '2');
    await store.roles.change('c', () => undefined);
    await expect(store, { a: ['1'], b: ['2'] });
    const failing = store.transaction(async (inner) => {
      for (const scope of ['3', '4', '5']) {
        await put(inner, 'a', scope);
        await expect(inner, { a: [scope], b: ['2'] });
      }
      throw new Error('on the way');
    });
    await t.throwsAsync(failing, { message: 'on the way' });
    await expect(store, { a: ['1'], b: ['2'] });
    await put(store, 'c', '1');
    await database.script('DELETE FROM roles');
    await database.script('VACUUM FULL roles');
    await expect(store, {});
    await put(store, 'c', '6');
    await database.script('VACUUM FULL roles');
    await expect(store, { c: ['6'] });
  });

  test(`${backend}: access tokens and secrets are not readable in the stored data`, async (t) => {
    const options = await place(t);
    const storage = await open(t, options);
    const [token, secret] = [randomBytes(33).toString('base64url'), 'sEcReT'.repeat(5)];
    const client = { clientId: 'c', accessToken: token, scopes: [], expires: NEVER };
    await storage.store.clients.put({ ...client, disabled: false });
    await storage.store.secrets.put({ name: 'n', secret: { secret }, expires: NEVER });
    const rows = await storage.database.query(`
      SELECT to_json(c)::text FROM clients c UNION ALL SELECT to_json(s)::text FROM secrets s`);
    const columns = JSON.stringify(rows);
    const hidden = [token, secret].flatMap((text) => [text, hex(text)]);
    t.is(rows.length, 2);
    await storage.close();
    for (const text of hidden) {
      t.false(columns.includes(text));
      t.deepEqual(filesWith(options.folder, text), []);
    }
    t.is(statSync(path.join(options.folder, 'keys')).mode & 0o777, 0o600);
  });

  test(`${backend}: a sealed value opens in its own row alone`, async (t) => {
    const options = await place(t);
    const { store, database } = await open(t, options);
    const client = { accessToken: 'x'.repeat(44), scopes: [], expires: NEVER, disabled: false };
    await store.clients.put({ ...client, clientId: 'weak' });
    await store.clients.put({ ...client, clientId: 'strong' });
    await database.query(`
      UPDATE clients SET access_token = (SELECT access_token FROM clients WHERE client_id = 'weak')
      WHERE client_id = 'strong'`);
    await t.throwsAsync(store.clients.get('strong'), {
      message: /^access token of strong was not sealed with the key .*: start it with the key file/,
    });
    t.is((await store.clients.get('weak'))?.accessToken, client.accessToken);
  });

  test(`${backend}: keys are replaced one after the other`, async (t) => {
    const { database } = await open(t, await place(t));
    const [older, newer] = [`older:${KEY}`, `newer:${randomBytes(32).toString('base64')}`];
    const before = sqlStore(database, KeyRing.parse(older));
    for (let number = 0; number < 201; number += 1) {
      await before.secrets.put({ name: `n${number}`, secret: { number }, expires: NEVER });
    }
    await before.clients.put(CLIENT);
    const both = KeyRing.parse(`${newer},${older}`);
    await sqlStore(database, both).secrets.put({ name: 'new', secret: {}, expires: NEVER });
    t.is(await sealAgain(database, both), 202);
    t.is(await sealAgain(database, both), 0);
    const after = sqlStore(database, KeyRing.parse(newer));
    t.deepEqual((await after.secrets.get('n200'))?.secret, { number: 200 });
    t.is((await after.clients.get('c'))?.accessToken, CLIENT.accessToken);
  });

  if (isHeard) {
    test(`${backend}: notifications arrive when the transaction is committed`, async (t) => {
      const { database } = await open(t, await place(t));
      const heard: (string | undefined)[] = [];
      const stop = await database.listen('things', (payload) => heard.push(payload));
      await database.transaction(async (inner) => {
        await inner.query("SELECT pg_notify('things', $1)", ['first']);
        await pause(STILL_MS);
        t.deepEqual(heard, []);
      });
      await until(() => heard.length === 1, 'the first');
      await t.throwsAsync(
        database.transaction(async (inner) => {
          await inner.query("SELECT pg_notify('things', 'never')");
          throw new Error('rolled back');
        }),
      );
      await database.query("SELECT pg_notify('things', '')");
      await until(() => heard.length === 2, 'the second');
      t.deepEqual(heard, ['first', '']);
      await stop();
      await database.query("SELECT pg_notify('things', 'unheard')");
      await pause(STILL_MS);
      t.is(heard.length, 2);
    });
  }

  test(`${backend}: data that predate anonymous scopes are granted those of a public deployment once`, async (t) => {
    const { databaseUrl } = await place(t);
    const folder = freshDirectory(t);
    const before = MIGRATIONS.findIndex(({ name }) => name.endsWith('anonymous-scopes'));
    const database =
      databaseUrl === undefined
        ? await schemaFor()
        : await openDatabase({ folder, url: databaseUrl });
    t.teardown(() => database.close());
    await migrate(database, MIGRATIONS.slice(0, before));
    const store = sqlStore(database, KeyRing.parse(`a:${KEY}`));
    await store.clients.put(CLIENT);
    const own = { roleId: 'anonymous', scopes: ['queue:status:a', 'queue:list:*'] };
    await store.roles.put(own);
    await migrate(database);

    const note = noteAnonymous('migrate');
    const undone = noteAnonymous('migrate --undo');
    const needed = ['queue:list:b', 'queue:status:*', 'queue:get'];
    const added = ['queue:status:*', 'queue:get'];
    const [one, other] = await Promise.all([
      grantAnonymousScopes(database, needed, { note }),
      grantAnonymousScopes(database, needed, { note }),
    ]);
    t.deepEqual([one.added, other.added].map(({ length }) => length).sort(), [0, 2]);
    t.deepEqual(await anonymousScopes(store), [...own.scopes, ...added]);

    await store.roles.put({ roleId: 'anonymous', scopes: ['queue:status:a', 'mine', 'queue:get'] });
    t.deepEqual((await grantAnonymousScopes(database, needed, { note })).added, []);
    t.deepEqual(await undoAnonymousScopes(database, { note: undone }), {
      ...{ before: 'granted', after: 'undone', added: [], removed: ['queue:get'] },
    });
    t.deepEqual(await anonymousScopes(store), ['queue:status:a', 'mine']);
    t.deepEqual((await undoAnonymousScopes(database, { note: undone })).removed, []);
    t.deepEqual((await grantAnonymousScopes(database, needed, { note })).added, []);
    const again = await grantAnonymousScopes(database, needed, { again: true, note });
    t.deepEqual(again.added, ['queue:list:b', ...added]);

    const records = await store.audit.latest({ entityType: 'role', entityId: 'anonymous' }, 10);
    t.deepEqual(
      records.map(({ actionType, clientId, address, grants }) => [
        ...[actionType, clientId, address],
        ...[grants?.before?.length, grants?.after?.length],
      ]),
      [
        ['updated', 'static/taskcluster/root', 'migrate', 2, 5],
        ['updated', 'static/taskcluster/root', 'migrate --undo', 3, 2],
        ['updated', 'static/taskcluster/root', 'migrate', 2, 4],
      ],
      'each grant has one entry in the history, however many processes start',
    );
  });

  test(`${backend}: new data are granted nothing`, async (t) => {
    const { database, store } = await open(t, await place(t));
    await store.clients.put(CLIENT);
    t.deepEqual(
      await grantAnonymousScopes(database, ['a'], { again: true, note: noteAnonymous('migrate') }),
      {
        ...{ before: 'decided', after: 'decided', added: [], removed: [] },
      },
    );
    t.is(await anonymousScopes(store), undefined);
  });
}

testWith('postgres')('tables are made once, however many processes start together', async (t) => {
  const { databaseUrl: url } = (await BACKENDS[1]?.place(t)) ?? {};
  const databases = await Promise.all(
    Array.from({ length: 8 }, () => openDatabase({ folder: 'unused', url })),
  );
  t.teardown(() => Promise.all(databases.map((database) => database.close())));
  const applied = await Promise.all(databases.map((database) => migrate(database)));
  t.deepEqual(
    applied.flat().sort(),
    MIGRATIONS.map(({ name }) => name),
  );
});

test('a database of a newer version, or of another program, is left alone', async (t) => {
  const { database } = await open(t, (await BACKENDS[0]?.place(t)) ?? { folder: '' });
  await t.throwsAsync(migrate(database, MIGRATIONS.slice(0, -1)), {
    name: 'MigrationError',
    message: /has been used by a newer version \(.*\): start that version, or restore a backup/,
  });
  const other = MIGRATIONS.map((migration) => ({ ...migration, name: `other-${migration.name}` }));
  await t.throwsAsync(migrate(database, other), { message: /tables of another program/ });
  const failing = { name: 'failing', up: 'CREATE TABLE half_made (); SELECT x FROM nowhere' };
  await t.throwsAsync(migrate(database, [...MIGRATIONS, failing]), { message: /nowhere/ });
  t.deepEqual(await migrate(database), []);
  const [row] = await database.query<{ half: null }>("SELECT to_regclass('half_made') AS half");
  t.is(row?.half, null);
});

test('a second process on a data folder is refused with the id of the first', async (t) => {
  const options = (await BACKENDS[0]?.place(t)) ?? { folder: '' };
  const storage = await open(t, options);
  await t.throwsAsync(openStorage(options), {
    name: 'DatabaseOpenError',
    message: new RegExp(`is in use by process ${process.pid}: stop that first, or keep`),
  });
  await storage.close();
  const lock = path.join(options.folder, 'database/lock');
  for (const abandoned of ['{"pid":4194304,"since":1}', `{"pid":1,"started":"0","since":1}`, '{']) {
    writeFileSync(lock, abandoned);
    await (await openStorage(options)).close();
    t.false(existsSync(lock));
  }
});

const NOT_SECONDS = /connect_timeout in a database URL is a number of seconds from 1 to 3600/;

const NOT_DATABASES = [
  ['postgres://127.0.0.1:1/x?connect_timeout=', NOT_SECONDS],
  ['postgres://127.0.0.1:1/x?connect_timeout=0', NOT_SECONDS],
  ['postgres://127.0.0.1:1/x?connect_timeout=10s', NOT_SECONDS],
  ['mysql://localhost/x', /a database URL is postgres:/],
  ['nonsense', /a database URL is postgres:/],
  [
    'postgres://u:pa55word@127.0.0.1:1/x',
    /postgres:\/\/127\.0\.0\.1:1\/x cannot be used: .*ECONNREFUSED/,
  ],
] as const;

for (const [url, message] of NOT_DATABASES) {
  test(`the database ${url} is refused with one sentence`, async (t) => {
    const error = await t.throwsAsync(openDatabase({ folder: 'unused', url }), { message });
    t.is(error?.name, 'DatabaseOpenError');
    t.notRegex(error?.message ?? '', /pa55word/);
  });
}

const NOT_KEYS = ['', ' \n', KEY, `a:${KEY},a:${KEY}`, `a:${KEY.slice(4)}`, `a b:${KEY}`, 'a:ü'];

for (const text of NOT_KEYS) {
  test(`the keys ${JSON.stringify(text.replaceAll(KEY, '<key>'))} are refused`, (t) => {
    const error = t.throws(() => KeyRing.parse(text), { message: /<id>:<base64 of 32 bytes>/ });
    t.is(error?.name, 'SealingError');
  });
}

test('keys: the first seals, every one opens, and the environment has precedence', async (t) => {
  const file = path.join(freshDirectory(t), 'keys');
  const [made, same] = await Promise.all([loadKeys(file, {}), loadKeys(file, {})]);
  t.is(same.open(made.seal('text', 'here'), 'here'), 'text');
  await addKey(file);
  const added = await addKey(file);
  t.regex(added.currentId, /^\d{4}-\d\d-\d\d-3$/);
  t.is(added.open(made.seal('text', 'here'), 'here'), 'text');
  t.is(statSync(file).mode & 0o777, 0o600);
  const older = KeyRing.parse(`one:${KEY}`).seal('text', 'here');
  const environment = { TASKCLUSTER_LOCAL_KEYS: `two:${randomBytes(32).toString('base64')}` };
  const two = await loadKeys(file, environment);
  t.is(two.currentId, 'two');
  t.throws(() => two.open(older, 'here'), { message: /^the key one is missing: add it to/ });
  const both = KeyRing.parse(`${environment.TASKCLUSTER_LOCAL_KEYS}\none:${KEY}\n`);
  t.is(both.open(older, 'here'), 'text');
  t.is(both.seal('text', 'here').keyId, 'two');
  t.throws(() => both.open({ ...older, keyId: 'two' }, 'here'), { name: 'SealingError' });
  t.throws(() => both.open(older, 'there'), { name: 'SealingError' });
});

testWith('postgres')(
  'a lost listening connection is made again, and its listeners are told',
  async (t) => {
    const { port } = await postgresql();
    const { database } = await open(t, (await BACKENDS[1]?.place(t)) ?? { folder: '' });
    const heard: (string | undefined)[] = [];
    await database.listen('things', (payload) => heard.push(payload));
    const name = new URL(database.location).pathname.slice(1);
    await runSql(
      port,
      `
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
    );
    await until(() => heard.length > 0, 'the word that it was lost');
    t.deepEqual(heard, [undefined]);
    await database.query("SELECT pg_notify('things', 'again')");
    await until(() => heard.length > 1, 'what is said on the new connection');
    t.deepEqual(heard, [undefined, 'again']);
  },
);

testWith('postgres')(
  'an idle connection to PostgreSQL is probed by keepalive within ten seconds',
  async (t) => {
    const sockets = '/proc/net/tcp';
    if (!existsSync(sockets)) {
      t.pass('only Linux tells');
      return;
    }
    const { database } = await open(t, (await BACKENDS[1]?.place(t)) ?? { folder: '' });
    await database.listen('things', () => undefined);
    /** The rest of the keepalive timer; another timer runs while data are under way. */
    const timerOf = (port: number) => {
      const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
      const line = readFileSync(sockets, 'utf8').match(new RegExp(`: ${local} .*`))?.[0] ?? '';
      return / 02:([0-9A-F]{8}) /.exec(line)?.[1];
    };
    let timers: (string | undefined)[] = [];
    // The pool replaces a connection that has been idle for long when it is used next.
    await until(async () => {
      const ports = await database.query<{ port: number }>(
        'SELECT client_port AS port FROM pg_stat_activity WHERE datname = current_database()',
      );
      timers = ports.map(({ port }) => timerOf(port));
      return timers.length === 2 && !timers.includes(undefined);
    }, 'the timers of keepalive');
    for (const timer of timers) {
      t.true(Number.parseInt(timer ?? '', 16) <= 1000, timer);
    }
  },
);

testWith('postgres')('a backup of either database restores into the other', async (t) => {
  const [pglite, server] = BACKENDS;
  const first = (await pglite?.place(t)) ?? { folder: '' };
  const second = (await server?.place(t)) ?? { folder: '' };
  const third = { folder: freshDirectory(t) };
  const storage = await open(t, first);
  const { store, objects } = storage;
  await store.clients.put({ ...CLIENT, clientId: 'static/taskcluster/root' });
  const secret = { name: 'n', secret: { z: ['\u0000\ud800\n"'], a: 1 }, expires: NEVER };
  await store.secrets.put(secret);
  for (let number = 0; number < 1001; number += 1) {
    await store.roles.put({ roleId: `r${number}`, scopes: ['a\\b', '{"c,'] });
  }
  const { file, size } = await objects.add(Readable.from([Buffer.alloc(300_000, 'artifact')]));
  const object = { name: 'o', file, size, contentType: 'text/plain' };
  await store.objects.put(object);
  const backup = path.join(first.folder, 'one.tar');
  const summary = await backUp(storage, backup);
  t.like(summary, { artifacts: 1 });
  t.true(summary.rows >= 1004);
  await t.throwsAsync(backUp(storage, backup), { message: /exists: name a file that does not/ });
  const roles = await store.roles.all();
  await storage.close();

  await t.throwsAsync(restore(second, backup), { message: /^there are no keys: copy those that/ });
  writeFileSync(path.join(second.folder, 'keys'), `${new Date().toJSON().slice(0, 10)}:${KEY}`);
  await t.throwsAsync(restore(second, backup), { name: 'SealingError' });
  for (const place of [second, third]) {
    copyFileSync(path.join(first.folder, 'keys'), path.join(place.folder, 'keys'));
  }
  t.deepEqual(await restore(second, backup), summary);
  const middle = await open(t, second);
  const again = path.join(first.folder, 'two.tar');
  t.deepEqual(await backUp(middle, again), summary);
  t.deepEqual(await restore(third, again), summary);
  const last = await open(t, third);
  t.deepEqual(await last.store.roles.all(), roles);
  t.deepEqual(await last.store.secrets.get('n'), secret);
  t.deepEqual(await last.store.objects.get('o'), object);
  t.is(readFileSync(path.join(last.objects.root, file), 'utf8').slice(0, 8), 'artifact');
  await last.close();
  await t.throwsAsync(restore(third, again), { message: /^the database has data: restore into/ });
  await t.throwsAsync(restore(third, path.join(first.folder, 'keys')), { message: /backup/ });
  await t.throwsAsync(restore(third, 'nowhere'), { message: /^the backup nowhere cannot be read/ });
});

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

function filesWith(folder: string, text: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => readFileSync(file).includes(text));
}
