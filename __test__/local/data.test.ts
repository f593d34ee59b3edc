// `taskcluster-local` with a data folder: stored data, the anonymous scopes of new data and of older
// data, and backups.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
} from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { MIGRATIONS, migrate } from '../../ts/deployment/storage/migrations/index.js';
import { openDatabase } from '../../ts/deployment/storage/open.js';
import { loadKeys } from '../../ts/deployment/storage/sealing.js';
import { sqlStore } from '../../ts/deployment/storage/sql/index.js';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { endsWith } from '../harness/child.js';
import { addBareDatabase, addDatabase } from '../harness/database.js';
import { DATABASE_PATIENCE_MS, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach, LOCAL, type Reach } from '../harness/local.js';
import { pathOf } from '../harness/tools.js';

async function run(...args: string[]) {
  const child = spawn(process.execPath, [...LOCAL, ...args]);
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
  const [stdout, stderr, [code]] = await within(
    ended,
    `the end of ${args[0]}`,
    DATABASE_PATIENCE_MS,
  );
  return { stdout, stderr, code };
}

interface Local extends Reach {
  readonly child: ChildProcessWithoutNullStreams;
}

async function start(t: ExecutionContext, ...args: string[]): Promise<Local> {
  const child = spawn(process.execPath, [...LOCAL, 'start', ...args]);
  endsWith(t, child);
  return { child, ...(await howToReach(child)) };
}

async function stop({ child }: Local, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  child.kill(signal);
  await within(once(child, 'exit'), 'its end');
}

async function dataFolder(t: ExecutionContext): Promise<string> {
  const folder = freshDirectory(t);
  await addDatabase(folder);
  return folder;
}

function status(local: Local, credentials: object): Promise<unknown> {
  const queue = new taskcluster.Queue({ rootUrl: local.rootUrl, credentials, retries: 0 });
  return queue.status(taskcluster.slugid()).catch(({ statusCode }) => statusCode);
}

test('a data folder keeps its data through kill -9, and a backup restores them', async (t) => {
  t.timeout(4 * DATABASE_PATIENCE_MS);
  const folder = await dataFolder(t);
  const first = await start(t, '--data-folder', folder);
  t.is(await status(first, {}), 403);
  const { rootUrl, credentials } = first;
  const secrets = new taskcluster.Secrets({ rootUrl, credentials, retries: 0 });
  const secret = { secret: { a: 'b' }, expires: '3000-01-01T00:00:00.000Z' };
  await secrets.set('name', secret);
  await stop(first, 'SIGKILL');

  const backup = path.join(folder, 'backup.tar');
  const made = await run('backup', backup, '--data-folder', folder);
  t.deepEqual([made.stderr, made.code], ['', 0]);
  t.regex(made.stdout, /^Backed up \d+ rows and 0 artifacts\.\n$/);
  const other = path.join(folder, 'other');
  const refused = await run('restore', backup, '--data-folder', other);
  t.deepEqual([refused.stdout, refused.code], ['', 1]);
  t.regex(refused.stderr, /^taskcluster-local: there are no keys: copy those .*\n$/);
  mkdirSync(other, { recursive: true });
  copyFileSync(path.join(folder, 'keys'), path.join(other, 'keys'));
  t.like(await run('restore', backup, '--data-folder', other), { stderr: '', code: 0 });

  const rotated = await run('rotate-keys', '--data-folder', other);
  t.regex(rotated.stdout, /^Sealed \d+ tokens and secrets again with the key [\d-]+-2\./);

  // Existing data stay private, with any options of the next start.
  const second = await start(t, '--data-folder', other, '--public');
  t.deepEqual(second.credentials, credentials);
  const again = new taskcluster.Secrets({ rootUrl: second.rootUrl, credentials, retries: 0 });
  t.deepEqual(await again.get('name'), secret);
  t.is(await status(second, {}), 403);
  const inUse = await run('backup', `${backup}.2`, '--data-folder', other);
  t.regex(inUse.stderr, /^taskcluster-local: the database in .* is in use by process \d+: stop/);
  t.false(existsSync(`${backup}.2`));
  await stop(second);
});

test('new data are public with --public, until the operator runs migrate --undo', async (t) => {
  t.timeout(5 * DATABASE_PATIENCE_MS);
  const flags = ['--data-folder', await dataFolder(t)];
  const local = await start(t, ...flags, '--public');
  t.is(await status(local, {}), 404);
  await stop(local);
  const refused = await run('start', ...flags, '--private');
  t.is(refused.code, 1);
  t.regex(
    refused.stderr,
    /^taskcluster-local: the data are public: every .* by `taskcluster-local migrate --undo`, or /,
  );
  const { stdout } = await run('migrate', ...flags, '--undo');
  t.regex(stdout, /^- queue:status:\*$/m);
  const closed = await start(t, ...flags, '--private');
  t.is(await status(closed, {}), 403);
  await stop(closed);
  const both = await run('start', '--public', '--private');
  t.is(both.code, 64);
  t.regex(both.stderr, /'--public' cannot be used with option '--private'/);
});

/** Data of a deployment from before there were anonymous scopes, and the flags that name them. */
async function olderData(t: ExecutionContext, { databaseUrl: url }: Place) {
  const folder = freshDirectory(t);
  if (url === undefined) {
    await addBareDatabase(folder);
  }
  const database = await openDatabase({ folder: path.join(folder, 'database'), url });
  const before = MIGRATIONS.findIndex(({ name }) => name.endsWith('anonymous-scopes'));
  await migrate(database, MIGRATIONS.slice(0, before));
  const client = { clientId: 'c', accessToken: 't', scopes: [], disabled: false };
  const store = sqlStore(database, await loadKeys(path.join(folder, 'keys')));
  await store.clients.put({ ...client, expires: new Date('3000-01-01') });
  await store.roles.put({ roleId: 'anonymous', scopes: ['own'] });
  await database.close();
  const flags = ['--data-folder', folder, ...(url === undefined ? [] : ['--database-url', url])];
  const names = MIGRATIONS.slice(before).map(({ name }) => name);
  return { folder, flags, migrations: names };
}

/** Every byte in a folder and, where there is one, everything in a PostgreSQL database. */
function everything(folder: string, { databaseUrl }: Place): Record<string, string> {
  const found: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const file = path.join(entry.parentPath, entry.name);
    const content = entry.isFile() ? readFileSync(file) : '';
    found[file] = createHash('sha256').update(content).digest('hex');
  }
  if (databaseUrl !== undefined) {
    const program = path.join(path.dirname(realpathSync(pathOf('postgres'))), 'pg_dump');
    const dump = execFileSync(program, [databaseUrl], { encoding: 'utf8' });
    // Newer versions of pg_dump put a random word around a dump.
    found[databaseUrl] = dump.replace(/^\\(?:un)?restrict .*$/gm, '');
  }
  return found;
}

onEveryBackend('a dry run says what a migration does, and changes nothing', async (t, place) => {
  t.timeout(5 * DATABASE_PATIENCE_MS);
  const { folder, flags, migrations } = await olderData(t, place);
  const before = everything(folder, place);
  const shown = JSON.parse((await run('migrate', ...flags, '--dry-run', '--json')).stdout);
  const undo = await run('migrate', ...flags, '--dry-run', '--undo');
  t.deepEqual([undo.code, undo.stderr], [0, '']);
  t.regex(undo.stdout, /older than anonymous scopes, and nothing has been granted\./);
  t.regex(undo.stdout, /\nNothing has been changed\.\n$/);
  t.deepEqual(everything(folder, place), before);

  const added = (await run('anonymous-role')).stdout.trim().split('\n');
  const expected = { before: 'predates', after: 'granted', added, removed: [], migrations };
  t.deepEqual(shown, { ...expected, dryRun: true });
  const done = JSON.parse((await run('migrate', ...flags, '--json')).stdout);
  t.deepEqual(done, { ...expected, dryRun: false });

  const after = everything(folder, place);
  const wouldUndo = await run('migrate', ...flags, '--dry-run', '--undo');
  t.deepEqual(everything(folder, place), after);
  const undone = await run('migrate', ...flags, '--undo');
  const removals = ({ stdout }: typeof undone) => stdout.match(/^- .*$/gm);
  t.deepEqual(removals(wouldUndo), removals(undone));
  t.is(removals(undone)?.length, added.length);
  t.deepEqual(JSON.parse((await run('migrate', ...flags, '--undo', '--json')).stdout).removed, []);
});

test('a dry run on a folder without data creates no data', async (t) => {
  t.timeout(2 * DATABASE_PATIENCE_MS);
  const folder = path.join(freshDirectory(t), 'none');
  const { stdout, code } = await run('migrate', '--data-folder', folder, '--dry-run', '--json');
  t.is(code, 0);
  const names = MIGRATIONS.map(({ name }) => name);
  t.like(JSON.parse(stdout), { before: 'decided', after: 'decided', migrations: names });
  t.false(existsSync(folder));
});

test('data that predate anonymous scopes are served publicly, until the operator runs migrate --undo', async (t) => {
  t.timeout(8 * DATABASE_PATIENCE_MS);
  const { flags } = await olderData(t, {});
  const refused = await run('start', ...flags, '--private');
  t.is(refused.code, 1);
  t.regex(
    refused.stderr,
    /^taskcluster-local: the data are older .* would keep auth:current-scopes, .*--keep-public\n$/,
  );
  const local = await start(t, ...flags);
  t.is(await status(local, {}), 404);
  const inUse = await run('migrate', ...flags, '--dry-run');
  t.regex(inUse.stderr, /^taskcluster-local: the database in .* is in use by process \d+: stop/);
  const said = text(local.child.stderr);
  await stop(local);
  t.regex(await said, / warning: the data are older .*: auth:current-scopes, /m);
  t.is((await run('start', ...flags, '--private')).code, 1);
  const kept = await start(t, ...flags, '--private', '--keep-public');
  t.is(await status(kept, {}), 404);
  await stop(kept);
  t.is((await run('migrate', ...flags, '--undo')).code, 0);
  const again = await start(t, ...flags, '--private');
  t.is(await status(again, {}), 403);
  await stop(again);
});

test('a folder without data ends the command with one sentence, and none are created', async (t) => {
  const folder = path.join(freshDirectory(t), 'mistyped');
  const flags = ['--data-folder', folder];
  const backup = path.join(freshDirectory(t), 'backup.tar');
  const commands = [['backup', backup], ['rotate-keys'], ['user', 'list'], ['user', 'remove', 'a']];
  for (const command of commands) {
    const { code, stderr } = await run(...command, ...flags);
    t.is(code, 1, command.join(' '));
    t.regex(stderr, /^taskcluster-local: there are no data in .*mistyped: name the folder that /);
  }
  t.false(existsSync(folder));
  t.false(existsSync(backup));
});

test('a command that needs --data-folder ends with one sentence without it', async (t) => {
  for (const command of [['migrate'], ['backup', 'x'], ['restore', 'x']]) {
    const { code, stderr } = await run(...command);
    t.is(code, 64);
    t.regex(stderr, /^error: required option '--data-folder <folder>' not specified\n$/);
  }
});
