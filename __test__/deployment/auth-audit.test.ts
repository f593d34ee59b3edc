// The history of changes to clients, roles and secrets, as the auth service shows it.
import taskcluster from 'taskcluster-client';
import { removeExpired } from '../../ts/deployment/queue/housekeeping.js';
import { openStorage } from '../../ts/deployment/storage/index.js';
import { authOf } from '../harness/auth.js';
import { onEveryBackend } from '../harness/backends.js';
import { authorization, deploymentFor, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { refusal } from '../harness/queue.js';

interface Entry {
  clientId: string;
  actionType: string;
  created: string;
  entityId: string;
  entityType: string;
}

const CALLER = { clientId: 'test/caller', accessToken: 'secret', scopes: ['*'] };

function wanted(fields: object = {}) {
  return { description: '', scopes: [], expires: taskcluster.fromNow('1 hour'), ...fields };
}

onEveryBackend(
  'the history lists each change of a client, a role or a secret, in order',
  async (t, place) => {
    const began = Date.now();
    const deployment = await deploymentFor(t, { ...place, clients: [CALLER] });
    const auth = authOf(deployment, { credentials: CALLER });
    const root = authOf(deployment);
    const secrets = new taskcluster.Secrets({ ...deployment, credentials: CALLER, retries: 0 });
    const historyOf = async (type: string, id: string, query: object = {}) => {
      const { auditHistory, ...page } = await root.getEntityHistory(type, id, query);
      const told = auditHistory as Entry[];
      for (const { entityType, entityId, clientId, created } of told) {
        t.deepEqual([entityType, entityId, clientId], [type, id, CALLER.clientId]);
        t.true(Date.parse(created) >= began && Date.parse(created) <= Date.now());
      }
      return { actions: told.map(({ actionType }) => actionType), ...page };
    };

    const client = wanted();
    await auth.createClient('a/b', client);
    await auth.createClient('a/b', client);
    await auth.updateClient('a/b', wanted({ description: 'x' }));
    await auth.disableClient('a/b');
    await auth.enableClient('a/b');
    await auth.resetAccessToken('a/b');
    t.is(await refusal(auth.createClient('a/b', wanted({ scopes: ['y'] }))), 'RequestConflict');
    t.is(await refusal(auth.enableClient('none')), 'ResourceNotFound');
    await auth.deleteClient('a/b');
    const ofClient = [
      ...[
        'created',
        'updated',
        'client disabled',
        'client enabled',
        'access token reset',
        'deleted',
      ],
    ];
    t.deepEqual(await historyOf('client', 'a/b'), { actions: ofClient });

    const first = await historyOf('client', 'a/b', { limit: 4 });
    t.deepEqual(first.actions, ofClient.slice(0, 4));
    const { continuationToken } = first as { continuationToken?: string };
    t.deepEqual(await historyOf('client', 'a/b', { limit: 4, continuationToken }), {
      actions: ofClient.slice(4),
    });
    t.is(await refusal(historyOf('client', 'a/b', { continuationToken: 'YQ' })), 'InputError');

    const role = { description: '', scopes: ['x'] };
    await auth.createRole('r:*', role);
    await auth.createRole('r:*', role);
    await auth.updateRole('r:*', { ...role, scopes: ['z'] });
    await auth.deleteRole('r:*');
    t.deepEqual(await historyOf('role', 'r:*'), { actions: ['created', 'updated', 'deleted'] });

    const secret = { secret: { a: 1 }, expires: taskcluster.fromNow('1 hour') };
    await secrets.set('s/%', secret);
    await secrets.set('s/%', secret);
    await secrets.remove('s/%');
    t.deepEqual(await historyOf('secret', 's/%'), { actions: ['created', 'updated', 'deleted'] });
    t.deepEqual(await historyOf('hook', 's'), { actions: [] });

    const { auditHistory } = await root.listAuditHistory(CALLER.clientId);
    t.is(auditHistory.length, ofClient.length + 6, 'what one client has done');
    t.deepEqual(await root.listAuditHistory('a/b'), { auditHistory: [] });
  },
);

onEveryBackend('each history has a scope of its own', async (t, place) => {
  const client = { ...CALLER, scopes: ['auth:audit-history:role', 'auth:client-audit-history:a'] };
  const deployment = await deploymentFor(t, { ...place, clients: [client] });
  const auth = authOf(deployment, { credentials: client });
  t.is(await refusal(auth.getEntityHistory('role', 'r')), 'none');
  t.is(await refusal(auth.getEntityHistory('client', 'r')), 'InsufficientScopes');
  t.is(await refusal(auth.listAuditHistory('a')), 'none');
  t.is(await refusal(auth.listAuditHistory('b')), 'InsufficientScopes');
  t.is(await refusal(authOf(deployment).getEntityHistory('task', 'r')), 'InvalidRequestArguments');
});

onEveryBackend('the history lists the expiry of a client or a secret, too', async (t, place) => {
  const data = { ...place, folder: freshDirectory(t) };
  if (place.databaseUrl === undefined) {
    t.pass('embedded data can be opened once');
    return;
  }
  const deployment = await deploymentFor(t, data);
  const auth = authOf(deployment);
  const expires = taskcluster.fromNow('-1 minute');
  await auth.createClient('gone', wanted({ expires, deleteOnExpiration: true }));
  const { rootUrl, credentials } = deployment;
  const secrets = new taskcluster.Secrets({ rootUrl, credentials });
  await secrets.set('gone', { expires, secret: {} });
  const storage = await openStorage({ ...data, database: undefined });
  t.teardown(() => storage.close());
  await removeExpired(storage.store, storage.objects);
  for (const [entityType, clientId] of [
    ['client', 'static/taskcluster/auth'],
    ['secret', 'static/taskcluster/secrets'],
  ] as const) {
    const { auditHistory } = await auth.getEntityHistory(entityType, 'gone');
    t.like(auditHistory[1], { actionType: 'expired', clientId });
  }
});

onEveryBackend(
  'a request for a GitHub token is answered 404 with the scopes for it, and 403 without',
  async (t, place) => {
    const client = {
      ...CALLER,
      scopes: ['auth:github-repo-token:app/mozilla/repo:contents:read'],
    };
    const deployment = await deploymentFor(t, { ...place, clients: [client] });
    const ask = (permissions: object, owner = 'Mozilla') => {
      const request = { method: 'POST', target: `/api/auth/v1/github/app/${owner}/repo-token` };
      return send(deployment, {
        ...request,
        headers: {
          'Content-Type': 'application/json',
          Authorization: authorization(deployment, { client, ...request }),
        },
        body: JSON.stringify({ permissions, repositories: ['Repo'] }),
      });
    };
    const { status, json } = await ask({ contents: 'read' });
    t.is(status, 404);
    t.is(json.code, 'ResourceNotFound');
    t.regex(json.message, /^Application with name `app` is not configured/);
    t.is((await ask({ contents: 'write' })).status, 403);
    t.is((await ask({ contents: 'read' }, 'other')).status, 403);
    t.is((await ask({ contents: 'all' })).status, 400);
  },
);
