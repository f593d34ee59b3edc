/**
 * Whether a build works on this machine, without a test runner: it starts, has a request signed, takes
 * new credentials, moves 100 MiB up and down, and ends on a signal.
 *
 * Usage: node tools/smoke.mjs [PROGRAM [ARGUMENT]...], the one file for instance, or another platform's
 * Node with the command. By default dist/ with the addon of build/platforms/, or where there is none that
 * beside package.json.
 */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { binaryOf, PLATFORMS, ROOT } from './platforms.mjs';

const SIZE = 100 * 2 ** 20;
const CREDENTIALS = { clientId: 'project/smoke', accessToken: 'not-a-secret' };
const NEXT = { ...CREDENTIALS, clientId: 'project/next' };

/** Long enough for a machine that another machine emulates. */
setTimeout(() => fail('it took longer than 5 minutes'), 300_000).unref();

const body = randomBytes(SIZE);
const upstream = createServer(answer).listen(0, '127.0.0.1');
await once(upstream, 'listening');
const proxy = start(`http://127.0.0.1:${upstream.address().port}`);
const exited = once(proxy, 'exit');
exited.then(([code, signal]) => proxy.killed || fail(`it ended with ${code ?? signal}`));
const [line] = await once(proxy.stdout.setEncoding('utf8'), 'data');
const url = /^Listening on (\S+)/.exec(line)?.[1];

await check('a signed request', '/queue/v1/ping', {}, 'project/smoke');
await check('new credentials', '/credentials', { method: 'PUT', body: JSON.stringify(NEXT) });
await check('100 MiB up', '/queue/v1/up', { method: 'PUT', body }, 'project/next');
const down = await check('100 MiB down', '/queue/v1/down', {}, 'project/next');
if (!down.equals(body)) {
  fail('100 MiB down: other bytes came');
}
// Windows has no SIGTERM, and Node's other signals end a process at once there; Wine passes this one on as Ctrl+C.
const isForWindows =
  /\.win32-[^/]*$/.test(process.env.TASKCLUSTER_PROXY_BINARY ?? '') ||
  process.argv.some((argument) => argument.endsWith('.exe'));
const signal = isForWindows ? 'SIGINT' : 'SIGTERM';
proxy.kill(signal);
const [code, killedBy] = await exited;
if (process.platform !== 'win32' && code !== 0) {
  fail(`${signal}: it ended with ${code ?? killedBy}`);
}
console.log(`${whatRan()}: it works`);
process.exit(0);

function start(rootUrl) {
  const [named, ...more] = process.argv.slice(2);
  const [program, ...args] =
    named === undefined
      ? [process.execPath, join(ROOT, 'dist/cli/taskcluster-proxy.cjs')]
      : [resolve(named), ...more];
  const addon = named === undefined ? addonOfThisMachine() : undefined;
  const { clientId, accessToken } = CREDENTIALS;
  const flags = ['--port', '0', '--ip-address', '127.0.0.1', '--log-level', 'warn'];
  return spawn(program, [...args, ...flags, '--root-url', rootUrl, '--client-id', clientId], {
    env: {
      ...process.env,
      TASKCLUSTER_ACCESS_TOKEN: accessToken,
      ...(addon && { TASKCLUSTER_PROXY_BINARY: addon }),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

function whatRan() {
  const command = process.argv.slice(2);
  const { platform, arch, versions } = process;
  return command.length === 0 ? `${platform} on ${arch}, Node ${versions.node}` : command.join(' ');
}

function addonOfThisMachine() {
  return PLATFORMS.filter(({ name }) => `${name}-`.startsWith(machine()))
    .map((platform) => join(ROOT, 'build/platforms', binaryOf(platform)))
    .find(existsSync);
}

/** How the name of this machine's platform begins; on Linux with the C library of this process. */
function machine() {
  const { header } = process.report.getReport();
  const libc = header.glibcVersionRuntime === undefined ? 'musl' : 'gnu';
  const place = `${process.platform}-${process.arch}-`;
  return process.platform === 'linux' ? `${place}${libc}` : place;
}

async function answer(request, response) {
  const received = await buffer(request);
  const { authorization = '' } = request.headers;
  if (
    !/^Hawk id="project\/(smoke|next)", ts="\d+", nonce="[^"]+", .*mac="[^"]+"$/.test(authorization)
  ) {
    response.writeHead(401).end('not signed');
  } else if (request.method === 'PUT' && !received.equals(body)) {
    response.writeHead(400).end('other bytes came');
  } else {
    response.end(request.url.endsWith('/down') ? body : 'ok');
  }
}

async function check(what, path, options, clientId) {
  const answered = await fetch(`${url}${path}`, options);
  const received = Buffer.from(await answered.arrayBuffer());
  const signedFor = answered.headers.get('x-taskcluster-proxy-perm-clientid');
  if (answered.status !== 200 || (clientId !== undefined && signedFor !== clientId)) {
    fail(`${what}: ${answered.status}, signed for ${signedFor}: ${received.subarray(0, 200)}`);
  }
  console.log(`${what}: as it should be`);
  return received;
}

function fail(sentence) {
  console.error(`The build does not work here: ${sentence}.`);
  proxy?.kill('SIGKILL');
  process.exit(1);
}
