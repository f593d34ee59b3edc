// The queue of the local deployment: tasks, claims with temporary credentials, and artifacts, with the
// published, unmodified JavaScript client.
import { readdirSync } from 'node:fs';
import { request } from 'node:http';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import anyTest, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { onEveryBackend, onEveryStore, type Place } from '../harness/backends.js';
import { pause, STILL_MS, until, within } from '../harness/deadline.js';
import { authorization, deploymentFor, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { keysIn } from '../harness/object-store.js';
import { definition, QUEUE, queueOf, refusal, WORKER } from '../harness/queue.js';

/** A deployment with one claimed task, and clients for its worker, its creator and an operator. */
async function claimed(t: ExecutionContext, place: Place, scopes: string[] = []) {
  const folder = freshDirectory(t);
  const deployment = await deploymentFor(t, { ...place, folder });
  const root = queueOf(deployment, deployment.credentials);
  const taskId = taskcluster.slugid();
  await root.createTask(taskId, definition({ scopes }));
  const [claim] = (await root.claimWork(QUEUE, { ...WORKER, tasks: 1 })).tasks;
  const task = queueOf(deployment, claim.credentials);
  const objects = path.join(folder, 'artifacts', 'objects');
  const files = async () => [
    ...readdirSync(objects),
    ...readdirSync(path.join(folder, 'artifacts', 'incoming')),
    ...(place.objectStore === undefined ? [] : await keysIn(place.objectStore)),
  ];
  return { deployment, root, task, taskId, claim, files };
}

function s3(contentType = 'text/plain') {
  return { storageType: 's3', contentType, expires: taskcluster.fromNow('30 minutes') };
}

onEveryBackend('a task is created, claimed, reclaimed and completed', async (t, place) => {
  const { deployment, root, task, taskId, claim } = await claimed(t, place, ['queue:get-task:*']);
  t.like(claim, { runId: 0, ...WORKER, status: { state: 'running', taskId, retriesLeft: 5 } });
  t.is(claim.task.taskGroupId, taskId);
  t.is(claim.task.provisionerId, 'demo');
  const { credentials } = claim;
  t.regex(credentials.clientId, new RegExp(`^task-client/${taskId}/0/on/group/worker/until/\\d+$`));
  t.deepEqual(JSON.parse(credentials.certificate).scopes, [
    `queue:reclaim-task:${taskId}/0`,
    `queue:resolve-task:${taskId}/0`,
    `queue:create-artifact:${taskId}/0`,
    'queue:get-task:*',
  ]);
  t.deepEqual((await task.task(taskId)).scopes, ['queue:get-task:*']);
  t.is(await refusal(task.status(taskId)), 'InsufficientScopes');

  const again = await task.reclaimTask(taskId, 0);
  t.true(again.takenUntil >= claim.takenUntil);
  t.not(again.credentials.accessToken, credentials.accessToken);
  const renewed = queueOf(deployment, again.credentials);
  t.is((await renewed.reportCompleted(taskId, 0)).status.state, 'completed');
  t.is((await renewed.reportCompleted(taskId, 0)).status.state, 'completed');
  t.is(await refusal(renewed.reportFailed(taskId, 0)), 'RequestConflict');
  t.is(await refusal(renewed.reclaimTask(taskId, 0)), 'RequestConflict');
  t.is(await refusal(renewed.createArtifact(taskId, 0, 'late', s3())), 'RequestConflict');
  t.like((await root.status(taskId)).status.runs[0], {
    state: 'completed',
    reasonResolved: 'completed',
    reasonCreated: 'scheduled',
  });
});

onEveryBackend(
  'creating a task again changes nothing; another under its id is a conflict',
  async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const queue = queueOf(deployment, deployment.credentials);
    const taskId = taskcluster.slugid();
    const task = definition();
    const created = await queue.createTask(taskId, task);
    t.deepEqual(await queue.createTask(taskId, task), created);
    t.is(await refusal(queue.createTask(taskId, { ...task, priority: 'low' })), 'RequestConflict');
  },
);

const BAD_TASKS: Record<string, object> = {
  'no queue': { taskQueueId: undefined },
  'two queues': { provisionerId: 'a', workerType: 'b' },
  'a creation long ago': { created: taskcluster.fromNow('-1 hour') },
  'a creation in the future': { created: taskcluster.fromNow('20 minutes') },
  'a deadline before its creation': { deadline: taskcluster.fromNow('-1 hour') },
  'a deadline too far away': { deadline: taskcluster.fromNow('6 days') },
  'an expiry before its deadline': { expires: taskcluster.fromNow('1 minute') },
  'a scope that ends in **': { scopes: ['a**'] },
  'a dependency that does not exist': { dependencies: [taskcluster.slugid()] },
};

for (const [what, fields] of Object.entries(BAD_TASKS)) {
  onEveryBackend(`a task with ${what} is refused`, async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const queue = queueOf(deployment, deployment.credentials);
    const created = queue.createTask(taskcluster.slugid(), definition(fields));
    t.is(await refusal(created), 'InputError');
  });
}

onEveryBackend(
  'a caller creates a task only with scopes, routes and a priority that it has',
  async (t, place) => {
    const client = {
      clientId: 'test/creator',
      accessToken: 'secret',
      scopes: [
        'a',
        'queue:create-task:project:none',
        'queue:scheduler-id:-',
        'queue:create-task:low:demo/local',
      ],
    };
    const deployment = await deploymentFor(t, { ...place, clients: [client] });
    const queue = queueOf(deployment, client);
    const create = (fields: object) => queue.createTask(taskcluster.slugid(), definition(fields));
    t.is(await refusal(create({ scopes: ['a'], priority: 'low' })), 'none');
    t.is(await refusal(create({ scopes: ['a'], priority: 'lowest' })), 'none');
    for (const fields of [
      { scopes: ['b'] },
      { routes: ['r'] },
      { priority: 'medium' },
      { projectId: 'p' },
      { taskQueueId: 'demo/other' },
    ]) {
      t.is(await refusal(create(fields)), 'InsufficientScopes', JSON.stringify(fields));
    }
  },
);

onEveryBackend(
  'claimWork waits for a task, serves priorities first and each run once',
  async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const queue = queueOf(deployment, deployment.credentials);
    const waiting = queue.claimWork(QUEUE, { ...WORKER, tasks: 1 });
    await pause(STILL_MS);
    const first = taskcluster.slugid();
    await queue.createTask(first, definition());
    t.is((await within(waiting, 'the task')).tasks[0].status.taskId, first);

    const [low, high] = [taskcluster.slugid(), taskcluster.slugid()];
    await queue.createTask(low, definition({ priority: 'low' }));
    await queue.createTask(high, definition({ priority: 'high' }));
    const { tasks } = await queue.claimWork(QUEUE, { ...WORKER, tasks: 5 });
    t.deepEqual(
      tasks.map((claim: { status: { taskId: string } }) => claim.status.taskId),
      [high, low],
    );
    const other = { workerGroup: 'group', workerId: 'other' };
    t.is(await refusal(queue.claimTask(high, 0, other)), 'RequestConflict');
    t.is(await refusal(queue.claimTask(high, 0, WORKER)), 'RequestConflict', 'claimed as work');
    t.is(await refusal(queue.claimTask(high, 1, WORKER)), 'ResourceNotFound');
    const third = taskcluster.slugid();
    await queue.createTask(third, definition());
    t.is((await queue.claimTask(third, 0, WORKER)).status.taskId, third);
    t.is(
      (await queue.claimTask(third, 0, WORKER)).status.taskId,
      third,
      'again by the same worker',
    );
    t.is(await refusal(queue.claimTask(third, 0, other)), 'RequestConflict');
  },
);

onEveryStore(
  'an artifact is uploaded to a signed URL and downloaded by a redirect',
  async (t, place) => {
    const { deployment, task, taskId } = await claimed(t, place, ['queue:get-artifact:public/*']);
    const name = 'public/a b/%//+.txt';
    const body = 'hello, artifact';
    const { putUrl, contentType } = await task.createArtifact(taskId, 0, name, s3());
    const put = await fetch(putUrl, {
      method: 'PUT',
      body,
      headers: { 'Content-Type': contentType },
    });
    t.is(put.status, 200);
    const client = (await task.reclaimTask(taskId, 0)).credentials;
    const target = `/api/queue/v1/task/${taskId}/runs/0/artifacts/${encodeURIComponent(name)}`;
    const found = await send(deployment, {
      target,
      headers: { Authorization: authorization(deployment, { client, target }) },
    });
    t.is(found.status, 303);
    t.is(found.headers['x-taskcluster-artifact-storage-type'], 's3');
    t.deepEqual(found.json, { storageType: 's3', url: found.headers.location });

    const url = found.json.url;
    const whole = await fetch(url);
    t.is(await whole.text(), body);
    t.is(whole.headers.get('content-type'), 'text/plain');
    t.is(whole.headers.get('etag'), put.headers.get('etag'));
    if (place.objectStore === undefined) {
      const policy = whole.headers.get('content-security-policy') ?? '';
      t.regex(policy, /^sandbox (?!.*allow-same-origin)/);
    } else {
      t.not(new URL(url).origin, deployment.rootUrl, 'no byte passes through the deployment');
      t.not(new URL(putUrl).origin, deployment.rootUrl);
    }
    const etag = whole.headers.get('etag') ?? '';
    const ranges: (readonly [Record<string, string>, number, string])[] = [
      [{ Range: 'bytes=7-' }, 206, 'artifact'],
      [{ Range: 'bytes=-3' }, 206, 'act'],
      [{ Range: 'bytes=0-4', 'If-Range': etag }, 206, 'hello'],
      // Versity's gateway knows no If-Range.
      ...(place.objectStore === undefined
        ? ([[{ Range: 'bytes=0-4', 'If-Range': '"another"' }, 200, body]] as const)
        : []),
    ];
    for (const [headers, status, text] of ranges) {
      const answer = await fetch(url, { headers });
      t.is(answer.status, status, JSON.stringify(headers));
      t.is(await answer.text(), text);
    }
    t.is((await fetch(url, { headers: { Range: 'bytes=99-' } })).status, 416);
    const known = {
      target: url.slice(new URL(url).origin.length),
      headers: { 'If-None-Match': etag },
    };
    t.is((await send({ rootUrl: new URL(url).origin }, known)).status, 304);
    if (place.objectStore === undefined) {
      // A bucket's URL is signed for its method, as Taskcluster's own are.
      const head = await fetch(url, { method: 'HEAD' });
      t.is(head.headers.get('content-length'), String(body.length));
    }
    t.deepEqual((await task.getLatestArtifact(taskId, name)).storageType, 's3');

    const downloaded = new PassThrough();
    const streamFactory = async () => downloaded;
    const options = { taskId, name, queue: task, streamFactory };
    const [type, content] = await Promise.all([
      taskcluster.downloadArtifact(options),
      text(downloaded),
    ]);
    t.deepEqual([type, content], ['text/plain', body], "by the client's own download");
    const signed = task.buildSignedUrl(task.getLatestArtifact, taskId, name);
    t.is(await (await fetch(signed)).text(), body, 'by a bewit');
  },
);

onEveryStore(
  'an upload keeps its Content-Encoding, and replaces the one before',
  async (t, place) => {
    const { task, taskId, files } = await claimed(t, place, ['queue:get-artifact:*']);
    const { putUrl } = await task.createArtifact(taskId, 0, 'log', s3());
    const headers = { 'Content-Type': 'text/plain', 'Content-Encoding': 'gzip' };
    for (const text of ['first', 'second']) {
      const put = await fetch(putUrl, { method: 'PUT', body: gzipSync(text), headers });
      t.is(put.status, 200);
    }
    const { url } = await task.getArtifact(taskId, 0, 'log');
    const answer = await fetch(url);
    t.is(answer.headers.get('content-encoding'), 'gzip');
    t.is(await answer.text(), 'second');
    t.is((await files()).length, 1);
  },
);

/** Without a signature. */
const HAWK = { Authorization: 'Hawk id="x", ts="1", nonce="n", mac="x"' };

onEveryStore('a signed URL is good for its own request alone', async (t, place) => {
  const { deployment, task, taskId, files } = await claimed(t, place, ['queue:get-artifact:*']);
  const { putUrl } = await task.createArtifact(taskId, 0, 'a', s3());
  const put = (url: string, headers: Record<string, string>, body = 'x') =>
    fetch(url, { method: 'PUT', body, headers });
  const plain = { 'Content-Type': 'text/plain' };
  const isFolder = place.objectStore === undefined;
  const refused: (readonly [string, Record<string, string>, number])[] = [
    [putUrl, { 'Content-Type': 'text/html' }, 403],
    [putUrl.replace(/(%2F|\/)a\?/, '$1b?'), plain, 403],
    [
      putUrl.replace(/xpires=(\d+)/, (_: string, ts: string) => `xpires=${Number(ts) + 1}`),
      plain,
      403,
    ],
    [putUrl.replace(/&(X-Amz-S|s)ignature=[^&]*/, ''), plain, isFolder ? 403 : 400],
    ...(isFolder ? [[putUrl, { ...plain, ...HAWK }, 401] as const] : []),
  ];
  for (const [url, headers, status] of refused) {
    const answer = await put(url, headers);
    t.is(answer.status, status, url);
    t.regex(await answer.text(), isFolder ? /"message": "./ : /<Code>/);
  }
  t.is((await fetch(putUrl)).status, 403);
  t.deepEqual(await files(), []);
  if (!isFolder) {
    t.is((await put(putUrl, plain)).status, 200);
    return;
  }

  const { pathname, search } = new URL(putUrl);
  const target = pathname + search;
  const client = deployment.credentials;
  const Authorization = authorization(deployment, { client, target, method: 'PUT' });
  t.is((await put(putUrl, { ...plain, Authorization })).status, 200);
});

onEveryStore('an upload that breaks off leaves nothing', async (t, place) => {
  const { task, taskId, files } = await claimed(t, place, ['queue:get-artifact:*']);
  const { putUrl } = await task.createArtifact(taskId, 0, 'a', s3());
  const upload = request(putUrl, {
    method: 'PUT',
    headers: { 'Content-Type': 'text/plain', 'Content-Length': 100_000 },
  });
  upload.on('error', () => undefined);
  upload.write(Buffer.alloc(50_000));
  if (place.objectStore === undefined) {
    await until(async () => (await files()).length === 1, 'the unfinished file');
  }
  upload.destroy();
  await until(async () => (await files()).length === 0, 'its removal');
  const { url } = await task.getArtifact(taskId, 0, 'a');
  t.is((await fetch(url)).status, 404);
});

onEveryStore('an artifact may be a reference, a link or an error', async (t, place) => {
  const { deployment, task, taskId } = await claimed(t, place, ['queue:get-artifact:public/*']);
  const expires = taskcluster.fromNow('30 minutes');
  const create = (name: string, artifact: object) =>
    task.createArtifact(taskId, 0, name, { expires, ...artifact });
  const url = 'https://example.com/elsewhere';
  const reference = { storageType: 'reference', contentType: 'text/plain', url };
  await create('public/reference', reference);
  await create('private/reference', reference);
  await create('public/link', { storageType: 'link', artifact: 'public/reference' });
  await create('public/to-private', { storageType: 'link', artifact: 'private/reference' });
  await create('public/a', { storageType: 'link', artifact: 'public/b' });
  await create('public/b', { storageType: 'link', artifact: 'public/a' });
  const error = { reason: 'file-missing-on-worker', message: 'no such file' };
  await create('public/error', { storageType: 'error', ...error });

  t.is((await task.getArtifact(taskId, 0, 'public/link')).url, url);
  t.is(await refusal(task.getArtifact(taskId, 0, 'public/to-private')), 'InsufficientScopes');
  t.is(await refusal(task.getArtifact(taskId, 0, 'public/a')), 'InputError');
  t.is(await refusal(task.getArtifact(taskId, 0, 'public/none')), 'ResourceNotFound');
  const target = `/api/queue/v1/task/${taskId}/artifacts/public/error`;
  const client = deployment.credentials;
  const headers = { Authorization: authorization(deployment, { client, target }) };
  const failed = await send(deployment, { target, headers });
  t.is(failed.status, 424);
  t.deepEqual(failed.json, error);

  const uploadId = taskcluster.slugid();
  const finish = (name: string) => task.finishArtifact(taskId, 0, name, { uploadId });
  t.is(await refusal(finish('public/reference')), 'InputError');
  t.is(await refusal(finish('public/none')), 'ResourceNotFound');
  const object = { storageType: 'object', contentType: 'text/plain' };
  t.is(await refusal(create('public/object', object)), 'InputError');

  const other = { ...reference, url: `${url}/2` };
  t.is(await refusal(create('public/reference', other)), 'none');
  t.is(await refusal(create('public/error', other)), 'RequestConflict');
  t.is(
    await refusal(create('public/reference', { ...other, contentType: 'x/y' })),
    'RequestConflict',
  );
});

onEveryStore('a client lists artifacts page by page', async (t, place) => {
  const { root, task, taskId } = await claimed(t, place);
  const names = ['a', 'b/%', 'c', 'd'];
  for (const name of names) {
    await task.createArtifact(taskId, 0, name, { ...s3(), contentLength: 5 });
  }
  const listed: string[] = [];
  for (let continuationToken: string | undefined = ''; continuationToken !== undefined; ) {
    const query: object = { limit: 3, ...(continuationToken ? { continuationToken } : {}) };
    const page = await root.listArtifacts(taskId, 0, query);
    listed.push(...page.artifacts.map(({ name }: { name: string }) => name));
    t.like(page.artifacts[0], { storageType: 's3', contentType: 'text/plain', contentLength: 5 });
    continuationToken = page.continuationToken;
  }
  t.deepEqual(listed, names);
  t.is((await root.listLatestArtifacts(taskId)).artifacts.length, 4);
  t.is(await refusal(root.listArtifacts(taskId, 7)), 'ResourceNotFound');
});

onEveryBackend(
  'the published client calls with a signature, narrowed, by bewit, and without credentials',
  async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const { rootUrl, credentials } = deployment;
    const auth = new taskcluster.Auth({ rootUrl, credentials, retries: 0 });
    t.deepEqual(await auth.currentScopes(), { scopes: ['*'] });
    const authorizedScopes = ['auth:current-scopes'];
    const narrowed = new taskcluster.Auth({ rootUrl, credentials, authorizedScopes, retries: 0 });
    t.deepEqual(await narrowed.currentScopes(), {
      scopes: ['assume:anonymous', 'auth:current-scopes'],
    });
    const temporary = taskcluster.createTemporaryCredentials({
      credentials,
      clientId: 'test/named',
      scopes: ['auth:*'],
      start: taskcluster.fromNow('-1 minute'),
      expiry: taskcluster.fromNow('1 hour'),
    });
    const named = new taskcluster.Auth({ rootUrl, credentials: temporary, retries: 0 });
    t.deepEqual(await named.currentScopes(), { scopes: ['assume:anonymous', 'auth:*'] });
    const signed = await fetch(named.buildSignedUrl(named.currentScopes));
    t.deepEqual(await signed.json(), { scopes: ['assume:anonymous', 'auth:*'] });
    const anonymous = new taskcluster.Auth({ rootUrl, credentials: {}, retries: 0 });
    t.is((await anonymous.ping()).alive, true);
    t.is(await refusal(anonymous.currentScopes()), 'InsufficientScopes');
  },
);

anyTest('a caller without the scope of an artifact is told which one is missing', async (t) => {
  const deployment = await deploymentFor(t);
  const task = `/api/queue/v1/task/${taskcluster.slugid()}`;
  for (const path of ['runs/0/artifacts', 'artifacts', 'runs/0/artifact-content']) {
    const { status, json } = await send(deployment, { target: `${task}/${path}/private/a` });
    t.is(status, 403);
    t.regex(json.message, /"queue:get-artifact:private\/a"/);
    t.notRegex(json.message, /<name>/);
  }
  const headers = { authorization: 'Hawk id="x", ts="1", nonce="n", mac="x"' };
  const malformed = '/api/queue/v1/task/-/artifacts/private/a';
  t.is((await send(deployment, { target: malformed, headers })).status, 401, 'before parameters');
  t.is((await send(deployment, { target: malformed })).status, 400);
});
