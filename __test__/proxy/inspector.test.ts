// Node's inspector, by which every user who reaches its port runs code in the process that holds the
// token, and Node's other ways to write its memory to a file: none is open once the proxy listens, with any
// environment.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { WebSocket } from 'ws';
import { endsWith } from '../harness/child.js';
import { COMMAND, ENOUGH } from '../harness/command.js';
import { gate, until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';

const unixTest = process.platform === 'win32' ? test.skip : test;

interface Run {
  readonly child: ChildProcess;
  /** Where an inspector listens, as Node says. */
  readonly inspector: Promise<string>;
  readonly listening: Promise<void>;
  readonly ended: Promise<unknown[]>;
  readonly cwd: string;
}

/** Runs the command with `NODE_OPTIONS`, after `preloaded` in the same process. */
function start(t: ExecutionContext, options: string, preloaded = ''): Run {
  const directory = freshDirectory(t);
  const preload = path.join(directory, 'preload.cjs');
  writeFileSync(preload, preloaded);
  const cwd = path.join(directory, 'cwd');
  mkdirSync(cwd);
  const child = spawn(process.execPath, [COMMAND, '-p', '0', '-i', '127.0.0.1'], {
    env: { ...ENOUGH, NODE_OPTIONS: `--require=${preload} ${options}` },
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = endsWith(t, child);
  const inspector = gate<string>();
  const listening = gate();
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    stderr += part;
    const [, url] = /^Debugger listening on (ws:\S+)$/m.exec(stderr) ?? [];
    if (url !== undefined) {
      inspector.open(url);
    }
  });
  child.stdout.once('data', () => listening.open());
  void ended.then(([code]) => listening.fail(new Error(`it ended with ${code}:\n${stderr}`)));
  return {
    child,
    inspector: inspector.opened,
    listening: listening.opened,
    ended,
    cwd,
  };
}

/** A debugger that attaches; an error where there is nothing to attach to. */
async function attach(t: ExecutionContext, url: string): Promise<WebSocket> {
  const socket = new WebSocket(url);
  t.teardown(() => socket.terminate());
  await within(once(socket, 'open'), 'a debugger');
  socket.on('error', () => {});
  return socket;
}

const REFUSED = { code: 'ECONNREFUSED' };

test('no debugger attaches to a proxy that listens', async (t) => {
  const { inspector, listening } = start(t, '--inspect=0');
  const url = await within(inspector, 'an inspector');
  await within(listening, 'the line `Listening on`');
  await t.throwsAsync(attach(t, url), REFUSED);
});

for (const option of ['--inspect-brk=0', '--inspect-wait=0']) {
  test(`${option}: a debugger that attached before is gone when the proxy listens`, async (t) => {
    const { inspector, listening } = start(t, option);
    const url = await within(inspector, 'an inspector');
    const socket = await attach(t, url);
    const left = new Promise((resolve) => socket.once('close', resolve));
    const say = (method: string) => socket.send(JSON.stringify({ id: 1, method }));
    say('Debugger.enable');
    say('Runtime.runIfWaitingForDebugger');
    // Node 20 does not always tell that it pauses before the first line.
    const resuming = setInterval(() => say('Debugger.resume'), 100);
    t.teardown(() => clearInterval(resuming));
    await within(listening, 'the line `Listening on`');
    await within(left, 'the end of the session');
    await t.throwsAsync(attach(t, url), REFUSED);
  });
}

unixTest('no debugger attaches after a signal while Node starts', async (t) => {
  // Node opens it from its event loop, once a thread that waits for the signal has told it so.
  const early = "process.kill(process.pid, 'SIGUSR1');";
  const { child, inspector, listening } = start(t, '--inspect-port=0', early);
  await within(listening, 'the line `Listening on`');
  child.kill('SIGUSR1');
  const url = await within(inspector, 'an inspector');
  await until(
    async () => (await attach(t, url).catch(({ code }) => code)) === REFUSED.code,
    'a no',
  );
  t.is(child.exitCode, null);
});

unixTest('no signal writes the memory into a file', async (t) => {
  const { child, listening, ended, cwd } = start(t, '--heapsnapshot-signal=SIGUSR2');
  await within(listening, 'the line `Listening on`');
  child.kill('SIGUSR2');
  t.deepEqual(await within(ended, 'what the signal does by itself'), [null, 'SIGUSR2']);
  t.deepEqual(readdirSync(cwd), []);
});
