// `taskcluster-local history`: the changes of roles, clients and secrets, their authors, and their effects.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import test from 'ava';
import taskcluster from 'taskcluster-client';
import { openStorage } from '../../ts/deployment/storage/index.js';
import type { AuditRecord } from '../../ts/deployment/storage/store.js';
import { authOf } from '../harness/auth.js';
import { onEveryBackend } from '../harness/backends.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { refusal } from '../harness/queue.js';

const COMMAND = path.resolve(import.meta.dirname, '../../dist/cli/taskcluster-local.js');

/** Effects as `<direction> <endpoint> <before> <after>`. */
function effects({ grants }: AuditRecord) {
  const texts = (list: NonNullable<typeof grants>['anonymous'] = []) =>
    list.map(({ direction, endpoint, before, after }) =>
      [direction, endpoint, before, after].join(' '),
    );
  return { anonymous: texts(grants?.anonymous), holder: texts(grants?.holder) };
}

onEveryBackend(
  'the history keeps each change with the endpoints that it opened and closed',
  async (t, place) => {
    const folder = freshDirectory(t);
    const deployment = await deploymentFor(t, {
      ...place,
      folder,
      anonymousScopes: ['secrets:get:a'],
    });
    const auth = authOf(deployment);
    const role = (scopes: string[]) => ({ description: '', scopes });
    await auth.createRole('reader', role(['secrets:list-secrets']));
    await auth.updateRole('anonymous', role(['assume:reader']));
    await auth.updateRole('reader', role(['auth:list-clients']));
    await auth.updateRole('reader', { description: 'x', scopes: ['auth:list-clients'] });
    t.is(await refusal(auth.updateRole('reader', role(['assume:anonymous']))), 'InputError');
    const expires = taskcluster.fromNow('1 hour');
    // By now the deployment has to ask its database for the version of roles: not within a transaction.
    await setTimeout(600);
    await auth.createClient('a/b', { ...role(['assume:reader', 'secrets:get:b']), expires });
    await auth.disableClient('a/b');
    await auth.deleteRole('reader');
    const secrets = new taskcluster.Secrets({ ...deployment, retries: 0 });
    await secrets.set('b', { secret: {}, expires });

    if (place.databaseUrl === undefined) {
      t.pass('embedded data can be opened once; the command asks them below');
      return;
    }
    const storage = await openStorage({ ...place, folder, database: undefined });
    t.teardown(() => storage.close());
    const records = [...(await storage.store.audit.latest({}, 100))].reverse();
    t.deepEqual(
      records.map(({ entityId, actionType, address }) => [entityId, actionType, address]),
      [
        ['anonymous', 'created', 'start'],
        ['reader', 'created', '127.0.0.1'],
        ['anonymous', 'updated', '127.0.0.1'],
        ['reader', 'updated', '127.0.0.1'],
        ['reader', 'updated', '127.0.0.1'],
        ['a/b', 'created', '127.0.0.1'],
        ['a/b', 'client disabled', '127.0.0.1'],
        ['reader', 'deleted', '127.0.0.1'],
        ['b', 'created', '127.0.0.1'],
      ],
      'and nothing of what was refused',
    );
    const [started, made, opened, moved, described, client, disabled, deleted, secret] = records;
    t.deepEqual(effects(started as AuditRecord).anonymous, ['opens get never sometimes']);
    t.deepEqual(effects(made as AuditRecord), {
      anonymous: [],
      holder: ['opens list never always'],
    });
    t.deepEqual(
      effects(opened as AuditRecord).anonymous,
      ['opens list never always', 'closes get sometimes never'].reverse(),
    );
    const change = ['opens listClients never always', 'closes list always never'];
    t.deepEqual(effects(moved as AuditRecord), { anonymous: change, holder: change });
    t.is(described?.grants, undefined, 'nothing is granted by a description');
    t.deepEqual(effects(client as AuditRecord).holder, ['opens get never sometimes']);
    t.deepEqual(client?.grants?.after, ['assume:reader', 'secrets:get:b']);
    t.deepEqual(effects(disabled as AuditRecord).holder, ['closes get sometimes never']);
    t.is(disabled?.grants?.after, null);
    t.deepEqual(effects(deleted as AuditRecord).anonymous, ['closes listClients always never']);
    t.is(secret?.grants, undefined);
    const { auditHistory } = await auth.getEntityHistory('role', 'reader');
    t.deepEqual(
      Object.keys(auditHistory[0]).sort(),
      ['actionType', 'clientId', 'created', 'entityId', 'entityType'],
      'the API tells what that of Taskcluster tells',
    );
  },
);

test('the command shows the history beside a running deployment', async (t) => {
  const folder = freshDirectory(t);
  const deployment = await deploymentFor(t, { folder, database: undefined });
  const auth = authOf(deployment);
  await auth.createRole('anonymous', { description: '', scopes: ['secrets:get:b', 'x'] });
  const expires = taskcluster.fromNow('1 hour');
  await auth.createClient('a/b', { expires, description: '', scopes: ['queue:*'] });
  const secrets = new taskcluster.Secrets({ ...deployment, retries: 0 });
  await secrets.set('b', { secret: {}, expires });
  const history = async (...args: string[]) => {
    const { PATH = '' } = process.env;
    const command = [COMMAND, 'history', '--data-folder', folder, ...args];
    return promisify(execFile)(process.execPath, command, { env: { PATH } })
      .then(({ stdout }) => ({ stdout, stderr: '', code: 0 }))
      .catch((error: { stdout: string; stderr: string; code: number }) => error);
  };
  const by = `by static/taskcluster/root from 127\\.0\\.0\\.1\\n`;
  const roleLines = `\\S+Z role anonymous: created ${by}  \\+ secrets:get:b\\n  \\+ x\\n  opens secrets\\.get to every caller: no, now for some\\n`;
  t.regex((await history('--role', 'anonymous')).stdout, new RegExp(`^${roleLines}`));
  const secret = await history('--secret', 'b');
  t.regex(secret.stdout, new RegExp(`^\\S+Z secret b: created ${by}${roleLines}`));
  t.notRegex(secret.stdout, /a\/b/);
  const all = JSON.parse((await history('--json', '--limit', '2')).stdout);
  t.deepEqual(
    all.map(({ entityId }: AuditRecord) => entityId),
    ['b', 'a/b'],
    'the latest first',
  );
  t.is((await history('--by', 'none')).stdout, 'nothing has been changed\n');
  t.is((await history('--since', '2999-01-01')).stdout, 'nothing has been changed\n');
  for (const [args, sentence] of [
    [['--role', ''], /'--role <roleId>'.* It is empty/],
    [['--since', 'monday'], /Write a time as 2030-01-31/],
  ] as const) {
    const { code, stderr } = await history(...args);
    t.is(code, 64);
    t.regex(stderr, sentence);
  }
});
