// Artifacts in a store with S3's protocol: errors at the start, expiry, links to private artifacts, and
// processes on several hosts. Uploads and downloads are in queue.test.ts.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import anyTest, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { startDeployment } from '../../ts/deployment/index.js';
import { removeExpired, removeExpiredObjects } from '../../ts/deployment/queue/housekeeping.js';
import { openStorage } from '../../ts/deployment/storage/index.js';
import {
  objectKey,
  readAddress,
  readVariables,
} from '../../ts/deployment/storage/object-bucket.js';
import { within } from '../harness/deadline.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach, LOCAL, type Reach } from '../harness/local.js';
import { ip, makeNamespace } from '../harness/namespace.js';
import {
  addBucket,
  bucketFor,
  keysBelow,
  keysIn,
  STORE_CREDENTIALS,
  serveObjects,
} from '../harness/object-store.js';
import { unusedPort } from '../harness/port.js';
import { postgresql } from '../harness/postgresql.js';
import { definition, QUEUE, queueOf, refusal, WORKER } from '../harness/queue.js';
import { testWith } from '../harness/tools.js';

const test = testWith('versitygw');
const run = promisify(execFile);

const ADDRESSES: Record<string, object | RegExp> = {
  's3://bucket': { bucket: 'bucket', prefix: '' },
  's3://bucket/': { bucket: 'bucket', prefix: '' },
  's3://my.bucket-1/a/b_c/': { bucket: 'my.bucket-1', prefix: 'a/b_c' },
  '': /^'' is not an object store: give s3:/,
  bucket: /is not an object store/,
  's3:/bucket': /is not an object store/,
  'https://bucket': /is not an object store/,
  's3://': /names no bucket/,
  's3:///prefix': /names no bucket/,
  's3://Bucket': /names no bucket/,
  's3://user:password@bucket': /names no bucket/,
  's3://bucket//a': /prefix that cannot be used/,
  's3://bucket/a/../b': /prefix that cannot be used/,
  's3://bucket/a?b': /prefix that cannot be used/,
  's3://bucket/a\nb': /prefix that cannot be used/,
};

for (const [address, expected] of Object.entries(ADDRESSES)) {
  anyTest(
    `the address of an object store is read, or refused with a reason: ${JSON.stringify(address)}`,
    (t) => {
      if (expected instanceof RegExp) {
        t.throws(() => readAddress(address), { name: 'ObjectBucketError', message: expected });
      } else {
        t.deepEqual(readAddress(address), expected as ReturnType<typeof readAddress>);
      }
    },
  );
}

anyTest('variables that are empty, half there or misspelt are refused', (t) => {
  const refused: [Record<string, string>, RegExp][] = [
    [{ AWS_REGION: '' }, /^AWS_REGION is empty/],
    [{ AWS_ENDPOINT_URL: ' ' }, /^AWS_ENDPOINT_URL is empty/],
    [{ AWS_ACCESS_KEY_ID: 'a' }, /AWS_SECRET_ACCESS_KEY, or neither/],
    [{ AWS_ENDPOINT_URL_S3: 'localhost:7070' }, /^AWS_ENDPOINT_URL_S3 is not a URL/],
    [{ AWS_ENDPOINT_URL_S3: 'http://u:secret@h' }, /^(?!.*secret).*is not a URL/],
    [{ AWS_S3_FORCE_PATH_STYLE: 'yes' }, /give true or false/],
  ];
  for (const [variables, message] of refused) {
    t.throws(() => readVariables(variables), { name: 'ObjectBucketError', message });
  }
  const endpoint = 'http://h:1';
  t.deepEqual(readVariables({}), { forcePathStyle: false });
  t.deepEqual(readVariables({ AWS_ENDPOINT_URL: endpoint }), { endpoint, forcePathStyle: true });
});

anyTest('each artifact has a key of its own in the bucket, without empty or dot segments', (t) => {
  const names = ['t/0/a', 't/0//a', 't/0/a/', 't/0/../a', 't/0/%2E%2E/a', 't/0/./a', 't/0/%/a'];
  const keys = names.map(objectKey);
  t.is(new Set(keys).size, names.length);
  for (const key of keys) {
    t.notRegex(key, /(^|\/)(\.\.?)?(\/|$)/);
  }
});

test('start says in a sentence why a store cannot be used, and nothing of its secrets', async (t) => {
  const good = await bucketFor();
  const unreachable = `http://127.0.0.1:${await unusedPort()}`;
  const refused: [string, Record<string, string>, RegExp][] = [
    ['s3://no-such-bucket', {}, /\(NoSuchBucket\): make the bucket/],
    [good, { AWS_SECRET_ACCESS_KEY: 'wrong-secret' }, /\(SignatureDoesNotMatch\)/],
    [good, { AWS_ENDPOINT_URL_S3: unreachable }, /cannot be reached \(ECONNREFUSED\)/],
    ['', {}, /is not an object store/],
  ];
  for (const [address, variables, expected] of refused) {
    const env = { ...process.env, ...variables };
    const started = run(process.execPath, [...LOCAL, 'start', '--object-store', address], { env });
    const { code, stderr } = await t.throwsAsync<Error & { code: number; stderr: string }>(started);
    t.is(code, 1);
    t.regex(stderr, expected);
    t.notRegex(stderr, /wrong-secret|store-password/);
  }
});

testWith('versitygw', 'postgres')(
  'an expired artifact is removed from the bucket too',
  async (t) => {
    const [folder, objectStore] = [freshDirectory(t), await bucketFor()];
    const databaseUrl = await (await postgresql()).createDatabase();
    const data = { folder, databaseUrl, database: undefined };
    const deployment = await deploymentFor(t, { ...data, objectStore });
    const { task, taskId, put } = await running(deployment);
    await put('kept', taskcluster.fromNow('30 minutes'));
    await put('old', taskcluster.fromNow('10 minutes'));
    t.is((await keysIn(objectStore)).length, 2);
    const storage = await openStorage({ ...data, objectStore });
    t.teardown(() => storage.close());
    const later = taskcluster.fromNow('20 minutes');
    await removeExpired(storage.store, storage.objects, later);
    await t.notThrowsAsync(task.artifact(taskId, 0, 'old'), 'not its row alone');
    if (storage.bucket !== undefined) {
      await removeExpiredObjects(storage.store, storage.bucket, later);
    }
    t.deepEqual(await keysIn(objectStore), [`${taskId}/0/kept`]);
    t.is(await refusal(task.artifact(taskId, 0, 'old')), 'ResourceNotFound');
    await t.throwsAsync(startDeployment({ ...data, onNotice: () => undefined }), {
      name: 'ObjectBucketError',
      message: `there are artifacts in ${objectStore}: start with --object-store ${objectStore} until they have expired`,
    });
  },
);

async function running(deployment: Reach) {
  const task = queueOf(deployment, deployment.credentials);
  const taskId = taskcluster.slugid();
  await task.createTask(taskId, definition());
  await task.claimWork(QUEUE, { ...WORKER, tasks: 1 });
  const put = async (name: string, expires: Date = taskcluster.fromNow('30 minutes')) => {
    const artifact = { storageType: 's3', contentType: 'text/plain', expires };
    const { putUrl } = await task.createArtifact(taskId, 0, name, artifact);
    return fetch(putUrl, { method: 'PUT', body: name, headers: { 'Content-Type': 'text/plain' } });
  };
  return { task, taskId, put };
}

testWith('versitygw', 'curl')(
  'a signed link to a private artifact redirects to the store',
  async (t) => {
    const deployment = await deploymentFor(t, { objectStore: await bucketFor() });
    const { task, taskId, put } = await running(deployment);
    t.is((await put('private/a')).status, 200);
    const curl = async (url: string) => {
      const args = [
        '--silent',
        '--location',
        '--write-out',
        '\n%{http_code} %{num_redirects}',
        url,
      ];
      return (await run('curl', args)).stdout.split('\n');
    };
    for (const method of [task.getArtifact, task.getLatestArtifact]) {
      const run = method === task.getArtifact ? [0] : [];
      const signed = task.buildSignedUrl(method, taskId, ...run, 'private/a');
      t.deepEqual(await curl(signed), ['private/a', '200 1']);
      t.is((await curl(signed.replace(/\?bewit=.*/, ''))).at(-1), '403 0');
      t.is((await curl(`${signed}x`)).at(-1), '401 0');
    }
    const { url } = await task.artifact(taskId, 0, 'private/a');
    t.is((await curl(url.replace(/\?.*/, ''))).at(-1), '403 0', 'nor by the store alone');
  },
);

testWith('versitygw', 'postgres')(
  'three processes on hosts of their own share a database and a store',
  async (t) => {
    const namespaces = [makeNamespace(t), makeNamespace(t), makeNamespace(t)];
    const [first] = namespaces;
    if (!first || namespaces.includes(null)) {
      t.pass();
      return;
    }
    const port = await unusedPort();
    const server = serveObjects(`${first.v4.host}:${port}`);
    t.teardown(() => server.child.kill('SIGKILL'));
    const databaseUrl = await forwarded(
      t,
      await (await postgresql()).createDatabase(),
      first.v4.host,
    );
    const objectStore = addBucket(server);
    const start = async (name: string, host: string, gateway: string) => {
      t.true(ip(`-n ${name} route add default via ${gateway}`));
      const args = ['--ip-address', host, '--object-store', objectStore];
      const child = spawn(
        'ip',
        [
          'netns',
          'exec',
          name,
          process.execPath,
          ...LOCAL,
          'start',
          ...args,
          '--data-folder',
          freshDirectory(t),
        ],
        {
          env: {
            ...process.env,
            ...STORE_CREDENTIALS,
            AWS_ENDPOINT_URL_S3: `http://${first.v4.host}:${port}`,
            TASKCLUSTER_LOCAL_DATABASE_URL: databaseUrl,
            TASKCLUSTER_LOCAL_KEYS: `one:${Buffer.alloc(32, 1).toString('base64')}`,
          },
        },
      );
      t.teardown(() => child.kill('SIGKILL'));
      child.stderr.pipe(process.stderr, { end: false });
      return howToReach(child);
    };
    const reached: Reach[] = [];
    for (const namespace of namespaces) {
      if (namespace !== null) {
        reached.push(await start(namespace.name, namespace.v4.guest, namespace.v4.host));
      }
    }
    const [one, two, three] = reached;
    if (one === undefined || two === undefined || three === undefined) {
      throw new Error('not all of them have started');
    }
    const { taskId, put } = await running(one);
    t.is((await put('public/a')).status, 200);
    for (const { rootUrl } of [two, three]) {
      const { url } = await queueOf({ rootUrl }, one.credentials).artifact(taskId, 0, 'public/a');
      t.is(await (await fetch(url)).text(), 'public/a');
    }
    const [, , bucket = ''] = objectStore.split('/');
    t.deepEqual(keysBelow(path.join(server.directory, bucket)), [
      `some/prefix/${taskId}/0/public/a`,
    ]);
  },
);

/** The same database as it is reached at another address of this machine. */
async function forwarded(t: ExecutionContext, databaseUrl: string, host: string): Promise<string> {
  const url = new URL(databaseUrl);
  const target = Number(url.port);
  const listener = net.createServer((socket) => {
    const onward = net.connect(target, '127.0.0.1');
    socket.on('error', () => onward.destroy());
    onward.on('error', () => socket.destroy());
    socket.pipe(onward).pipe(socket);
  });
  listener.listen(0, host);
  await within(once(listener, 'listening'), 'the way to the database');
  t.teardown(() => listener.close());
  url.hostname = host;
  url.port = String((listener.address() as net.AddressInfo).port);
  return url.href;
}
