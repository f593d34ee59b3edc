// The audit log: a line for each request, kept where it cannot be written, and its rotation.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { startProxy as startInProcess } from '../../ts/index.js';
import { ENOUGH, runCommand } from '../harness/command.js';
import { until } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { type ProxyOptions, type RunningProxy, startProxy } from '../harness/proxy.js';
import { temporaryCredentials } from '../harness/signature.js';
import { startUpstream } from '../harness/upstream.js';
import { type Fields, value } from '../harness/wire.js';

interface Line {
  readonly time: string;
  readonly peer: string;
  readonly target: string;
  readonly verdict: string;
  readonly status: number;
  readonly ms: number;
  readonly code?: string;
  readonly clientId?: string;
}

function linesOf(file: string): Line[] {
  const text = readFileSync(file, 'utf8');
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line);
}

async function lines(file: string, number: number): Promise<Line[]> {
  await until(() => linesOf(file).length >= number, `${number} lines of the audit log`);
  return linesOf(file);
}

async function start(t: ExecutionContext, options: Partial<ProxyOptions> = {}) {
  const upstream = await startUpstream(t);
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const flags = ['--audit-log', file, ...(options.flags ?? [])];
  const proxy = await startProxy(t, { rootUrl: upstream.url, ...options, flags });
  return { upstream, proxy, file };
}

test('a line has the client, the request, the signing client with its scopes, and the outcome', async (t) => {
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const { upstream, proxy, file } = await start(t, {
    credentials: temporaryCredentials(['a:*', 'b'], 'task/x'),
    scopes: ['a:*'],
  });
  const narrowing: [string, string] = ['X-Taskcluster-Authorized-Scopes', '["a:b"]'];
  const asks = [
    () => proxy.get('/queue/v1/x?bewit=secret', [['traceparent', trace]]),
    () => proxy.get('/queue/v1/x', [narrowing]),
    () => proxy.get('/queue/v1/x', [['X-Taskcluster-Authorized-Scopes', '["b"]']]),
    () => proxy.request('POST', '/bewit', { body: `${upstream.url}/y` }),
    () => proxy.request('POST', '/bewit', { body: `${upstream.url}/y`, fields: [narrowing] }),
    () => proxy.get('/nowhere'),
    () => proxy.get('/__heartbeat__'),
    () => proxy.exchange('GET / HTTP/1.1\nHost: x\n\n'),
  ];
  const found: Line[] = [];
  for (const [at, ask] of asks.entries()) {
    const answer = await ask();
    const line = (await lines(file, at + 1))[at] as Line;
    t.is(line.status, answer.status, JSON.stringify(line));
    t.is(line.code, value(answer.fields, 'x-taskcluster-proxy-error'));
    t.regex(line.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    t.is(line.peer, '127.0.0.1');
    t.is(typeof line.ms, 'number');
    found.push(line);
  }
  const [plain, narrowed, beyond, bewit, narrowedBewit, nowhere, here, torn] = found;
  const signed = { clientId: 'task/x', scopes: ['a:*', 'b'] };
  t.like(plain, {
    ...signed,
    method: 'GET',
    target: '/queue/v1/x?bewit=<redacted>',
    upstream: `${upstream.url}/api/queue/v1/x?bewit=<redacted>`,
    verdict: 'forwarded',
    authorizedScopes: ['a:*'],
    tries: 1,
    traceparent: trace,
  });
  t.like(narrowed, { ...signed, authorizedScopes: ['a:b'], narrowed: true });
  t.like(beyond, { verdict: 'refused', code: 'scopes-not-satisfied' });
  t.is(beyond?.clientId, undefined);
  t.like(bewit, { ...signed, verdict: 'answered', signedUrl: `${upstream.url}/y` });
  t.is((bewit as { narrowed?: true } | undefined)?.narrowed, undefined);
  t.like(narrowedBewit, { verdict: 'answered', authorizedScopes: ['a:b'], narrowed: true });
  t.like(nowhere, { verdict: 'refused', code: 'no-route' });
  t.like(here, { verdict: 'answered' });
  t.like(torn, { method: '-', target: '-', verdict: 'refused', code: 'malformed-head' });
  t.false(readFileSync(file, 'utf8').includes('secret'));
  if (process.platform !== 'win32') {
    t.is(statSync(file).mode & 0o777, 0o600);
  }
});

test('a line has the number of tries and the request id of upstream, on both wires', async (t) => {
  let asked = 0;
  const upstream = await startUpstream(t, {
    handler: (exchange) => {
      asked += 1;
      const fields: Fields = [['x-for-request-id', `id-${asked}`]];
      return exchange.respond(asked % 2 === 1 ? 500 : 200, { fields, body: 'body' });
    },
  });
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const flags = ['--audit-log', file, '--retry-first', '1ms'];
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  await proxy.get('/queue/v1/x');
  const head = 'POST /queue/v1/x HTTP/1.1\r\nHost: taskcluster\r\nTransfer-Encoding: chunked\r\n';
  await proxy.exchange(`${head}\r\n0\r\n\r\n`);
  const [bare, byHyper] = await lines(file, 2);
  t.like(bare, { tries: 2, requestId: 'id-2', bytes: 4, status: 200 });
  t.like(byHyper, { method: 'POST', tries: 2, requestId: 'id-4', bytes: 4, status: 200 });
});

test('a refusal by the proxy has its code in the line and in the answer, and upstream cannot forge it', async (t) => {
  const upstream = await startUpstream(t, {
    handler: (exchange) =>
      exchange.respond(200, { fields: [['x-taskcluster-proxy-error', 'forged']] }),
  });
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const flags = ['--audit-log', file, '--retry-for', '0'];
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
  t.is(value((await proxy.get('/queue/v1/x')).fields, 'x-taskcluster-proxy-error'), undefined);
  const away = await proxy.get('/127.0.0.1/x');
  t.is(value(away.fields, 'x-taskcluster-proxy-error'), 'upstream-kept-off');
  const [, line] = await lines(file, 2);
  t.like(line, { code: 'upstream-kept-off', status: 403, upstream: 'https://127.0.0.1/x' });
});

test('on SIGHUP the proxy goes on in a new file, and loses no line', async (t) => {
  const { proxy, file } = await start(t);
  await proxy.get('/queue/v1/before');
  await lines(file, 1);
  renameSync(file, `${file}.1`);
  proxy.child.kill('SIGHUP');
  await until(() => spawnSync('test', ['-e', file]).status === 0, 'the new file');
  await proxy.get('/queue/v1/after');
  t.is((await lines(file, 1))[0]?.target, '/queue/v1/after');
  t.is(linesOf(`${file}.1`).length, 1);
});

const asRoot = process.platform === 'linux' && process.getuid?.() === 0 ? test : test.skip;

asRoot('where users are checked, a line names the user', async (t) => {
  const { proxy, file } = await start(t, { flags: ['--allowed-user', 'root'] });
  await proxy.get('/queue/v1/x');
  t.is((await lines(file, 1))[0]?.peer, 'uid 0');
});

/** A file system of 64 KiB. */
function tinyDisk(t: ExecutionContext): string {
  const folder = path.join(freshDirectory(t), 'disk');
  mkdirSync(folder);
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
  t.is(mounted.status, 0, `${mounted.stderr}`);
  t.teardown(() => spawnSync('umount', ['--lazy', folder]));
  return folder;
}

for (const required of [true, false]) {
  const what = required ? 'nothing is signed' : 'requests are signed';
  asRoot(`while the disk is full ${what}, and no line is lost`, async (t) => {
    const disk = tinyDisk(t);
    const file = path.join(disk, 'audit.jsonl');
    const upstream = await startUpstream(t);
    const proxy = await startProxy(t, {
      rootUrl: upstream.url,
      flags: ['--audit-log', file, ...(required ? ['--audit-required'] : [])],
    });
    await proxy.get('/queue/v1/0');
    await lines(file, 1);
    const filler = path.join(disk, 'filler');
    spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=4k']);
    let asked = 1;
    const ask = async () => (await proxy.get(`/queue/v1/${asked++}`)).status;
    // The rest of the last page is filled first.
    await until(
      async () => (await ask()) !== 200 || /cannot be written/.test(proxy.log),
      'a full disk',
    );
    await proxy.logged(/error: The audit log cannot be written: .*/);
    const before = upstream.exchanges.length;
    for (let more = 0; more < 20; more += 1) {
      const answer = await proxy.get(`/queue/v1/${asked++}`);
      t.is(answer.status, required ? 503 : 200);
      const code = required ? 'audit-not-writable' : undefined;
      t.is(value(answer.fields, 'x-taskcluster-proxy-error'), code);
    }
    t.is(upstream.exchanges.length, required ? before : before + 20);
    const bewit = await proxy.request('POST', '/bewit', { body: `${upstream.url}/y` });
    t.is(bewit.status, required ? 503 : 303);
    t.is((await proxy.get('/__heartbeat__')).status, required ? 503 : 200);
    t.is((await proxy.get('/__lbheartbeat__')).status, 200);
    rmSync(filler);
    await proxy.logged(/warning: The audit log is written again/);
    await until(async () => (await ask()) === 200, 'a signature');
    const all = await lines(file, asked + 3);
    const targets = new Set(all.map(({ target }) => target));
    t.deepEqual(
      Array.from({ length: asked }, (_, at) => `/queue/v1/${at}`).filter(
        (target) => !targets.has(target),
      ),
      [],
    );
    t.is(all.filter(({ verdict }) => verdict === 'forwarded').length, upstream.exchanges.length);
  });
}

const onLinux = process.platform === 'linux' ? test : test.skip;

onLinux('the log can be a descriptor that the launcher has opened', async (t) => {
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const fourth = openSync(file, 'a');
  const upstream = await startUpstream(t);
  const flags = ['--audit-log', '/dev/fd/3'];
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags, fourth });
  closeSync(fourth);
  await proxy.get('/queue/v1/a');
  t.is((await lines(file, 1))[0]?.target, '/queue/v1/a');
  proxy.child.kill('SIGHUP');
  await proxy.get('/queue/v1/b');
  t.is((await lines(file, 2))[1]?.target, '/queue/v1/b', 'also after its rotation');
});

async function lostLines(proxy: Pick<RunningProxy, 'get'>): Promise<number> {
  const { body } = await proxy.get('/__metrics__');
  const [, count] =
    body.toString().match(/^taskcluster_proxy_lost_audit_lines_total (\d+)$/m) ?? [];
  return Number(count);
}

for (const required of [true, false]) {
  const what = required ? 'of requests that are refused' : 'of requests that are signed';
  onLinux(`the proxy counts lost lines ${what}`, async (t) => {
    const upstream = await startUpstream(t);
    const flags = ['--audit-log', '/dev/full', ...(required ? ['--audit-required'] : [])];
    const proxy = await startProxy(t, { rootUrl: upstream.url, flags });
    t.is(await lostLines(proxy), 0);
    await proxy.get('/queue/v1/first');
    await proxy.logged(/error: The audit log cannot be written: /);
    // A line has its target twice: 4 MiB are full after some 40 of these.
    const target = `/queue/v1/${'x'.repeat(50_000)}`;
    const status = required ? 503 : 200;
    let asked = 0;
    for (; asked < 30; asked += 1) {
      t.is((await proxy.get(target)).status, status);
    }
    t.is(await lostLines(proxy), 0);
    for (; asked < 100; asked += 1) {
      t.is((await proxy.get(target)).status, status);
    }
    const count = await lostLines(proxy);
    t.true(count >= 50 && count <= 65, `${count} lines of ${asked}`);
    proxy.child.kill('SIGTERM');
    await proxy.logged(/\d+ lines of the audit log could not be written/);
    await proxy.exited;
  });
}

onLinux('at the end the proxy says how many lines a reader has not taken', async (t) => {
  const pipe = path.join(freshDirectory(t), 'pipe');
  t.is(spawnSync('mkfifo', [pipe]).status, 0);
  // Held open at both ends, and read by no program.
  const fourth = openSync(pipe, constants.O_RDWR);
  t.teardown(() => closeSync(fourth));
  const upstream = await startUpstream(t);
  const flags = ['--audit-log', '/dev/fd/3'];
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags, fourth });
  for (let asked = 0; asked < 20; asked += 1) {
    t.is((await proxy.get(`/queue/v1/${'x'.repeat(5_000)}`)).status, 200);
  }
  proxy.child.kill('SIGTERM');
  await proxy.logged(/[1-9]\d* lines of the audit log could not be written/);
  await proxy.exited;
});

test('the proxy begins a new line if the file ends in half a line, as a full disk leaves it', async (t) => {
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const half = '{"time":"2026-01';
  writeFileSync(file, half);
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags: ['--audit-log', file] });
  await proxy.get('/queue/v1/a');
  const written = () => readFileSync(file, 'utf8').split('\n');
  await until(() => written().length === 3, 'a line');
  const [first, second = ''] = written();
  t.is(first, half);
  t.is((JSON.parse(second) as Line).target, '/queue/v1/a');
});

test('an invalid option for the audit log keeps the proxy from starting', async (t) => {
  const folder = freshDirectory(t);
  writeFileSync(path.join(folder, 'file'), '');
  for (const [args, says] of [
    [['--audit-log', ''], /--audit-log is empty: give it a value/],
    [['--audit-log', 'audit.jsonl'], /--audit-log audit\.jsonl cannot be written: its path is not/],
    [['--audit-log', folder], /--audit-log .* cannot be written: /],
    [['--audit-log', path.join(folder, 'file', 'x')], /--audit-log .* cannot be written: /],
    [['--audit-required'], /--audit-required needs --audit-log beside it/],
    [['--audit-requird'], /did you mean --audit-required\?/],
    [['--port', '0', '--audit-log', '/dev/null'], /--audit-log follows --port/],
  ] as const) {
    const { code, stderr } = await runCommand(t, [...args], ENOUGH);
    t.is(code, 64, args.join(' '));
    t.regex(stderr, says);
  }
  const credentials = { clientId: 'a', accessToken: 'b' };
  const alone = { rootUrl: 'http://127.0.0.1:1', credentials, port: 0, auditRequired: true };
  await t.throwsAsync(startInProcess(alone), {
    message: /^auditRequired needs auditLog/,
    code: 'ERR_OPTIONS',
  });
});
