// curl and Taskcluster's own clients, unmodified, as a task uses them, and the clients without a proxy.
import { execFile, spawn } from 'node:child_process';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import { PATIENCE_MS, PROGRAM_PATIENCE_MS, within } from '../harness/deadline.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { startProxy } from '../harness/proxy.js';
import { permanentCredentials, temporaryCredentials } from '../harness/signature.js';
import { pathOf, testWith } from '../harness/tools.js';
import { startUpstream } from '../harness/upstream.js';
import { names, value } from '../harness/wire.js';

const CLIENTS = path.join(import.meta.dirname, '../clients');

/** What the task may do; its credentials could do more. */
const SCOPES = [
  'queue:create-task:*',
  'queue:scheduler-id:*',
  'queue:get-task:*',
  'auth:current-scopes',
  'secrets:get:tests/*',
  'secrets:set:tests/*',
  'auth:audit-history:secret',
  'queue:pending-count:tests/*',
  'queue:pending-list:tests/*',
  'queue:claimed-count:tests/*',
  'queue:claimed-list:tests/*',
  'queue:claim-work:tests/*',
  'queue:worker-id:tests/*',
  'queue:create-artifact:*',
  'queue:list-provisioners',
  'queue:list-task-queues',
  'queue:list-workers:tests/*',
  'queue:list-worker-types:tests',
];

interface Learnt {
  created: string;
  metadata: Record<string, string>;
  secret: unknown;
  scopes: string[];
  refused: number;
  history: string[];
  work: Work;
}

/** What lists and counts say of one task while it waits, and once a worker has it. */
interface Work {
  pending: string[];
  claimed: string[];
  counts: [pending: number, claimed: number];
  workers: string[];
  workerTypes: string[];
  taskQueues: string[];
  provisioners: string[];
  finished: number;
}

/** What a client program is to do, see clients/README.md. */
function plan() {
  const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toJSON();
  // A slugid: the bytes of a version 4 UUID.
  const taskId = Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url');
  return {
    taskId,
    worker: { workerGroup: 'tests', workerId: 'worker' },
    task: {
      provisionerId: 'tests',
      // A name of this plan alone, so that lists hold no tasks of others.
      workerType: `w${randomBytes(8).toString('hex')}`,
      created: inHours(0),
      deadline: inHours(1),
      payload: {},
      metadata: {
        name: 'a task\u2019s child',
        description: 'made through the proxy',
        owner: 'worker@example.com',
        source: 'https://example.com/a//b?c=%2F',
      },
    },
    secretName: `tests/a b%2Fc+d//e?f&g='h'/${taskId}`,
    secret: { text: 'line\n"quoted" \u00e9 \u{1f511}', number: 1.5, list: [null, true] },
    forbiddenName: 'elsewhere/secret',
  };
}

/** Runs a client program with no more than this in its environment, and reads what it prints. */
async function learn(
  program: string[],
  environment: Record<string, string>,
  input: object,
): Promise<Learnt> {
  const [command = '', ...args] = program;
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(command, args, { env: { PATH, HOME, ...environment } });
  child.stdin.end(JSON.stringify(input));
  const [out, errors, [code]] = await within(
    Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]),
    `the end of ${command}`,
    PROGRAM_PATIENCE_MS,
  );
  if (code !== 0) {
    throw new Error(`${program.join(' ')} ended with ${code}:\n${errors}`);
  }
  return JSON.parse(out) as Learnt;
}

async function assertClientWorks(t: ExecutionContext, program: string[]): Promise<void> {
  const issuer = permanentCredentials('tests/issuer');
  const deployment = await deploymentFor(t, { clients: [{ ...issuer, scopes: ['*'] }] });
  const proxy = await startProxy(t, {
    rootUrl: deployment.rootUrl,
    credentials: temporaryCredentials(['*'], 'tests/task'),
    scopes: SCOPES,
  });
  const own = temporaryCredentials(SCOPES, 'tests/direct');
  const environments: Record<string, string>[] = [
    { TASKCLUSTER_ROOT_URL: proxy.url },
    { TASKCLUSTER_ROOT_URL: deployment.rootUrl, TASKCLUSTER_PROXY_URL: proxy.url },
    {
      TASKCLUSTER_ROOT_URL: deployment.rootUrl,
      TASKCLUSTER_CLIENT_ID: own.clientId,
      TASKCLUSTER_ACCESS_TOKEN: own.accessToken,
      TASKCLUSTER_CERTIFICATE: own.certificate ?? '',
    },
  ];
  for (const environment of environments) {
    const todo = plan();
    if ('TASKCLUSTER_CERTIFICATE' in environment) {
      // npm `hawk` signs an apostrophe as %27, which is not what the JavaScript client sends.
      todo.secretName = todo.secretName.replaceAll("'", '');
    }
    const learnt = await learn(program, environment, todo);
    t.is(learnt.created, todo.taskId);
    t.deepEqual(learnt.metadata, todo.task.metadata);
    t.deepEqual(learnt.secret, todo.secret);
    t.deepEqual([...learnt.scopes].sort(), ['assume:anonymous', ...SCOPES].sort());
    t.is(learnt.refused, 403, 'the restriction of the proxy, or of the certificate');
    t.deepEqual(learnt.history, ['created', 'deleted']);
    const { provisionerId, workerType } = todo.task;
    const { taskQueues, ...work } = learnt.work;
    t.true(taskQueues.includes(`${provisionerId}/${workerType}`));
    t.deepEqual(
      { ...work, workerTypes: work.workerTypes.filter((each) => each === workerType) },
      {
        pending: [todo.taskId],
        claimed: [todo.taskId],
        counts: [0, 1],
        workers: [todo.worker.workerId],
        workerTypes: [workerType],
        provisioners: [provisionerId],
        finished: 404,
      },
    );
  }
  const { verified, refused } = deployment.counters();
  t.is(refused, 0);
  t.true(verified >= 51, `${verified} signatures verified`);
}

test('the JavaScript client of Taskcluster works through the proxy', async (t) => {
  await assertClientWorks(t, [process.execPath, path.join(CLIENTS, 'javascript/client.mjs')]);
});

testWith('python-client')('the Python client of Taskcluster works through the proxy', async (t) => {
  const program = [pathOf('python-client'), path.join(CLIENTS, 'python/client.py')];
  await assertClientWorks(t, program);
});

testWith('python-client')(
  'the asynchronous Python client of Taskcluster works through the proxy',
  async (t) => {
    const program = [pathOf('python-client'), path.join(CLIENTS, 'python/client.py'), 'aio'];
    await assertClientWorks(t, program);
  },
);

testWith('go-client')('the Go client of Taskcluster works through the proxy', async (t) => {
  await assertClientWorks(t, [pathOf('go-client')]);
});

/** Runs curl without its configuration file and gives what it printed. */
async function curl(...args: string[]): Promise<Buffer> {
  const run = promisify(execFile);
  const all = [
    '--disable',
    '--silent',
    '--show-error',
    ...['--max-time', `${PATIENCE_MS / 1000}`],
    ...args,
  ];
  const { stdout } = await run(pathOf('curl'), all, {
    encoding: 'buffer',
    maxBuffer: 64 * 1024 * 1024,
    env: {},
  });
  return stdout;
}

async function startRecorded(t: ExecutionContext) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url });
  return { upstream, proxy };
}

testWith('curl')(
  'curl sends targets as they stand, over HTTP/1.1, HTTP/2 and with the proxy as its HTTP proxy',
  async (t) => {
    const { upstream, proxy } = await startRecorded(t);
    const target = '/queue/v1/a//b%2Fc/../d;e?x=%252F&y=+';
    const rows = [
      ['--http1.1', `${proxy.url}${target}`],
      ['--http1.0', `${proxy.url}${target}`],
      ['--http2-prior-knowledge', `${proxy.url}${target}`],
      ['--proxy', proxy.url, `http://taskcluster${target}`],
    ];
    for (const row of rows) {
      t.is((await curl('--path-as-is', ...row)).toString(), 'ok', row[0]);
      t.is(upstream.last.target, `/api${target}`);
      t.deepEqual(
        names(upstream.last.fields),
        ['accept', 'authorization', 'host', 'user-agent'],
        row[0],
      );
    }
    upstream.assertAllSigned(t);
  },
);

testWith('curl')('an upload by curl arrives whole, with and without Expect', async (t) => {
  const { upstream, proxy } = await startRecorded(t);
  const file = path.join(freshDirectory(t), 'artifact');
  const bytes = randomBytes(9_000_001);
  writeFileSync(file, bytes);
  const digest = (each: Buffer) => createHash('sha256').update(each).digest('hex');
  let received = '';
  upstream.handler = async (exchange) => {
    if (value(exchange.fields, 'expect')) {
      await exchange.send('HTTP/1.1 100 Continue\r\n\r\n');
    }
    received = digest((await exchange.body()).bytes);
    await exchange.respond(exchange.signature instanceof Error ? 401 : 201, { body: 'stored' });
  };
  const url = `${proxy.url}/queue/v1/artifact`;
  const rows = [
    ['--upload-file', file, url],
    ['--upload-file', file, '--header', 'Expect:', url],
    ['--upload-file', file, '--header', 'Transfer-Encoding: chunked', url],
    ['--upload-file', file, '--http2-prior-knowledge', url],
    ['--data-binary', `@${file}`, '--request', 'POST', url],
  ];
  for (const row of rows) {
    received = '';
    t.is((await curl(...row)).toString(), 'stored', row.join(' '));
    t.is(received, digest(bytes), row.join(' '));
  }
  upstream.assertAllSigned(t);
});

testWith('curl')('curl gets HEAD, ranges and encoded bodies as from upstream', async (t) => {
  const { upstream, proxy } = await startRecorded(t);
  const url = `${proxy.url}/queue/v1/artifact`;
  const body = 'hello '.repeat(1000);
  upstream.handler = async (exchange) => {
    const range = value(exchange.fields, 'range');
    const encodes = value(exchange.fields, 'accept-encoding')?.includes('gzip');
    if (range) {
      await exchange.respond(206, {
        fields: [['Content-Range', 'bytes 6-10/6000']],
        body: body.slice(6, 11),
      });
    } else if (encodes) {
      await exchange.respond(200, { fields: [['Content-Encoding', 'gzip']], body: gzipSync(body) });
    } else {
      await exchange.respond(200, { body });
    }
  };
  const head = (await curl('--head', url)).toString();
  t.regex(head, /^HTTP\/1\.1 200 /);
  t.regex(head, /^content-length: 6000\r$/im);
  t.is((await curl('--range', '6-10', url)).toString(), 'hello');
  t.is((await curl(url)).toString(), body);
  t.is((await curl('--compressed', url)).toString(), body);
  upstream.assertAllSigned(t);
});

testWith('curl')('curl reports an answer that breaks off as an error', async (t) => {
  const { upstream, proxy } = await startRecorded(t);
  upstream.handler = async (exchange) => {
    await exchange.sendHead(200, { fields: [['Content-Length', '10']] });
    await exchange.send('hello');
    exchange.connection.end();
  };
  for (const protocol of ['--http1.1', '--http2-prior-knowledge']) {
    const failed = await t.throwsAsync(curl(protocol, `${proxy.url}/queue/v1/x`));
    // 18 is a partial file, 56 a failed receive, 92 a broken HTTP/2 stream.
    t.true([18, 56, 92].includes((failed as Error & { code: number }).code), protocol);
  }
});
