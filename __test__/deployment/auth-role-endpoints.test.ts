// Taskcluster's own JavaScript client creates, changes and deletes roles of the auth service.
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { authOf, errorOf } from '../harness/auth.js';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { PROMPT_MS, until } from '../harness/deadline.js';
import { deploymentFor, send, startedFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { postgresql } from '../harness/postgresql.js';
import { testWith } from '../harness/tools.js';

const description = 'test role';

async function start(t: ExecutionContext, place: Place) {
  const deployment = await deploymentFor(t, place);
  return { deployment, auth: authOf(deployment) };
}

onEveryBackend('a role is made, found, and expands at once', async (t, place) => {
  const { auth } = await start(t, place);
  const role = await auth.createRole('thing-id:x', { description, scopes: ['x', 'b', 'x*'] });
  t.like(role, {
    roleId: 'thing-id:x',
    description,
    scopes: ['b', 'x*', 'x'],
    expandedScopes: ['assume:thing-id:x', 'b', 'x*'],
    lastModified: role.created,
  });
  t.deepEqual(await auth.role('thing-id:x'), role);
  t.deepEqual(await auth.createRole('thing-id:x', { description, scopes: ['b', 'x*', 'x'] }), role);
  t.deepEqual((await auth.expandScopes({ scopes: ['assume:thing-id:*'] })).scopes, [
    'assume:thing-id:*',
    'b',
    'x*',
  ]);
  t.deepEqual(await errorOf(auth.createRole('thing-id:x', { description, scopes: ['other'] })), [
    'RequestConflict',
    409,
    "Role with roleId 'thing-id:x' already exists",
  ]);
});

onEveryBackend('a role id may have any printable letters', async (t, place) => {
  const { auth } = await start(t, place);
  const roleId = 'a/test ?test=1&%$';
  t.is((await auth.createRole(roleId, { description, scopes: [] })).roleId, roleId);
  t.is((await auth.role(roleId)).roleId, roleId);
});

onEveryBackend('invalid roles are refused and change nothing', async (t, place) => {
  const { auth } = await start(t, place);
  await auth.createRole('test*', { description, scopes: ['assume:other<..>x'] });
  for (const [roleId, scope, message] of [
    ['other*', 'assume:te<..>', /^Roles may not contain dependency cycles, found: 'assume:/],
    ['p*', '<..>:<..>', /^parameterized scope '<\.\.>:<\.\.>' contains multiple/],
    ['p', 'foo:***', /^scopes must not end with `\*\*`$/],
  ] as const) {
    const [code, status, said] = await errorOf(
      auth.createRole(roleId, { description, scopes: [scope] }),
    );
    t.deepEqual([code, status], ['InputError', 400], roleId);
    t.regex(said, message);
    t.is((await errorOf(auth.role(roleId)))[1], 404);
  }
  const update = auth.updateRole('test*', { description, scopes: ['assume:test<..>'] });
  t.is((await errorOf(update))[0], 'InputError');
  t.deepEqual((await auth.role('test*')).scopes, ['assume:other<..>x']);
});

onEveryBackend('two callers that create the same role at once both succeed', async (t, place) => {
  const { auth } = await start(t, place);
  const make = () => auth.createRole('double', { description, scopes: ['a'] });
  const [one, other] = await Promise.all([make(), make()]);
  t.deepEqual(one, other);
  t.deepEqual((await auth.listRoleIds()).roleIds, ['double']);
});

onEveryBackend(
  'of roles that are created at once, one that would close a cycle is refused',
  async (t, place) => {
    const { auth } = await start(t, place);
    const codes = await Promise.all(
      ['a', 'b', 'c'].map((roleId, each, all) =>
        errorOf(
          auth.createRole(roleId, { description, scopes: [`assume:${all[(each + 1) % 3]}`] }),
        ),
      ),
    );
    t.deepEqual(codes.map(([code]) => code).sort(), ['InputError', 'none', 'none']);
  },
);

onEveryBackend(
  'a caller adds only scopes of its own to a role, and may keep those that the role has',
  async (t, place) => {
    const { deployment, auth } = await start(t, place);
    await auth.createRole('sub', { description, scopes: ['sub-has:*'] });
    const narrow = authOf(deployment, {
      authorizedScopes: ['auth:update-role:*', 'caller-has:a', 'caller-has:b*'],
    });
    const CASES: [scopes: string[], code: string][] = [
      [['role-has:*', 'caller-has:a'], 'none'],
      [['caller-has:bxx'], 'none'],
      [['role-has:*'], 'none'],
      [['sub-has:xyz', 'assume:sub'], 'none'],
      [['role-has:x', 'role-has:y'], 'none'],
      [['not-granted'], 'InsufficientScopes'],
      [[], 'none'],
    ];
    for (const [scopes, code] of CASES) {
      await auth.deleteRole('role');
      await auth.createRole('role', { description, scopes: ['role-has:*', 'assume:sub'] });
      const before = await auth.role('role');
      t.is((await errorOf(narrow.updateRole('role', { description: 'other', scopes })))[0], code);
      const after = await auth.role('role');
      t.deepEqual(after.scopes, code === 'none' ? scopes : before.scopes);
      t.is(after.created, before.created);
      t.is(after.lastModified > before.lastModified, code === 'none');
    }
    t.deepEqual(await errorOf(narrow.updateRole('missing', { description, scopes: [] })), [
      'ResourceNotFound',
      404,
      "Role with roleId 'missing' not found",
    ]);
    const powerless = authOf(deployment, { authorizedScopes: [] });
    const hidden = powerless.updateRole('missing', { description, scopes: [] });
    t.is((await errorOf(hidden))[0], 'InsufficientScopes');
  },
);

onEveryBackend('roles are listed, whole and in pages', async (t, place) => {
  const { auth } = await start(t, place);
  const ids = ['a', 'b', 'c*', 'd'];
  for (const roleId of ids) {
    await auth.createRole(roleId, { description, scopes: [`of-${roleId.replace('*', '')}`] });
  }
  t.deepEqual(await auth.listRoleIds(), { roleIds: ids });
  const all = await auth.listRoles();
  t.deepEqual(
    all.map(({ roleId }: { roleId: string }) => roleId),
    ids,
  );
  t.deepEqual(await auth.listRoles2(), { roles: all });
  const first = await auth.listRoleIds({ limit: 3 });
  t.deepEqual(first.roleIds, ids.slice(0, 3));
  const { continuationToken } = first;
  t.deepEqual(await auth.listRoles2({ limit: 3, continuationToken }), { roles: all.slice(3) });
  for (const continuationToken of ['FOOBAR', '@@something##']) {
    t.deepEqual(await errorOf(auth.listRoleIds({ limit: 1, continuationToken })), [
      'InputError',
      400,
      'Invalid continuationToken',
    ]);
  }
});

onEveryBackend('a role is removed, and removing it again is no error', async (t, place) => {
  const { auth } = await start(t, place);
  await auth.createRole('gone', { description, scopes: ['a'] });
  await auth.deleteRole('gone');
  await auth.deleteRole('gone');
  t.deepEqual(await errorOf(auth.role('gone')), ['ResourceNotFound', 404, 'Role not found']);
  t.deepEqual((await auth.expandScopes({ scopes: ['assume:gone'] })).scopes, ['assume:gone']);
});

onEveryBackend(
  'a change of the role anonymous shows in every service within a second',
  async (t, place) => {
    const { deployment, auth } = await start(t, place);
    const target = '/api/secrets/v1/secret/x';
    /** When the last request began that still saw the old role, in milliseconds from now. */
    const lastStale = async (status: number) => {
      const start = Date.now();
      for (let stale = 0; ; ) {
        const begun = Date.now() - start;
        if (begun > 5000 || (await send(deployment, { target })).status === status) {
          return stale;
        }
        stale = begun;
      }
    };
    await lastStale(403);
    await auth.createRole('anonymous', { description, scopes: ['secrets:get:x'] });
    t.true((await lastStale(404)) < 1000);
    await auth.updateRole('anonymous', { description, scopes: [] });
    t.true((await lastStale(403)) < 1000);
    await auth.updateRole('anonymous', { description, scopes: ['secrets:*'] });
    t.true((await lastStale(404)) < 1000);
    await auth.deleteRole('anonymous');
    t.true((await lastStale(403)) < 1000);
  },
);

onEveryBackend('expandScopes does not add the anonymous scopes', async (t, place) => {
  const { deployment, auth } = await start(t, place);
  await auth.createRole('anonymous', { description, scopes: ['public', 'auth:current-scopes'] });
  t.deepEqual(await auth.expandScopes({ scopes: ['x'] }), { scopes: ['x'] });
  const temporary = taskcluster.createTemporaryCredentials({
    credentials: deployment.credentials,
    scopes: ['x', 'y'],
    start: new Date(Date.now() - 1000),
    expiry: taskcluster.fromNow('10 minutes'),
  });
  const restricted = authOf(deployment, { credentials: temporary, authorizedScopes: ['x'] });
  t.deepEqual(await restricted.currentScopes(), {
    scopes: ['assume:anonymous', 'auth:current-scopes', 'public', 'x'],
  });
});

testWith('postgres')('every process hears of a changed role at once', async (t) => {
  const databaseUrl = await (await postgresql()).createDatabase();
  const folder = freshDirectory(t);
  const one = await startedFor(t, { folder, databaseUrl });
  const other = await startedFor(t, { folder, databaseUrl });
  const expanded = async () =>
    (await authOf(other).expandScopes({ scopes: ['assume:r'] })).scopes as string[];
  t.deepEqual(await expanded(), ['assume:r']);
  await authOf(one).createRole('r', { description, scopes: ['x'] });
  await until(async () => (await expanded()).includes('x'), 'the role', PROMPT_MS);
  t.pass();
});
