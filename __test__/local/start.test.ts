// `taskcluster-local start`: a deployment in a separate process, as a shell uses it, and its memory with
// large artifacts.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { download, upload } from '../../ts/demo/transfer.js';
import { endsWith } from '../harness/child.js';
import { within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach, LOCAL } from '../harness/local.js';

function spawnLocal(t: ExecutionContext, ...args: string[]) {
  const temporary = freshDirectory(t);
  const env = { ...process.env, TMPDIR: temporary };
  const child = spawn(process.execPath, [...LOCAL, ...args], { env });
  endsWith(t, child);
  return { child, temporary };
}

async function startLocal(t: ExecutionContext, ...args: string[]) {
  const { child, temporary } = spawnLocal(t, 'start', ...args);
  return { child, temporary, ...(await howToReach(child)) };
}

test('the command prints how to reach the deployment, grants the given anonymous scope, and leaves no files', async (t) => {
  const scope = 'auth:current-scopes';
  const local = await startLocal(t, '--anonymous-scope', scope);
  const { child, temporary, rootUrl, credentials } = local;
  const root = new taskcluster.Auth({ rootUrl, credentials, retries: 0 });
  t.deepEqual(await root.currentScopes(), { scopes: ['*'] });
  const anonymous = new taskcluster.Auth({ rootUrl, credentials: {}, retries: 0 });
  t.deepEqual(await anonymous.currentScopes(), { scopes: ['assume:anonymous', scope] });
  child.kill('SIGINT');
  t.deepEqual(await within(once(child, 'exit'), 'its end'), [0, null]);
  t.deepEqual(readdirSync(temporary), []);
});

test('the command refuses an empty --ip-address', async (t) => {
  const { child, temporary } = spawnLocal(t, 'start', '--ip-address', '');
  const [[code], stderr] = await within(
    Promise.all([once(child, 'exit'), text(child.stderr)]),
    'its end',
  );
  t.is(
    stderr,
    "taskcluster-local: '' is not an IP address to listen on: give one, or leave it out for 127.0.0.1\n",
  );
  t.is(code, 1);
  t.deepEqual(readdirSync(temporary), []);
});

const linux = process.platform === 'linux' ? test : test.skip;

linux(
  'an artifact of half a gigabyte costs the deployment less than 64 MiB of memory',
  async (t) => {
    const { child, rootUrl, credentials } = await startLocal(t);
    const queue = new taskcluster.Queue({ rootUrl, credentials, retries: 0 });
    const taskId = taskcluster.slugid();
    await queue.createTask(taskId, {
      taskQueueId: 'a/b',
      created: new Date(),
      deadline: taskcluster.fromNow('1 hour'),
      payload: {},
      metadata: { name: 'n', description: 'd', owner: 'o', source: 'https://s' },
    });
    await queue.claimWork('a/b', { workerGroup: 'g', workerId: 'w', tasks: 1 });
    const type = 'application/octet-stream';
    const { putUrl } = await queue.createArtifact(taskId, 0, 'big', {
      storageType: 's3',
      contentType: type,
      expires: taskcluster.fromNow('1 hour'),
    });
    const before = peakMemory(child);
    const sent = await upload(putUrl, type, 512 * 2 ** 20, () => undefined);
    const { url } = await queue.getArtifact(taskId, 0, 'big');
    const received = await download(url, () => undefined);
    t.deepEqual(received, sent);
    const growth = peakMemory(child) - before;
    t.true(growth < 64, `its memory grew by ${growth} MiB`);
  },
);

linux(
  'a first start with a database of its own takes little memory, at its peak too',
  async (t) => {
    const { child } = await startLocal(t);
    const peak = peakMemory(child);
    t.true(peak < 300, `it had ${peak} MiB`);
  },
);

/** The most that a process has had resident, in MiB. */
function peakMemory({ pid }: ChildProcess): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

test('an error ends the command with one sentence: 64 for usage, 1 for a port in use', async (t) => {
  const taken = net.createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const { port } = taken.address() as AddressInfo;
  for (const [args, status, sentence] of [
    [['start', '--port', '65536'], 64, /port 65536 is not in range \[0,65535\]/],
    [['start', '--what'], 64, /unknown option '--what'/],
    [['start', '--anonymous-scope', ''], 64, /'' is not a scope to grant to every caller: write/],
    [['start', '--anonymous-scope', 'é'], 64, /'é' is not a scope to grant to every caller/],
    [['start', '--audit-log', ''], 64, /It is empty/],
    [
      ['start', '--audit-log', '/none'],
      1,
      /^taskcluster-local: there is no audit log \/none: name/,
    ],
    [['stop'], 64, /unknown command 'stop'/],
    [['start', '--port', `${port}`], 1, /^taskcluster-local: listen EADDRINUSE: .*in use/],
    [['start', '--ip-address', 'x.invalid'], 1, /^taskcluster-local: .*x\.invalid/],
  ] as const) {
    const { child, temporary } = spawnLocal(t, ...args);
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
    t.is(code, status, said);
    t.regex(said, sentence);
    t.deepEqual(readdirSync(temporary), []);
  }
});
