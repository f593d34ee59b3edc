// `npm start` after its set-up: a newcomer sees the output, the suggested commands work, and the demo
// leaves nothing behind.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { endsWith } from '../harness/child.js';
import { DATABASE_PATIENCE_MS, pause, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { SHORT_LIVED } from '../harness/local.js';
import { accepts, unusedPort } from '../harness/port.js';
import { testWith } from '../harness/tools.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const DEMO = path.join(ROOT, 'dist/cli/demo.js');
const run = promisify(execFile);

class Demo {
  readonly child: ChildProcess;
  readonly temporary: string;
  output = '';

  constructor(t: ExecutionContext, ...args: string[]) {
    this.temporary = freshDirectory(t);
    const env = { ...process.env, TMPDIR: this.temporary };
    this.child = spawn(process.execPath, [...SHORT_LIVED, DEMO, ...args], {
      env,
      cwd: this.temporary,
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    endsWith(t, this.child);
  }

  async says(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.output);
      if (found !== null) {
        return found;
      }
      if (this.child.exitCode !== null) {
        throw new Error(`it has ended without ${pattern}:\n${this.output}`);
      }
      await pause(20);
    }
  }

  async ended(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      await within(once(this.child, 'close'), 'the end of the demo', DATABASE_PATIENCE_MS);
    }
    return this.child.exitCode;
  }

  /** Whether a process listens at a URL that the demo has printed. */
  serves(url: string): Promise<boolean> {
    return accepts(Number(new URL(url).port));
  }
}

test('--once moves an artifact, says what happened, and leaves nothing', async (t) => {
  const demo = new Demo(t, '--once', '--size', '20MiB');
  t.is(await demo.ended(), 0, demo.output);
  const { output } = demo;
  for (const said of [
    /^A private Taskcluster deployment runs at http:\/\/127\.0\.0\.1:\d+\./,
    /^worker-1 claimed task \S+ and started taskcluster-proxy for it at http:\/\/127\.0\.0\.1:\d+,/m,
    /^Upload {3}20 MiB in [\d.]+ s \(\d+ MiB\/s\)$/m,
    /^Download 20 MiB in [\d.]+ s \(\d+ MiB\/s\)$/m,
    /^Who asked: .* without credentials$/m,
    /^What was signed: .*\n +task-client\/\S+\/0\/on\/demo\/worker-1\/until\/\d+$/m,
    /^ +queue:get-artifact:public\/\*$/m,
    /and refused 0\)/,
    /^What came back: +200, 20 MiB, byte for byte what was sent\n +SHA-256 [0-9a-f]{64}$/m,
    /^The worker reclaimed the task until .*\nby PUT \/credentials\. .* now, as the client\n {2}task-client\/\S+$/m,
    /^Without credentials, .* GET \/api\/queue\/v1\/task\/\S+:\n {2}403 InsufficientScopes$/m,
    /^The role anonymous was granted queue:get-task:\S+\.\nThe same call, [\d.]+ s later:\n {2}200$/m,
  ]) {
    t.regex(output, said);
  }
  const clients = output.match(/^ +task-client\/\S+$/gm) ?? [];
  t.is(new Set(clients.map((clientId) => clientId.trim())).size, 2);
  t.notRegex(output, /accessToken|certificate|"seed"|mac=|signature=/);
  t.deepEqual(readdirSync(demo.temporary), []);
});

/** What each suggested command prints, in the order in which they are suggested. */
const SUGGESTED: RegExp[] = [
  /^HTTP\/1\.1 200 OK\r\n[\s\S]*X-Taskcluster-Proxy-Temp-ClientId: task-client\/[\s\S]*"taskQueueId": "demo\/local"/i,
  /^$/,
  /"greeting": "hello"/,
  /"code": "InsufficientScopes"[\s\S]*requires Taskcluster credentials/,
  /"code": "InsufficientScopes"[\s\S]*Client ID task-client\//,
  /"greeting": "hello"/,
  /^taskcluster_proxy_requests_total\{class="2xx"\} \d+$/m,
];

testWith('curl')('the demo keeps serving, and each command that it suggests works', async (t) => {
  const ports = ['--port', `${await unusedPort()}`, '--deployment-port', `${await unusedPort()}`];
  const demo = new Demo(t, '--size', '3MiB', ...ports);
  await within(demo.says(/__metrics__\n/), 'the suggestions', DATABASE_PATIENCE_MS);
  const commands = demo.output.match(/^ {4}curl .*$/gm) ?? [];
  t.is(commands.length, SUGGESTED.length);
  for (const [index, command] of commands.entries()) {
    const { stdout } = await run('sh', ['-c', command], { cwd: demo.temporary });
    t.regex(stdout, SUGGESTED[index] ?? /never/, command);
  }
  const artifact = readFileSync(path.join(demo.temporary, 'demo.bin'));
  const [, sha256 = ''] = await demo.says(/SHA-256 ([0-9a-f]{64})/);
  t.is(createHash('sha256').update(artifact).digest('hex'), sha256);
  await demo.says(/^proxy: .*Proxying \/secrets\/v1\/secret\/demo\/greeting \| GET/m);

  const [, proxy = ''] = await demo.says(/taskcluster-proxy for it at (\S+),/);
  const [, deployment = ''] = await demo.says(/deployment runs at (\S+)\. /);
  t.true((await demo.serves(proxy)) && (await demo.serves(deployment)));
  demo.child.kill('SIGINT');
  t.is(await demo.ended(), 0, demo.output);
  t.false((await demo.serves(proxy)) || (await demo.serves(deployment)));
  t.deepEqual(readdirSync(demo.temporary), ['demo.bin']);
});

test('the proxy ends with the demo, even if the demo is killed with SIGKILL', async (t) => {
  const demo = new Demo(t, '--size', '1MiB', '--port', `${await unusedPort()}`);
  const [, proxy = ''] = await within(
    demo.says(/taskcluster-proxy for it at (\S+),/),
    'a proxy',
    DATABASE_PATIENCE_MS,
  );
  t.true(await demo.serves(proxy));
  demo.child.kill('SIGKILL');
  await demo.ended();
  const gone = async () => {
    while (await demo.serves(proxy)) {
      await pause(20);
    }
  };
  await t.notThrowsAsync(within(gone(), 'the end of the proxy'));
});

test('the demo takes the ports that it is given, or says in one sentence why not', async (t) => {
  const port = await unusedPort();
  const taken = net.createServer().listen(port, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  for (const flag of ['--port', '--deployment-port']) {
    const demo = new Demo(t, '--once', flag, String(port));
    t.is(await demo.ended(), 1);
    const last = demo.output.trimEnd().split('\n').at(-1) ?? '';
    t.regex(last, /address already in use/i);
    t.true(last.includes(`127.0.0.1:${port}`), last);
    t.deepEqual(readdirSync(demo.temporary), []);
  }
  taken.close();
  await once(taken, 'close');
  const demo = new Demo(t, '--once', '--size', '1KiB', '--port', String(port));
  t.is(await demo.ended(), 0, demo.output);
  t.regex(demo.output, new RegExp(`taskcluster-proxy for it at http://127\\.0\\.0\\.1:${port},`));
});

test('the demo refuses arguments that it cannot read', async (t) => {
  for (const [args, sentence] of [
    [['--port', 'x'], /port x is not in range \[0,65535\]/],
    [['--size', '1'], /--size 1 is not a size: write it as 512B, 64KiB, 10MiB or 1GiB/],
    [['--what'], /unknown option '--what'/],
  ] as const) {
    const demo = new Demo(t, ...args);
    t.is(await demo.ended(), 1);
    t.regex(demo.output, sentence);
  }
});
