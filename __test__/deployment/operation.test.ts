// For the operator of a deployment: a log with request ids, metrics on a separate address, a status, and an
// orderly stop.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import type { DeploymentOptions } from '../../ts/deployment/index.js';
import { Log, type LogOptions } from '../../ts/deployment/operation/log.js';
import { readMetricsAddress } from '../../ts/deployment/operation/metrics-address.js';
import { endsWith } from '../harness/child.js';
import { schemaFor } from '../harness/database.js';
import { DATABASE_PATIENCE_MS, gate, until, within } from '../harness/deadline.js';
import { authorization, deploymentFor, runs, send } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { howToReach } from '../harness/local.js';
import { definition, QUEUE, queueOf, WORKER } from '../harness/queue.js';

const COMMAND = path.resolve(import.meta.dirname, '../../dist/cli/taskcluster-local.js');

async function logged(
  t: ExecutionContext,
  format: LogOptions['format'] & string,
  options: Partial<DeploymentOptions> = {},
) {
  const lines: string[] = [];
  const output = (written: string, done: () => void) => {
    lines.push(...written.split('\n').slice(0, -1));
    done();
  };
  const log = new Log({ format, level: 'info', output });
  const deployment = await deploymentFor(t, { log, ...options });
  return { deployment, lines, queue: queueOf(deployment, deployment.credentials) };
}

test('the log has a line for each request with its id, and nothing of its query', async (t) => {
  const { deployment, lines, queue } = await logged(t, 'json');
  await queue.pendingTasks(QUEUE);
  const target = '/api/queue/v1/task/bewit=secret?bewit=secret';
  const refused = await send(deployment, { target });
  await until(() => lines.length === 2, 'the lines');
  t.notRegex(lines.join(), /=secret/);
  const [first, second] = lines.map((line) => JSON.parse(line));
  t.like(first, {
    level: 'info',
    message: 'Answering',
    method: 'GET',
    endpoint: 'queue.pendingTasks',
    status: 200,
    clientId: deployment.credentials.clientId,
    address: '127.0.0.1',
  });
  t.like(second, { status: 401, endpoint: 'queue.task' });
  t.is(second.requestId, refused.headers['x-for-request-id']);
  t.is(second.clientId, undefined);
});

test('a line of a text log shows method, endpoint, status, size, duration and request id', async (t) => {
  const { deployment, lines } = await logged(t, 'text');
  await send(deployment, { target: '/api/queue/v1/ping?a' });
  await until(() => lines.length >= 1, 'a line');
  t.regex(
    lines.at(-1) ?? '',
    /^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d Answering \/api\/queue\/v1\/ping \| GET \| queue\.ping \| 400 \| \d+ bytes \| \d+ ms \| - \| [\w-]{36}$/,
  );
});

test('routine requests are not logged unless they fail', async (t) => {
  const { deployment, lines, queue } = await logged(t, 'json');
  for (const target of ['/__heartbeat__', '/__lbheartbeat__', '/__version__']) {
    t.is((await send(deployment, { target })).status, 200);
  }
  await queue.ping();
  await until(() => lines.length > 0, 'a line');
  t.deepEqual(
    lines.map((line) => JSON.parse(line).endpoint),
    ['queue.ping'],
  );
});

test('a fault has the id of its request as the incident id, in the answer and in the log', async (t) => {
  const database = await schemaFor();
  const { deployment, lines } = await logged(t, 'json', { database });
  await database.script('ALTER TABLE secrets RENAME TO elsewhere');
  const { clientId, accessToken } = deployment.credentials;
  const target = '/api/secrets/v1/secret/x';
  const header = authorization(deployment, { client: { clientId, accessToken }, target });
  const failed = await send(deployment, { target, headers: { Authorization: header } });
  const id = String(failed.headers['x-for-request-id']);
  t.is(failed.status, 500);
  t.true(failed.json.message.includes(`incidentId ${id}.`));
  // Housekeeping has faults of its own.
  const about = () =>
    lines.map((line) => JSON.parse(line)).filter((line) => JSON.stringify(line).includes(id));
  await until(() => about().length === 2, 'the lines');
  const [fault, request] = about();
  t.like(fault, { level: 'error', incidentId: id });
  t.regex(fault.fault, /secrets/);
  t.like(request, { level: 'info', requestId: id, status: 500 });
});

test('a deployment does not wait for the reader of its log, and counts the lines that it drops', (t) => {
  const written: string[] = [];
  const doors: (() => void)[] = [];
  const log = new Log({
    output(lines, done) {
      written.push(lines);
      doors.push(done);
    },
  });
  for (let number = 0; number < 1000; number += 1) {
    log.notice(`${number} ${'x'.repeat(1000)}`);
  }
  t.is(written.length, 1);
  t.true(log.lost > 400 && log.lost < 500);
  doors[0]?.();
  t.is(written.length, 2);
  t.true((written[1]?.length ?? 0) <= 512 * 1024);
});

test('metrics take a port on loopback or an address', (t) => {
  t.deepEqual(readMetricsAddress('9090'), { host: '127.0.0.1', port: 9090 });
  t.deepEqual(readMetricsAddress('0.0.0.0:0'), { host: '0.0.0.0', port: 0 });
  t.deepEqual(readMetricsAddress('[::1]:9090'), { host: '::1', port: 9090 });
  for (const none of ['', ':9090', '65536', 'localhost:9090', '127.0.0.1', '::1:9', '[]:1', '-1']) {
    t.throws(() => readMetricsAddress(none), { message: /^'.*' is not where metrics can be read/ });
  }
});

test('metrics have an address of their own, and name no task queue and no client', async (t) => {
  const { deployment, queue } = await logged(t, 'json', { metrics: '0' });
  await queue.createTask(taskcluster.slugid(), definition());
  await send(deployment, { target: '/api/queue/v1/pending/a/b' });
  const read = async () => (await fetch(String(deployment.metricsUrl))).text();
  await until(async () => /"queue.pendingTasks"/.test(await read()), 'the request being counted');
  const metrics = await read();
  for (const line of [
    /^taskcluster_local_requests_total\{endpoint="queue.createTask",status="200"\} 1$/m,
    /^taskcluster_local_requests_total\{endpoint="queue.pendingTasks",status="403"\} 1$/m,
    /^taskcluster_local_request_duration_seconds_count\{endpoint="queue.createTask"\} 1$/m,
    /^taskcluster_local_tasks\{state="pending"\} 1$/m,
    /^taskcluster_local_database_up 1$/m,
    /^taskcluster_local_listen_heard 1$/m,
    /^taskcluster_local_authentications_total\{result="verified"\} [1-9]/m,
    /^taskcluster_local_running_requests 0$/m,
    /^process_resident_memory_bytes /m,
  ]) {
    t.regex(metrics, line);
  }
  t.notRegex(metrics, /static\/taskcluster|demo\/local/);
  for (const target of ['/metrics', '/__metrics__']) {
    t.is((await send(deployment, { target })).status, 404);
  }
  const { status } = await fetch(String(deployment.metricsUrl), { method: 'POST' });
  t.is(status, 405);
});

test('a deployment that is about to stop goes on serving, and tells waiting workers and balancers', async (t) => {
  const { deployment, queue } = await logged(t, 'json', { metrics: '0' });
  const waiting = queue.claimWork('nothing/here', { ...WORKER, tasks: 1 });
  await runs(deployment, 1);
  const stopped = deployment.stop({ delay: 3_600_000, grace: 3_600_000 });
  t.deepEqual(await waiting, { tasks: [] });
  t.deepEqual(await queue.claimWork('nothing/here', { ...WORKER, tasks: 1 }), { tasks: [] });
  for (const target of ['/__lbheartbeat__', '/__heartbeat__']) {
    t.is((await send(deployment, { target })).status, 503);
  }
  const ping = await send(deployment, { target: '/api/queue/v1/ping' });
  t.deepEqual([ping.status, ping.headers.connection], [200, 'close']);
  void deployment.stop();
  await within(stopped, 'its end');
});

test('a deployment that stops finishes running requests, and takes no new ones', async (t) => {
  const { deployment } = await logged(t, 'json', { metrics: '0' });
  const running = openRequest(deployment.rootUrl);
  await runs(deployment, 1);
  const stopped = deployment.stop({ grace: 3_600_000 });
  const refuses = () =>
    send(deployment, { target: '/' }).then(
      () => false,
      () => true,
    );
  await until(refuses, 'its port being closed');
  running.finish();
  t.is(await running.status, 403);
  await within(stopped, 'its end');
});

test('a request that outlasts the grace is broken off', async (t) => {
  const { deployment } = await logged(t, 'json', { metrics: '0' });
  const stuck = openRequest(deployment.rootUrl);
  await runs(deployment, 1);
  await within(deployment.stop({ grace: 100 }), 'its end');
  await t.throwsAsync(stuck.status);
});

/** A call of which the body is not whole yet, without a scope that it needs. */
function openRequest(rootUrl: string) {
  const { hostname, port } = new URL(rootUrl);
  const request = httpRequest({
    host: hostname,
    port,
    method: 'PUT',
    path: '/api/secrets/v1/secret/x',
    headers: { 'Content-Type': 'application/json', 'Content-Length': 2 },
    agent: false,
  });
  const answered = gate<number>();
  request.on('response', (response: IncomingMessage) => {
    response.resume();
    answered.open(response.statusCode ?? 0);
  });
  request.on('error', (error) => answered.fail(error));
  request.write('{');
  return { status: answered.opened, finish: () => request.end('}') };
}

test('status tells how the data stand, beside a process that runs and without', async (t) => {
  const folder = freshDirectory(t);
  const run = async (...args: string[]) => {
    const child = spawn(process.execPath, [COMMAND, ...args, '--data-folder', folder]);
    endsWith(t, child);
    const end = Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
    const [stdout, stderr, [code]] = await within(end, 'its end', DATABASE_PATIENCE_MS);
    return { stdout, stderr, code };
  };
  const nothing = await run('status');
  t.deepEqual([nothing.code, nothing.stdout], [1, '']);
  t.regex(nothing.stderr, /^taskcluster-local: there are no data in /);

  const args = ['start', '--data-folder', folder, '--log-format', 'json'];
  const child = spawn(process.execPath, [COMMAND, ...args]);
  endsWith(t, child);
  const said = text(child.stderr);
  const { rootUrl } = await howToReach(child);
  const { headers } = await fetch(`${rootUrl}/api/queue/v1/ping`);
  const beside = await run('status', '--json');
  t.is(beside.code, 0, beside.stderr);
  t.like(JSON.parse(beside.stdout), { processes: 1, listen: 'heard', problems: [] });

  child.kill('SIGTERM');
  t.deepEqual(await within(once(child, 'exit'), 'its end'), [0, null]);
  const lines = (await said).trimEnd().split('\n');
  const ids = lines.map((line) => JSON.parse(line).requestId);
  t.true(ids.includes(headers.get('x-for-request-id')));
  const without = await run('status');
  t.is(without.code, 0, without.stderr);
  t.regex(without.stdout, /^processes +0\n.*\nmigrations +(\d+) of \1, .*\nclients +3$/ms);
});
