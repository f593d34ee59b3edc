// Taskcluster's own worker, unmodified, with this program as its taskcluster-proxy and the local
// deployment as its Taskcluster: it claims a task that calls the deployment through the proxy,
// uploads its log and artifacts, and resolves it.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { apiReference } from '../../ts/deployment/api/reference.js';
import type { AuditLine } from '../../ts/deployment/review/audit-log.js';
import { leastScopes } from '../../ts/deployment/review/least-scopes.js';
import { services } from '../../ts/deployment/services.js';
import { endsWith } from '../harness/child.js';
import { PROGRAM_PATIENCE_MS, within } from '../harness/deadline.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { unusedPort } from '../harness/port.js';
import { definition, QUEUE, queueOf, WORKER } from '../harness/queue.js';
import { pathOf, testWith } from '../harness/tools.js';

const COMMAND = path.resolve(import.meta.dirname, '../../dist/cli/taskcluster-proxy.cjs');
const [provisionerId, workerType] = QUEUE.split('/');

type Deployment = Awaited<ReturnType<typeof deploymentFor>>;

/** What a task of this test runs, and which files of it are kept. */
function payload(command: string, artifacts: string[] = [], mounts: object[] = []) {
  return {
    mounts,
    maxRunTime: 60,
    features: { taskclusterProxy: true, liveLog: false },
    command: [['/bin/sh', '-ec', command]],
    artifacts: artifacts.map((name) => ({ type: 'file', path: name, name })),
  };
}

/** Lets a worker run so many tasks, with this program as its proxy, and gives what it logged. */
async function work(
  t: ExecutionContext,
  deployment: Deployment,
  tasks: number,
  proxy = COMMAND,
): Promise<string> {
  const directory = freshDirectory(t);
  const folder = (name: string) => {
    mkdirSync(path.join(directory, name));
    return path.join(directory, name);
  };
  const key = path.join(directory, 'key');
  const program = pathOf('generic-worker');
  execFileSync(program, ['new-ed25519-keypair', '--file', key]);
  const config = path.join(directory, 'config.json');
  const settings = {
    rootURL: deployment.rootUrl,
    clientId: deployment.credentials.clientId,
    accessToken: deployment.credentials.accessToken,
    provisionerId,
    workerType,
    ...WORKER,
    ed25519SigningKeyLocation: key,
    tasksDir: folder('tasks'),
    cachesDir: folder('caches'),
    downloadsDir: folder('downloads'),
    enableLiveLog: false,
    enableInteractive: false,
    taskclusterProxyExecutable: proxy,
    taskclusterProxyPort: await unusedPort(),
    numberOfTasksToRun: tasks,
    idleTimeoutSecs: 60,
    requiredDiskSpaceMegabytes: 1,
    disableReboots: true,
    shutdownMachineOnIdle: false,
    shutdownMachineOnInternalError: false,
  };
  writeFileSync(config, JSON.stringify(settings));
  const { PATH = '' } = process.env;
  const worker = spawn(program, ['run', '--config', config], {
    cwd: directory,
    env: { PATH, HOME: directory, TMPDIR: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  endsWith(t, worker);
  const said = Promise.all([text(worker.stdout), text(worker.stderr), once(worker, 'exit')]);
  const [out, errors, [code]] = await within(said, 'the end of the worker', PROGRAM_PATIENCE_MS);
  t.is(code, 0, `${out}\n${errors}`);
  return `${out}\n${errors}`;
}

async function content(queue: ReturnType<typeof queueOf>, taskId: string, name: string) {
  const { url } = await queue.latestArtifact(taskId, name);
  return (await fetch(url)).text();
}

testWith('generic-worker', 'curl')(
  'tasks call the deployment through the proxy, and are resolved with logs and artifacts',
  async (t) => {
    const deployment = await deploymentFor(t);
    const queue = queueOf(deployment, deployment.credentials);
    const fetched = 'public/task.json';
    const call = 'curl --fail --silent --show-error "$TASKCLUSTER_PROXY_URL/queue/v1/task/$TASK_ID';
    const ids = { good: taskcluster.slugid(), denied: taskcluster.slugid() };
    await queue.createTask(
      ids.good,
      definition({
        scopes: [`queue:get-task:${ids.good}`],
        payload: payload(`mkdir public; ${call}" > ${fetched}; echo the task has been read`, [
          fetched,
        ]),
      }),
    );
    // What the first task has made comes to the second one as a file.
    const mount = { file: 'task.json', content: { taskId: ids.good, artifact: fetched } };
    await queue.createTask(
      ids.denied,
      definition({
        scopes: [`queue:get-task:${ids.denied}`, 'queue:get-artifact:public/*'],
        payload: payload(`grep ${ids.good} task.json; ${call}/status"`, [], [mount]),
        dependencies: [ids.good],
      }),
    );
    const log = await work(t, deployment, 2);

    const { status } = await queue.status(ids.good);
    t.is(status.state, 'completed', log);
    t.is(status.runs.length, 1);
    const task = JSON.parse(await content(queue, ids.good, fetched));
    t.deepEqual(task, await queue.task(ids.good));
    t.regex(
      await content(queue, ids.good, 'public/logs/live_backing.log'),
      /the task has been read/,
    );
    const { artifacts } = await queue.listLatestArtifacts(ids.good);
    t.true(artifacts.some(({ name }: { name: string }) => name === fetched));

    t.is((await queue.status(ids.denied)).status.state, 'failed');
    const denied = await content(queue, ids.denied, 'public/logs/live_backing.log');
    t.regex(denied, new RegExp(`"taskGroupId": "${ids.good}"`), 'what was mounted');
    t.regex(denied, /error: 403/);
    t.is(deployment.counters().refused, 0);
    t.notRegex(log, new RegExp(deployment.credentials.accessToken));
  },
);

testWith('generic-worker', 'curl')(
  'a task passes with the scopes derived from its calls, and fails with any one of them less',
  async (t) => {
    const deployment = await deploymentFor(t);
    const queue = queueOf(deployment, deployment.credentials);
    const folder = freshDirectory(t);
    const file = path.join(folder, 'audit.jsonl');
    const proxy = path.join(folder, 'taskcluster-proxy');
    const lines = ['#!/bin/sh', `exec '${COMMAND}' --audit-log '${file}' "$@"`, ''];
    writeFileSync(proxy, lines.join('\n'), { mode: 0o755 });

    const [other, made] = [taskcluster.slugid(), taskcluster.slugid()];
    const child = definition({ taskQueueId: 'tests/none', schedulerId: 's', priority: 'low' });
    await queue.createTask(other, child);
    const call = 'curl --fail --silent --show-error --retry 0';
    const body = (value: object) =>
      `--header Content-Type:application/json --data '${JSON.stringify(value)}'`;
    const secret = { secret: { a: 1 }, expires: taskcluster.fromNow('1 hour') };
    const commands = [
      `${call} $TASKCLUSTER_PROXY_URL/queue/v1/task/${other}`,
      `${call} --request PUT ${body(secret)} $TASKCLUSTER_PROXY_URL/secrets/v1/secret/project/a`,
      `${call} $TASKCLUSTER_PROXY_URL/secrets/v1/secret/project/a`,
      `${call} --request PUT ${body(child)} $TASKCLUSTER_PROXY_URL/queue/v1/task/${made}`,
    ];
    const create = async (scopes: readonly string[]) => {
      const taskId = taskcluster.slugid();
      await queue.createTask(taskId, definition({ scopes, payload: payload(commands.join('\n')) }));
      return taskId;
    };
    const stateOf = async (taskId: string) => (await queue.status(taskId)).status.state;

    const wide = await create(['queue:*', 'secrets:*']);
    const log = await work(t, deployment, 1, proxy);
    t.is(await stateOf(wide), 'completed', log);
    const recorded = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    const { scopes, unknown } = await leastScopes(
      recorded.map((line) => JSON.parse(line) as AuditLine),
      services().map(apiReference),
      deployment.rootUrl,
      (taskId) => queue.task(taskId),
    );
    t.deepEqual(unknown, []);
    t.deepEqual(scopes, [
      'queue:create-task:low:tests/none',
      'queue:create-task:project:none',
      `queue:get-task:${other}`,
      'queue:scheduler-id:s',
      'secrets:get:project/a',
      'secrets:set:project/a',
    ]);
    const tasks = [scopes, ...scopes.map((scope) => scopes.filter((each) => each !== scope))];
    const taskIds: string[] = [];
    for (const each of tasks) {
      taskIds.push(await create(each));
    }
    const again = await work(t, deployment, taskIds.length, proxy);
    const [least, ...fewer] = await Promise.all(taskIds.map(stateOf));
    t.is(least, 'completed', again);
    t.deepEqual(new Set(fewer), new Set(['failed']), again);
  },
);
