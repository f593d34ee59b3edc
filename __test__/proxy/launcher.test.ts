// With --allowed-user the proxy ends with the process that started it: a crashed launcher must not leave a
// port that signs for the next task with the same user id.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { COMMAND, ENOUGH } from '../harness/command.js';
import { pause, STILL_MS, within } from '../harness/deadline.js';
import { appears, freshDirectory } from '../harness/directory.js';
import { accepts, listens, unusedPort } from '../harness/port.js';

/** A user that this machine can tell apart from others. */
const USER = ['--allowed-user', userInfo().username];

const linuxTest = process.platform === 'linux' ? test : test.skip;
const rootTest = process.platform === 'linux' && process.getuid?.() === 0 ? test : test.skip;
if (rootTest === test.skip) {
  console.log('skipped here: a test that makes an init of its own, which takes root on Linux');
}

const { PATH = '' } = process.env;

interface Started {
  /** What started the proxy. */
  readonly launcher: ChildProcessByStdio<Writable, Readable, null>;
  readonly port: number;
  /** The end of the proxy, which holds this open as long as it lives; gives what it wrote. */
  readonly ended: Promise<string>;
}

/** Starts the proxy from a shell that runs `script`, in which `proxy` stands for its command line. */
async function startFrom(
  t: ExecutionContext,
  script: string,
  flags: string[],
  options: { env?: Record<string, string>; before?: string[] } = {},
): Promise<Started> {
  const { env = {}, before = [] } = options;
  const port = await unusedPort();
  const directory = freshDirectory(t);
  const ready = path.join(directory, 'ready.json');
  const listen = ['-i', '127.0.0.1', '-p', `${port}`];
  const line = [process.execPath, COMMAND, '--ready-file', ready, ...flags, ...listen];
  const shell = ['sh', '-c', script.replaceAll('proxy', '"$@"'), 'sh'];
  const [program = '', ...args] = [...before, ...shell, ...line];
  const output = path.join(directory, 'output');
  const file = openSync(output, 'a');
  const launcher = spawn(program, args, {
    env: { PATH, ...ENOUGH, ...env },
    // A session of its own, as a worker has; the pipe ends with the last process of it.
    detached: true,
    stdio: ['pipe', 'pipe', file],
  }) as ChildProcessByStdio<Writable, Readable, null>;
  closeSync(file);
  const said = text(launcher.stdout);
  t.teardown(async () => {
    launcher.kill('SIGKILL');
    try {
      process.kill(JSON.parse(readFileSync(ready, 'utf8')).pid, 'SIGKILL');
    } catch {
      // It has ended, or has never begun.
    }
    await said;
  });
  return { launcher, port, ended: said.then(() => readFileSync(output, 'utf8')) };
}

const REASON = /the process that started it has ended.*--outlive-parent/;

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  linuxTest(
    `the proxy ends when a script without exec between it and a worker gets ${signal}`,
    async (t) => {
      const { launcher, port, ended } = await startFrom(t, 'proxy; true', USER);
      await listens(port);
      launcher.kill(signal);
      t.regex(await within(ended, 'the end of the proxy'), REASON);
      t.false(await accepts(port));
    },
  );
}

linuxTest('the proxy ends when the process that started it comes to its end', async (t) => {
  const { launcher, port, ended } = await startFrom(t, 'proxy & read _', USER);
  await listens(port);
  launcher.stdin.end('\n');
  t.regex(await within(ended, 'the end of the proxy'), REASON);
});

linuxTest(
  'the proxy ends where the process that started it has ended before it could look',
  async (t) => {
    const { port, ended } = await startFrom(t, 'proxy & exit', USER);
    t.regex(await within(ended, 'the end of the proxy'), REASON);
    t.false(await accepts(port));
  },
);

linuxTest('the proxy ends where its JavaScript stands still, too', async (t) => {
  const directory = freshDirectory(t);
  const [preload = '', block = '', blocked = ''] = ['preload.cjs', 'block', 'blocked'].map((name) =>
    path.join(directory, name),
  );
  writeFileSync(
    preload,
    `const { existsSync, writeFileSync } = require('node:fs');
     setInterval(() => {
       if (existsSync(${JSON.stringify(block)})) {
         writeFileSync(${JSON.stringify(blocked)}, '');
         for (;;);
       }
     }, 20);`,
  );
  const env = { NODE_OPTIONS: `--require=${preload}` };
  const { launcher, port, ended } = await startFrom(t, 'proxy; true', USER, { env });
  await listens(port);
  writeFileSync(block, '');
  await appears(blocked);
  launcher.kill('SIGKILL');
  await within(ended, 'the end of the proxy');
  t.false(await accepts(port));
});

for (const [flags, ends] of [
  [['--outlive-parent', ...USER], false],
  [['--outlive-parent'], false],
  [[], false],
  [['--end-with-parent'], true],
  [[...USER, '--end-with-parent'], true],
] as const) {
  const name = flags.filter((flag) => flag.startsWith('--')).join(' ') || 'no flag';
  linuxTest(`with ${name} the proxy ${ends ? 'ends with' : 'outlives'} its launcher`, async (t) => {
    const { launcher, port, ended } = await startFrom(t, 'proxy; true', [...flags]);
    await listens(port);
    launcher.kill('SIGKILL');
    await once(launcher, 'exit');
    if (ends) {
      t.regex(await within(ended, 'the end of the proxy'), REASON);
      return;
    }
    await pause(STILL_MS);
    t.is((await fetch(`http://127.0.0.1:${port}/none`)).status, 404);
  });
}

linuxTest(
  'the proxy ends where it leads a session of its own, and init has adopted it',
  async (t) => {
    const { ended } = await startFrom(t, 'setsid proxy & exit', USER);
    t.regex(await within(ended, 'the end of the proxy'), REASON);
  },
);

const INIT = ['unshare', '--pid', '--fork', '--kill-child'];

rootTest(
  'the proxy ends where its launcher, in the session of init, ended before it could look',
  async (t) => {
    const group = "perl -e 'setpgrp(0, 0); exec @ARGV'";
    const script = `${group} sh -c '"$0" "$@" & exit' proxy; sleep 10`;
    const { ended } = await startFrom(t, script, USER, { before: INIT });
    t.regex(await within(ended, 'the end of the proxy'), REASON);
  },
);

rootTest('the proxy goes on where init started it', async (t) => {
  const { port } = await startFrom(t, 'proxy; true', USER, { before: INIT });
  await listens(port);
  await pause(STILL_MS);
  t.is((await fetch(`http://127.0.0.1:${port}/none`)).status, 404);
});
