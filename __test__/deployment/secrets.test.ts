// The secrets service of the local deployment, with the published JavaScript client.
import taskcluster from 'taskcluster-client';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { deploymentFor } from '../harness/deployment.js';
import { refusal } from '../harness/queue.js';

const SECRET = { password: 'x', nested: [1, { a: null }], text: '\u0000\u20ac\u{1f511}' };

async function secretsFor(
  t: Parameters<typeof deploymentFor>[0],
  place: Place,
  scopes: readonly string[] = ['*'],
) {
  const client = { clientId: 'test/secrets', accessToken: 'token', scopes };
  const { rootUrl } = await deploymentFor(t, { ...place, clients: [client] });
  return new taskcluster.Secrets({ rootUrl, credentials: client, retries: 0 });
}

onEveryBackend('a secret is set, read, replaced and removed, and expires', async (t, place) => {
  const secrets = await secretsFor(t, place);
  const expires = taskcluster.fromNow('1 hour');
  await secrets.set('a/b%2F c', { secret: SECRET, expires });
  t.deepEqual(await secrets.get('a/b%2F c'), { secret: SECRET, expires: expires.toJSON() });
  await secrets.set('a/b%2F c', { secret: {}, expires });
  t.deepEqual((await secrets.get('a/b%2F c')).secret, {});
  await secrets.remove('a/b%2F c');
  await secrets.remove('a/b%2F c');
  t.is(await refusal(secrets.get('a/b%2F c')), 'ResourceNotFound');
  await secrets.set('old', { secret: SECRET, expires: taskcluster.fromNow('-1 hour') });
  t.is(await refusal(secrets.get('old')), 'ResourceNotFound');
  t.deepEqual((await secrets.list()).secrets, []);
});

onEveryBackend('the names of secrets come in pages', async (t, place) => {
  const secrets = await secretsFor(t, place);
  const names = ['B', 'a', 'a/b', '\u007e', 'z'].sort();
  for (const name of names) {
    await secrets.set(name, { secret: SECRET, expires: taskcluster.fromNow('1 hour') });
  }
  const listed: string[] = [];
  for (let continuationToken: string | undefined = ''; continuationToken !== undefined; ) {
    const query: object = { limit: 2, ...(continuationToken ? { continuationToken } : {}) };
    const page = await secrets.list(query);
    listed.push(...page.secrets);
    continuationToken = page.continuationToken;
  }
  t.deepEqual(listed, names);
});

onEveryBackend(
  'each name and each deed needs its scope, and a refusal does not repeat the secret',
  async (t, place) => {
    const secrets = await secretsFor(t, place, ['secrets:get:mine/*', 'secrets:set:mine/*']);
    const body = { secret: { password: 'hunter2' }, expires: taskcluster.fromNow('1 hour') };
    await secrets.set('mine/a', body);
    t.deepEqual((await secrets.get('mine/a')).secret, body.secret);
    const refused = [
      () => secrets.set('other', body),
      () => secrets.get('other'),
      () => secrets.remove('other'),
      () => secrets.list(),
    ];
    for (const call of refused) {
      const error = await t.throwsAsync<Error & { code: string; body: object }>(call());
      t.is(error.code, 'InsufficientScopes');
      t.notRegex(JSON.stringify(error.body), /hunter2/);
    }
    const malformed = { ...body, expires: 'soon' } as never;
    const error = await t.throwsAsync<Error & { body: object }>(secrets.set('mine/a', malformed));
    t.regex(JSON.stringify(error.body), /InputValidationError/);
    t.notRegex(JSON.stringify(error.body), /hunter2/);
  },
);
