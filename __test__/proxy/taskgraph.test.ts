// taskgraph's helpers, unmodified, against the local deployment: in a task that reaches it through
// the proxy, and elsewhere with credentials in the environment.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import type { ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { apiReference } from '../../ts/deployment/api/reference.js';
import type { Deployment } from '../../ts/deployment/index.js';
import type { AuditLine } from '../../ts/deployment/review/audit-log.js';
import { leastScopes } from '../../ts/deployment/review/least-scopes.js';
import { services } from '../../ts/deployment/services.js';
import { PROGRAM_PATIENCE_MS, within } from '../harness/deadline.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { startProxy } from '../harness/proxy.js';
import { definition, queueOf, WORKER } from '../harness/queue.js';
import { pathOf, testWith } from '../harness/tools.js';

const PROGRAM = path.join(import.meta.dirname, '../clients/python/taskgraph_helpers.py');
const BYTES = Buffer.from([0, 255, 10, 13]);
const ARTIFACTS: Record<string, [contentType: string, content: Buffer]> = {
  'public/a.json': ['application/json', Buffer.from('{"a": [1, "\u20ac"]}')],
  'public/b.yml': ['application/yaml', Buffer.from('b:\n  - 1\n')],
  'public/c.bin': ['application/octet-stream', BYTES],
};

/** A deployment with a completed task that has artifacts, and another one that waited for it. */
async function completed(t: ExecutionContext, anonymous = ['queue:get-artifact:public/*']) {
  const deployment = await deploymentFor(t, {
    // A plain request for an artifact's URL, as a browser would make it, has no credentials.
    roles: [{ roleId: 'anonymous', scopes: anonymous }],
  });
  const queue = queueOf(deployment, deployment.credentials);
  const taskId = taskcluster.slugid();
  await queue.createTask(taskId, definition());
  await runOf(t, queue, taskId, 0);
  const dependentTaskId = taskcluster.slugid();
  const dependent = definition({ taskGroupId: taskId, dependencies: [taskId] });
  await queue.createTask(dependentTaskId, dependent);
  return { deployment, taskId, dependentTaskId };
}

/** A worker's run of the task, with artifacts. */
async function runOf(
  t: ExecutionContext,
  queue: ReturnType<typeof queueOf>,
  taskId: string,
  runId: number,
): Promise<void> {
  await queue.claimTask(taskId, runId, WORKER);
  for (const [name, [contentType, content]] of Object.entries(ARTIFACTS)) {
    const expires = taskcluster.fromNow('30 minutes');
    const artifact = { storageType: 's3', contentType, expires };
    const { putUrl } = await queue.createArtifact(taskId, runId, name, artifact);
    const headers = { 'Content-Type': contentType, 'Content-Encoding': 'gzip' };
    const put = await fetch(putUrl, { method: 'PUT', body: gzipSync(content), headers });
    t.is(put.status, 200);
  }
  await queue.reportCompleted(taskId, runId);
}

async function learn(plan: object, environment: Record<string, string>) {
  const { PATH = '', HOME = '' } = process.env;
  const child = spawn(pathOf('python-client'), [PROGRAM], {
    env: { PATH, HOME, ...environment },
  });
  child.stdin.end(JSON.stringify(plan));
  const [out, errors, [code]] = await within(
    Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]),
    'the end of the helpers',
    PROGRAM_PATIENCE_MS,
  );
  if (code !== 0) {
    throw new Error(errors);
  }
  return JSON.parse(out);
}

testWith('python-client')(
  "taskgraph's helpers work through the proxy and without it",
  async (t) => {
    for (const viaProxy of [true, false]) {
      const { deployment, taskId, dependentTaskId } = await completed(t);
      const { rootUrl, credentials } = deployment;
      const environment: Record<string, string> = { TASKCLUSTER_ROOT_URL: rootUrl };
      if (viaProxy) {
        const proxy = await startProxy(t, { rootUrl, credentials });
        Object.assign(environment, { TASKCLUSTER_PROXY_URL: proxy.url });
      } else {
        Object.assign(environment, {
          TASKCLUSTER_CLIENT_ID: credentials.clientId,
          TASKCLUSTER_ACCESS_TOKEN: credentials.accessToken,
        });
      }
      const [json, yaml, bytes] = Object.keys(ARTIFACTS);
      const taskIds = [taskId, dependentTaskId, taskcluster.slugid()];
      const plan = { taskId, dependentTaskId, taskIds, json, yaml, bytes, viaProxy };
      t.deepEqual(await learn(plan, environment), {
        definition: definition().metadata,
        ancestors: { [taskId]: 'n' },
        incomplete: [dependentTaskId],
        state: 'completed',
        states: { [taskId]: 'completed', [dependentTaskId]: 'pending' },
        artifacts: Object.keys(ARTIFACTS),
        json: { a: [1, '\u20ac'] },
        yaml: { b: [1] },
        bytes: [...BYTES],
        url: 200,
        scopes: ['*'],
        rerun: 'pending',
        canceled: 'exception',
      });
      t.is(deployment.counters().refused, 0);
    }
  },
);

/** The least scopes for what a proxy has recorded, by the declarations and the tasks of the deployment. */
async function derived(file: string, { rootUrl, credentials }: Deployment) {
  const queue = queueOf({ rootUrl }, credentials);
  const recorded = linesOf(file).map((line) => JSON.parse(line) as AuditLine);
  const references = services().map(apiReference);
  const readTask = (taskId: string) => queue.task(taskId).catch(() => undefined);
  return leastScopes(recorded, references, rootUrl, readTask);
}

const linesOf = (file: string) => readFileSync(file, 'utf8').split('\n').slice(0, -1);

testWith('python-client')(
  "a run passes with the scopes derived from taskgraph's calls, and a call gets 403 with any one of them less",
  async (t) => {
    const { deployment, taskId, dependentTaskId } = await completed(t, []);
    const { rootUrl, credentials } = deployment;
    const file = path.join(freshDirectory(t), 'audit.jsonl');
    const [json, yaml, bytes] = Object.keys(ARTIFACTS);
    const taskIds = [taskId, dependentTaskId, taskcluster.slugid()];
    const plan = { taskId, dependentTaskId, taskIds, json, yaml, bytes, viaProxy: true };
    const run = async (scopes: string[], flags: string[] = []) => {
      const proxy = await startProxy(t, { rootUrl, credentials, scopes, flags });
      const environment = { TASKCLUSTER_ROOT_URL: rootUrl, TASKCLUSTER_PROXY_URL: proxy.url };
      const learnt = await learn(plan, environment);
      t.is(learnt.canceled, 'exception');
      return proxy;
    };
    const wide = ['queue:*', 'auth:*', 'secrets:*'];
    const proxy = await run(wide, ['--audit-log', file, '--retry-for', '0']);
    proxy.child.kill('SIGTERM');
    await proxy.exited;

    const { scopes, unknown, unused } = await derived(file, deployment);
    t.deepEqual(unused, ['secrets:*']);
    // The ids of these calls are in their bodies.
    const ofBodies = ['tasks', 'statuses'].map(
      (name) => `queue.${name} decides by the body or by what it names`,
    );
    t.deepEqual(new Set(unknown.map(({ why }) => why)), new Set(ofBodies));
    const least = [
      ...scopes,
      ...taskIds.flatMap((id) => [`queue:get-task:${id}`, `queue:status:${id}`]),
    ];
    // The first run has canceled the task, and a new run has no artifacts yet.
    const queue = queueOf({ rootUrl }, credentials);
    await queue.rerunTask(taskId);
    await runOf(t, queue, taskId, 2);
    await run(least);

    const calls = linesOf(file).map(
      (line) => JSON.parse(line) as { method: string; target: string },
    );
    for (const scope of scopes) {
      const fewer = least.filter((other) => other !== scope);
      const narrow = await startProxy(t, { rootUrl, credentials, scopes: fewer });
      const statuses = await Promise.all(
        calls.map(async ({ method, target }) => (await narrow.request(method, target)).status),
      );
      t.true(statuses.includes(403), `without ${scope}`);
    }
  },
);
