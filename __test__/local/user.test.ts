// `taskcluster-local user`: an operator manages users, and no password is on a command line.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { type Deployment, startDeployment } from '../../ts/deployment/index.js';
import { authOf } from '../harness/auth.js';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { endsWith } from '../harness/child.js';
import { addDatabase } from '../harness/database.js';
import { DATABASE_PATIENCE_MS, within } from '../harness/deadline.js';
import { send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { LOCAL } from '../harness/local.js';

type Run = (
  args: string[],
  input?: string,
) => Promise<{ stdout: string; stderr: string; code: unknown }>;

/** Runs the command on data of this test's own. */
async function commandFor(t: ExecutionContext, { databaseUrl }: Place) {
  const folder = freshDirectory(t);
  if (databaseUrl === undefined) {
    await addDatabase(folder);
  }
  const env = {
    ...process.env,
    TASKCLUSTER_LOCAL_DATA_FOLDER: folder,
    ...(databaseUrl === undefined ? {} : { TASKCLUSTER_LOCAL_DATABASE_URL: databaseUrl }),
  };
  const run: Run = async (args, input = '') => {
    const child = spawn(process.execPath, [...LOCAL, ...args], { env });
    child.stdin.end(input);
    const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
    const [stdout, stderr, [code]] = await within(ended, args.join(' '), DATABASE_PATIENCE_MS);
    return { stdout, stderr, code };
  };
  return { run, env, where: { folder, databaseUrl, database: undefined } };
}

function signIn(deployment: Deployment, name: string, password: string) {
  const headers = { 'content-type': 'application/json' };
  const body = JSON.stringify({ name, password });
  return send(deployment, { method: 'POST', target: '/login/local', headers, body });
}

onEveryBackend(
  'users are added, granted scopes, listed, given passwords and removed',
  async (t, place) => {
    t.timeout(8 * DATABASE_PATIENCE_MS);
    const { run, where } = await commandFor(t, place);
    t.deepEqual(await run(['user', 'add', 'alice', '--role', 'team:a'], 'correct horse\nmore\n'), {
      stdout: 'Added alice, who is local/alice.\n',
      stderr: '',
      code: 0,
    });
    const scope = ['--scope', 'auth:list-roles', '--scope', 'queue:*'];
    const bob = await run(['user', 'add', 'bob', '--json', ...scope], 'battery staple');
    t.deepEqual(JSON.parse(bob.stdout), { name: 'bob', roles: [] });
    const history = await run(['history', '--role', 'login-identity:local/bob']);
    t.regex(
      history.stdout,
      /created by static\/taskcluster\/root from user add\n {2}\+ auth:list-roles/,
    );
    const granted = await run([
      'user',
      'grant',
      'alice',
      '--scope',
      'auth:list-roles',
      '--scope',
      'a:*',
    ]);
    t.deepEqual(granted, { stdout: 'Granted alice: auth:list-roles a:*\n', stderr: '', code: 0 });
    const more = await run([
      'user',
      'grant',
      'bob',
      '--json',
      '--scope',
      'queue:x',
      '--scope',
      'b:c',
    ]);
    t.deepEqual(JSON.parse(more.stdout), { name: 'bob', scopes: ['queue:x', 'b:c'] });
    t.regex(
      (await run(['history', '--role', 'login-identity:local/alice'])).stdout,
      /created by static\/taskcluster\/root from user grant\n {2}\+ auth:list-roles\n {2}\+ a:\*/,
    );
    const again = await run(['user', 'add', 'alice'], 'another one');
    t.deepEqual([again.stdout, again.code], ['', 1]);
    t.regex(
      again.stderr,
      /^taskcluster-local: there is a user alice already: choose another name, /,
    );
    t.is((await run(['user', 'list'])).stdout, 'alice  team:a\nbob\n');

    const isUser = async (name: string, password: string) => {
      const deployment = await startDeployment(where);
      const answer = await signIn(deployment, name, password);
      await deployment.stop();
      return answer.status === 204;
    };
    t.true(await isUser('alice', 'correct horse'));
    t.true(await isUser('bob', 'battery staple'));
    const deployment = await startDeployment(where);
    const scopesOf = async (name: string) =>
      (await authOf(deployment).role(`login-identity:local/${name}`)).scopes;
    t.deepEqual(await scopesOf('alice'), ['auth:list-roles', 'a:*']);
    t.deepEqual(
      await scopesOf('bob'),
      ['auth:list-roles', 'queue:*', 'b:c'],
      'without what it has',
    );
    await deployment.stop();
    const changed = await run(['user', 'set-password', 'alice', '--json'], 'stapled horse\r\n');
    t.deepEqual([JSON.parse(changed.stdout), changed.code], [{ name: 'alice' }, 0]);
    t.is((await run(['user', 'remove', 'bob'])).stdout, 'Removed bob.\n');
    const listed = await run(['user', 'list', '--json']);
    t.deepEqual(JSON.parse(listed.stdout), [{ name: 'alice', roles: ['team:a'] }]);
    t.false(await isUser('alice', 'correct horse'));
    t.true(await isUser('alice', 'stapled horse'));
    t.false(await isUser('bob', 'battery staple'));
  },
);

onEveryBackend(
  'an invalid user ends the command with a sentence, and changes nothing',
  async (t, place) => {
    t.timeout(8 * DATABASE_PATIENCE_MS);
    const { run } = await commandFor(t, place);
    const CASES: [args: string[], input: string, message: RegExp][] = [
      [['add', 'a/b'], 'correct horse', /the name of a user is of letters, digits and /],
      [['add', 'alice'], 'short', /the password of alice must have 8 to 1024 characters: choose/],
      [['add', 'alice'], '', /there is no password: write it into the standard input, on one line/],
      [['add', 'alice', '--role', 'é'], 'correct horse', /a role's id is of printable ASCII/],
      [['add', 'alice', '--scope', ''], 'correct horse', /'' is not a scope: write printable/],
      [
        ['add', 'alice', '--scope', 'assume:login-identity:local/alice'],
        'correct horse',
        /Roles may not contain dependency cycles/,
      ],
      [['set-password', 'alice'], 'correct horse', /there is no user alice: see the names with /],
      [['grant', 'alice', '--scope', 'a'], '', /there is no user alice: see the names with /],
      [['grant', 'alice', '--scope', 'a**'], '', /'a\*\*' is not a scope: write printable/],
      [
        ['remove', 'alice'],
        '',
        /there is no user alice: see the names with `taskcluster-local user/,
      ],
    ];
    for (const [args, input, message] of CASES) {
      const { stdout, stderr, code } = await run(['user', ...args], input);
      t.deepEqual([stdout, code], ['', 1], args.join(' '));
      t.regex(stderr, new RegExp(`^taskcluster-local: ${message.source}.*\\n$`));
    }
    t.is((await run(['user', 'list'])).stdout, '');
    t.is((await run(['user', 'list', '--json'])).stdout, '[]\n');
  },
);

test('the command refuses an invalid command line, and a password in one', async (t) => {
  const { run } = await commandFor(t, {});
  for (const args of [
    [],
    ['add'],
    ['add', 'a', 'secret'],
    ['add', 'a', '--password', 'x'],
    ['grant', 'a'],
    ['grant', 'a', 'b:c'],
    ['x'],
  ]) {
    t.is((await run(['user', ...args])).code, 64, args.join(' '));
  }
  t.regex((await run(['user', 'add', '--help'])).stdout, /first line of the standard input/);
});

test('on a terminal the password is asked for twice, and not shown', async (t) => {
  t.timeout(3 * DATABASE_PATIENCE_MS);
  if (!existsSync('/usr/bin/script')) {
    t.log('skipped: there is no script(1) here');
    t.pass();
    return;
  }
  const { run, env } = await commandFor(t, {});
  const onTerminal = async (answers: string[]) => {
    const words = [process.execPath, ...LOCAL].map((word) => `'${word}'`);
    const command = `${words.join(' ')} user add alice`;
    const child = spawn('/usr/bin/script', ['-qec', command, '/dev/null'], { env });
    endsWith(t, child);
    let shown = '';
    for await (const chunk of child.stdout) {
      shown += chunk;
      if (/(Password for alice|The same again): $/.test(shown)) {
        child.stdin.write(answers.shift() ?? '');
      }
    }
    return { shown, code: child.exitCode };
  };
  const different = await onTerminal(['correct horse\r', 'correct hearse\r']);
  t.regex(different.shown, /these are two different passwords: begin again/);
  // A user who pastes both at once types the second one before the command asks for it.
  const { shown } = await onTerminal(['correct horse\rcorrect horse\r']);
  t.regex(shown, /Added alice, who is local\/alice\./);
  t.notRegex(shown + different.shown, /horse/);
  t.is((await run(['user', 'list'])).stdout, 'alice\n');
});
