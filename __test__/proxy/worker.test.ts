// A worker and its proxies over several tasks, as generic-worker of Taskcluster 106 has them on a
// machine with a user for each task: two tasks side by side, reclaims, ends, crashes, the next task
// with the same user id, and containers behind a bridge.
import { spawn } from 'node:child_process';
import type { ExecutionContext } from 'ava';
import { endsWith } from '../harness/child.js';
import { pause, STILL_MS, until } from '../harness/deadline.js';
import { makeNamespace } from '../harness/namespace.js';
import { accepts, closes, unusedPort } from '../harness/port.js';
import { requestBytes } from '../harness/proxy.js';
import { temporaryCredentials } from '../harness/signature.js';
import { startUpstream } from '../harness/upstream.js';
import { allowed, askAs, attack, other, quiet, testAsRoot, type User } from '../harness/users.js';
import { value } from '../harness/wire.js';
import { type TaskProxy, Worker } from '../harness/worker.js';

const testWorker = testAsRoot('launcher');
const ROOT_USER: User = { name: 'root', uid: 0 };

/** What the queue gives with a claim or reclaim of a run. */
const claim = (clientId: string) => temporaryCredentials(['queue:*'], clientId);

async function setUp(t: ExecutionContext) {
  const upstream = await startUpstream(t);
  const task = async (clientId: string, user: User, more: Partial<TaskProxy> = {}) => ({
    ipAddress: '127.0.0.1',
    port: await unusedPort(),
    rootUrl: upstream.url,
    allowedUser: user.name,
    // A worker writes a task's scopes behind its options.
    scopes: ['queue:create-artifact:*', 'a scope'],
    credentials: claim(clientId),
    ...more,
  });
  return { upstream, task };
}

/** The client as which a call of this user is signed; null where its connection gets no answer. */
async function signedAs(t: ExecutionContext, user: User, port: number, host?: string) {
  const answer = await askAs(t, user, port, requestBytes('GET', '/queue/v1/ping'), host);
  return answer && value(answer.fields, 'x-taskcluster-proxy-temp-clientid');
}

async function ask(t: ExecutionContext, user: User, port: number, method: string, target: string) {
  const parts = method === 'PUT' ? { body: JSON.stringify(claim('tests/stolen')) } : {};
  return askAs(t, user, port, requestBytes(method, target, parts));
}

testWorker(
  'two tasks side by side each have a proxy to themselves, with a user and reclaims of their own',
  async (t) => {
    const { upstream, task } = await setUp(t);
    const worker = new Worker(t);
    const [one, two] = [await task('tests/one', allowed), await task('tests/two', other)];
    await worker.start(0, one);
    await worker.start(1, two);
    const readiness = await ask(t, ROOT_USER, one.port, 'GET', '/__metrics__');
    t.regex(`${readiness?.body}`, /refused_connections_total 0\n/, 'readiness is no refusal');
    t.notRegex(worker.log, /Refused/);

    t.is(await signedAs(t, allowed, one.port), 'tests/one');
    t.is(await signedAs(t, other, two.port), 'tests/two');
    t.is(await signedAs(t, allowed, two.port), null);
    t.is(await signedAs(t, other, one.port), null);
    for (const [user, { port }] of [[allowed, one] as const, [other, two] as const]) {
      t.is((await ask(t, user, port, 'PUT', '/credentials'))?.status, 403);
    }

    t.is(await worker.update(0, claim('tests/one-reclaimed')), 200);
    t.is(await signedAs(t, allowed, one.port), 'tests/one-reclaimed');
    t.is(await signedAs(t, other, two.port), 'tests/two');

    await worker.terminate(0);
    t.false(await accepts(one.port), 'a task that has ended');
    t.is(await signedAs(t, other, two.port), 'tests/two', 'the one beside it');
    await worker.start(0, { ...one, credentials: claim('tests/next') });
    t.is(await signedAs(t, allowed, one.port), 'tests/next', 'the next one, by the same port');
    upstream.assertAllSigned(t);
    t.deepEqual(
      upstream.exchanges.map(
        ({ signature }) => 'authorizedScopes' in signature && signature.authorizedScopes,
      ),
      upstream.exchanges.map(() => one.scopes),
    );
  },
);

for (const crash of ['killed', 'panics'] as const) {
  testWorker(`a worker that is ${crash} leaves no port to the next task`, async (t) => {
    const { task } = await setUp(t);
    const first = new Worker(t);
    const [one, two] = [await task('tests/one', allowed), await task('tests/two', other)];
    await first.start(0, one);
    await first.start(1, two);
    t.is(await signedAs(t, allowed, one.port), 'tests/one');
    await first[crash]();
    await Promise.all([closes(one.port), closes(two.port)]);

    const second = new Worker(t);
    await second.start(0, { ...one, credentials: claim('tests/next') });
    t.is(await signedAs(t, allowed, one.port), 'tests/next', 'same port, same user id');
    t.is(await signedAs(t, other, one.port), null);
  });
}

testWorker('the proxy lives on when the thread of the worker that started it ends', async (t) => {
  const { task } = await setUp(t);
  const worker = new Worker(t);
  const one = await task('tests/one', allowed);
  // The launcher starts every proxy on a thread that ends at once.
  await worker.start(0, one);
  await pause(STILL_MS);
  t.is(await signedAs(t, allowed, one.port), 'tests/one');
});

testWorker('the proxy warns of a process that an earlier task has left behind', async (t) => {
  const { task } = await setUp(t);
  const left = spawn('sleep', ['600'], { uid: quiet.uid, stdio: 'ignore' });
  endsWith(t, left);
  const worker = new Worker(t);
  await worker.start(0, await task('tests/next', quiet));
  const line = new RegExp(`run already .*\\b${left.pid}\\b`);
  await t.notThrowsAsync(until(() => line.test(worker.log), 'the warning'));
});

for (const family of ['v4', 'v6'] as const) {
  testWorker(`the proxy serves a container behind a bridge, over IP${family}`, async (t) => {
    const namespace = makeNamespace(t);
    if (namespace === null) {
      t.pass();
      return;
    }
    const { host, network } = namespace[family];
    const { task, upstream } = await setUp(t);
    const worker = new Worker(t);
    const one = await task('tests/one', allowed, { ipAddress: host, allowedNetwork: network });
    await worker.start(0, one);
    const target = family === 'v4' ? `${host}:${one.port}` : `[${host}]:${one.port}`;
    const line = (uid: number) =>
      `--target ${target} --uid ${uid} --who guest --tries 5 --mode plain`;

    t.deepEqual((await attack(line(other.uid), namespace.name)).statuses, { 200: 5 });
    const put = `${line(0)} --request put`;
    t.deepEqual((await attack(put, namespace.name)).statuses, { 403: 5 }, 'no update from inside');
    t.is(await worker.update(0, claim('tests/reclaimed')), 200, 'the worker comes by loopback');
    t.is(await signedAs(t, allowed, one.port), 'tests/reclaimed');
    t.is(await signedAs(t, allowed, one.port, host), 'tests/reclaimed');
    t.is(await signedAs(t, other, one.port), null, 'on this side the user counts');
    t.is(await signedAs(t, other, one.port, host), null);

    const ran = upstream.exchanges.length;
    await worker.killed();
    await closes(one.port);
    t.is((await attack(line(allowed.uid), namespace.name)).answered, 0);
    t.is(upstream.exchanges.length, ran);
  });
}
