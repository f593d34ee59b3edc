// What the command costs before its first request: time from start to listening against an empty
// Node program, and resident memory against a bare `http` server. The bounds are 1.3 times and 8 MiB.
//
// Usage: node --import=tsx bench/startup.ts [rounds], on Linux, after `npm run build`.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const COMMAND = path.resolve(import.meta.dirname, '../dist/cli/taskcluster-proxy.cjs');
const PROXY = [COMMAND, '--port', '0', '--ip-address', '127.0.0.1'];
const SERVER = "require('http').createServer().listen(0, '127.0.0.1', () => console.log(1))";

const { PATH = '' } = process.env;
const env = {
  PATH,
  TASKCLUSTER_ROOT_URL: 'http://127.0.0.1:1',
  TASKCLUSTER_CLIENT_ID: 'project/bench',
  TASKCLUSTER_ACCESS_TOKEN: 'not-a-secret',
};

/** For memory to come to rest. */
const SETTLE_MS = 300;

interface Sample {
  milliseconds: number;
  /** Resident memory. */
  mebibytes: number;
}

/** Until the first line on stdout, which both programs write when they listen. */
async function listening(args: string[]): Promise<Sample> {
  const began = performance.now();
  const child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
  await once(child.stdout, 'data');
  const milliseconds = performance.now() - began;
  await sleep(SETTLE_MS);
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  child.kill('SIGKILL');
  await once(child, 'exit');
  return { milliseconds, mebibytes: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1]) / 1024 };
}

function empty(): number {
  const began = performance.now();
  spawnSync(process.execPath, ['-e', '0'], { env });
  return performance.now() - began;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

const rounds = Number(process.argv[2] ?? 15);
const empties: number[] = [];
const proxies: Sample[] = [];
const servers: Sample[] = [];
for (let round = 0; round < rounds; round += 1) {
  // In turn, so that whatever else the machine does falls on all alike.
  empties.push(empty());
  proxies.push(await listening(PROXY));
  servers.push(await listening(['-e', SERVER]));
}

const none = median(empties);
const start = median(proxies.map(({ milliseconds }) => milliseconds));
const own = median(proxies.map(({ mebibytes }) => mebibytes));
const bare = median(servers.map(({ mebibytes }) => mebibytes));
console.log(`node -e 0            ${none.toFixed(1)} ms`);
console.log(`start to listening   ${start.toFixed(1)} ms, ${(start / none).toFixed(2)} times that`);
console.log(`bare http server     ${bare.toFixed(1)} MiB`);
console.log(`idle proxy           ${own.toFixed(1)} MiB, ${(own - bare).toFixed(1)} MiB more`);
