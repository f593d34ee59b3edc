// The process as its launcher and other users of the machine see it: readiness, signals, and no secrets
// in the process list, /proc and core dumps.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { version } from 'taskcluster-proxy';
import { endsWith } from '../harness/child.js';
import { COMMAND, ENOUGH, runCommand, startCommand } from '../harness/command.js';
import { copyForOthers } from '../harness/copy.js';
import { gate, pause, STILL_MS, within } from '../harness/deadline.js';
import { appears, freshDirectory } from '../harness/directory.js';
import { closes, listens, unusedPort } from '../harness/port.js';
import { temporaryCredentials } from '../harness/signature.js';

const LISTEN = ['--port', '0', '--ip-address', '127.0.0.1'];
const SECRET = 'S3cret-t0ken-of-the-test';

const linuxTest = process.platform === 'linux' ? test : test.skip;
const rootTest = process.platform === 'linux' && process.getuid?.() === 0 ? test : test.skip;
if (rootTest === test.skip) {
  console.log('skipped here: tests that run the proxy as another user, which takes root on Linux');
}

test('the proxy names every listener, and writes the ready file in one piece', async (t) => {
  const directory = freshDirectory(t);
  const file = path.join(directory, 'ready.json');
  const args = ['--ready-file', file, '-p0', '-i', '127.0.0.1', '-i', '::1'];
  const { pid, lines, urls } = await startCommand(t, args, ENOUGH, 2);
  const [first = '', second = ''] = urls;
  const { port } = new URL(first);
  t.deepEqual(urls, [`http://127.0.0.1:${port}`, `http://[::1]:${port}`]);
  t.deepEqual(
    lines,
    urls.map((url) => `Listening on ${url}`),
  );
  await appears(file);
  t.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { pid, addresses: urls, version });
  t.deepEqual(readdirSync(directory), ['ready.json']);
  for (const url of [first, second]) {
    t.is((await fetch(`${url}/__lbheartbeat__`)).status, 200, url);
  }
});

test('a ready file that cannot be written ends the proxy with 1', async (t) => {
  const file = path.join(freshDirectory(t), 'missing', 'ready.json');
  const { code, stderr } = await runCommand(t, ['--ready-file', file, ...LISTEN], ENOUGH);
  t.regex(lastLine(stderr), /^taskcluster-proxy: cannot write the ready file: ENOENT: .*missing/);
  t.is(code, 1);
});

test('the proxy goes on when its output has no reader', async (t) => {
  const child = spawn(
    process.execPath,
    [COMMAND, '-i', '127.0.0.1', '-p', `${await unusedPort()}`],
    {
      env: { ...ENOUGH },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  endsWith(t, child);
  child.stdout.destroy();
  child.stderr.destroy();
  const port = child.spawnargs.at(-1);
  await listens(Number(port));
  for (let count = 0; count < 3; count += 1) {
    t.is((await fetch(`http://127.0.0.1:${port}/none`)).status, 404);
  }
});

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal} lets a running request finish and ends the proxy with 0`, async (t) => {
    const upstream = await startUpstream(t);
    const { child, urls, exited } = await startCommand(t, LISTEN, upstream.env);
    const answer = fetch(`${urls[0]}/queue/v1/slow`);
    const response = await within(upstream.asked, 'a request');
    child.kill(signal);
    await closes(Number(new URL(urls[0] ?? '').port));
    t.is(child.exitCode, null);
    response.end('whole');
    t.is(await (await answer).text(), 'whole');
    t.deepEqual(await within(exited, 'the end'), [0, null]);
  });
}

test('--grace bounds how long a running request may take', async (t) => {
  const upstream = await startUpstream(t);
  const { child, urls, exited } = await startCommand(
    t,
    [...LISTEN, '--grace', '200ms'],
    upstream.env,
  );
  const answer = fetch(`${urls[0]}/queue/v1/slow`);
  await within(upstream.asked, 'a request');
  child.kill('SIGTERM');
  await t.throwsAsync(answer);
  t.deepEqual(await within(exited, 'the end'), [0, null]);
});

test('a second signal ends the proxy at once', async (t) => {
  const upstream = await startUpstream(t);
  const { child, urls, exited } = await startCommand(t, LISTEN, upstream.env);
  const answer = fetch(`${urls[0]}/queue/v1/slow`);
  await within(upstream.asked, 'a request');
  child.kill('SIGTERM');
  await closes(Number(new URL(urls[0] ?? '').port));
  child.kill('SIGINT');
  await t.throwsAsync(answer);
  t.deepEqual(await within(exited, 'the end'), [130, null]);
});

linuxTest('the proxy is one process, and SIGKILL frees its port', async (t) => {
  const { child, pid, urls, exited } = await startCommand(t, LISTEN);
  t.is((await fetch(`${urls[0]}/none`)).status, 404);
  t.deepEqual(childrenOf(pid), []);
  child.kill('SIGKILL');
  await exited;
  const port = new URL(urls[0] ?? '').port;
  const again = await startCommand(t, ['-i', '127.0.0.1', '-p', port]);
  t.deepEqual(again.urls, urls);
});

linuxTest('the proxy shows no secret in the process list', async (t) => {
  const { certificate } = temporaryCredentials(['a']);
  const visible = [...LISTEN, '--client-id', 'visible'];
  const secret = ['--access-token', SECRET, `--certificate=${certificate}`];
  const { pid } = await startCommand(t, [...visible, ...secret, 'some:scope']);
  const shown = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '');
  const flags = [...visible, '--access-token', '***', '--certificate=***'].join(' ');
  t.is(shown, `taskcluster-proxy ${flags} some:scope`);
});

linuxTest('the proxy writes no core file and opens no inspector', async (t) => {
  const { child, pid, urls, stderr } = await startCommand(t, LISTEN);
  t.regex(readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
  child.kill('SIGUSR1');
  await pause(STILL_MS);
  t.is((await fetch(`${urls[0]}/none`)).status, 404);
  t.notRegex(stderr(), /Debugger|inspector/);
});

const OTHER_USER = 54_321;

/** What a process of `OTHER_USER` can read of another one's memory, environment and descriptors. */
const PRY = `
  for (const name of ['environ', 'mem', 'maps', 'auxv', 'fd']) {
    try {
      const { fd, readdirSync, readFileSync, openSync } = require('node:fs');
      const path = '/proc/' + process.argv[1] + '/' + name;
      name === 'fd' ? readdirSync(path) : name === 'mem' ? openSync(path) : readFileSync(path);
      console.log(name);
    } catch {}
  }`;

async function readable(pid: number): Promise<string[]> {
  const pry = spawn(process.execPath, ['-e', PRY, `${pid}`], {
    uid: OTHER_USER,
    gid: OTHER_USER,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return (await text(pry.stdout)).split('\n').filter(Boolean);
}

rootTest(
  "other processes of the proxy's user read neither its memory nor its environment",
  async (t) => {
    const { PATH = '' } = process.env;
    const options = {
      uid: OTHER_USER,
      gid: OTHER_USER,
      cwd: '/',
      env: { ...ENOUGH, PATH },
      stdio: ['ignore', 'pipe', 'inherit'] as ['ignore', 'pipe', 'inherit'],
    };
    const bare = spawn(
      process.execPath,
      ['-e', 'console.log(1); setInterval(() => {}, 1e9)'],
      options,
    );
    const proxy = spawn(process.execPath, [copyForOthers(t), ...LISTEN], options);
    t.teardown(() => {
      bare.kill('SIGKILL');
      proxy.kill('SIGKILL');
    });
    await within(Promise.all([bare, proxy].map(({ stdout }) => once(stdout, 'data'))), 'both');
    t.true((await readable(bare.pid ?? 0)).includes('environ'), 'the check itself');
    t.deepEqual(await readable(proxy.pid ?? 0), []);
  },
);

/** An upstream that hands out the answer to its first request. */
async function startUpstream(t: ExecutionContext) {
  const asked = gate<ServerResponse<IncomingMessage>>();
  const server = createServer((_, response) => asked.open(response)).listen(0, '127.0.0.1');
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const env = { ...ENOUGH, TASKCLUSTER_ROOT_URL: `http://127.0.0.1:${port}` };
  return { asked: asked.opened, env };
}

function childrenOf(pid: number): string[] {
  return readdirSync('/proc').filter((entry) => {
    try {
      const [, , parent] = /\) (.) (\d+)/.exec(readFileSync(`/proc/${entry}/stat`, 'utf8')) ?? [];
      return Number(parent) === pid;
    } catch {
      return false;
    }
  });
}

function lastLine(output: string): string {
  return output.trimEnd().split('\n').at(-1) ?? '';
}
