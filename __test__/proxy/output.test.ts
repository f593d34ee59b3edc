// The proxy waits for no reader of stdout or stderr: with full pipes it starts, takes new credentials,
// stops, and reports why it does not start.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, openSync, readSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { endsWith } from '../harness/child.js';
import { COMMAND, ENOUGH } from '../harness/command.js';
import { pause, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { listens, unusedPort } from '../harness/port.js';
import { permanentCredentials } from '../harness/signature.js';

const unixTest = process.platform === 'win32' ? test.skip : test;

class FullPipe {
  /** For a child: writing to it waits for a reader, as in every pipe. */
  readonly end: number;
  readonly #both: number;

  constructor(t: ExecutionContext, name: string) {
    const file = path.join(freshDirectory(t), name);
    execFileSync('mkfifo', [file]);
    this.#both = openSync(file, constants.O_RDWR | constants.O_NONBLOCK);
    this.end = openSync(file, constants.O_WRONLY);
    t.teardown(() => {
      closeSync(this.#both);
      closeSync(this.end);
    });
    this.#fill();
  }

  #fill(): void {
    for (const size of [4096, 1]) {
      try {
        for (;;) {
          writeSync(this.#both, '.'.repeat(size));
        }
      } catch {
        // EAGAIN: so much does not fit any more.
      }
    }
  }

  /** Reads what there is. */
  read(): string {
    const buffer = Buffer.alloc(4096);
    let read = '';
    try {
      for (;;) {
        read += buffer.toString('latin1', 0, readSync(this.#both, buffer));
      }
    } catch {
      // EAGAIN: that was all.
    }
    return read.replace(/^\.+/, '');
  }

  /** Reads until `pattern` has come. */
  async reads(pattern: RegExp): Promise<string> {
    let text = '';
    while (!pattern.test(text)) {
      text += this.read();
      await pause(10);
    }
    return text;
  }
}

interface Run {
  readonly child: ChildProcess;
  readonly port: number;
  readonly stdout: FullPipe;
  readonly stderr: FullPipe;
  readonly ended: Promise<unknown[]>;
}

async function start(
  t: ExecutionContext,
  flags: string[] = [],
  env = {},
  before: string[] = [],
): Promise<Run> {
  const port = await unusedPort();
  const [stdout, stderr] = [new FullPipe(t, 'stdout'), new FullPipe(t, 'stderr')];
  const line = [COMMAND, ...flags, '-i', '127.0.0.1', '-p', `${port}`];
  const [program = '', ...args] = [...before, process.execPath, ...line];
  const child = spawn(program, args, {
    env: { ...ENOUGH, ...env },
    stdio: ['ignore', stdout.end, stderr.end],
  });
  const ended = endsWith(t, child);
  return { child, port, stdout, stderr, ended };
}

const update = (port: number, clientId: string) =>
  fetch(`http://127.0.0.1:${port}/credentials`, {
    method: 'PUT',
    body: JSON.stringify(permanentCredentials(clientId)),
  });

unixTest('with full pipes the proxy starts, takes new credentials and stops', async (t) => {
  const { child, port, ended } = await start(t);
  await listens(port);
  t.is((await within(update(port, 'tests/next'), 'an update')).status, 200);
  const { headers } = await within(fetch(`http://127.0.0.1:${port}/none`), 'an answer');
  t.is(headers.get('x-taskcluster-proxy-perm-clientid'), 'tests/next');
  child.kill('SIGTERM');
  t.deepEqual(await within(ended, 'the end'), [0, null]);
});

unixTest('a reader that comes late gets the lines that the proxy has written', async (t) => {
  const { port, stdout, stderr } = await start(t);
  await listens(port);
  const line = `Listening on http://127.0.0.1:${port}\n`;
  t.is(await within(stdout.reads(/\n/), 'a line on stdout'), line);
  await fetch(`http://127.0.0.1:${port}/none`);
  await within(stderr.reads(/Answering \/none .*\n/), 'a line on stderr');
});

unixTest('a warning of Node does not hold the proxy up', async (t) => {
  const preload = path.join(freshDirectory(t), 'preload.cjs');
  writeFileSync(preload, "process.emitWarning('be warned');");
  const { port, stderr } = await start(t, [], { NODE_OPTIONS: `--require=${preload}` });
  await listens(port);
  t.is((await within(update(port, 'tests/next'), 'an update')).status, 200);
  await within(stderr.reads(/Warning: be warned\n/), 'the warning');
});

for (const [what, flags, code] of [
  ['an unknown flag', ['--no-such-flag'], 64],
  ['an unknown user', ['--allowed-user', 'no-such-user'], 64],
  ['a ready file that cannot be written', ['--ready-file', '/none/ready'], 1],
  ['--help', ['--help'], 0],
  ['--version', ['--version'], 0],
] as const) {
  unixTest(`with full pipes ${what} ends the proxy`, async (t) => {
    const { ended } = await start(t, [...flags]);
    t.deepEqual(await within(ended, 'the end'), [code, null]);
  });
}

unixTest('with full pipes the proxy ends at once with its launcher', async (t) => {
  const { child, port } = await start(t, ['--end-with-parent'], {}, [
    'sh',
    '-c',
    '"$@"; true',
    'sh',
  ]);
  await listens(port);
  child.kill('SIGKILL');
  const answered = await within(answeredUntilClosed(port), 'the end of its port');
  // Fewer requests are answered while another process wakes up; more would be during a wait for a
  // reader.
  t.true(answered < 100, `${answered} requests were answered`);
});

async function answeredUntilClosed(port: number): Promise<number> {
  for (let answered = 0; ; answered += 1) {
    try {
      await fetch(`http://127.0.0.1:${port}/none`);
    } catch {
      return answered;
    }
  }
}
