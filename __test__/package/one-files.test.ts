// The one files of other platforms, for each addon of build/platforms: each carries the addon and is signed as its
// system asks, does the work of a proxy where this machine can run it, and ignores the machine's variables for Node.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { version } from 'taskcluster-proxy';
import { endsWith } from '../harness/child.js';
import { TEST_PATIENCE_MS, until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { runProgram } from '../harness/run-program.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const ADDONS = path.join(ROOT, 'build/platforms');
const RUNNERS = path.join(ROOT, 'build/test-platforms');
const SIGNER = path.join(ROOT, 'build/cargo-tools/bin/rcodesign');

/** A mark that each Node carries: 0 follows it until a program is inside, and 1 from then on. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';
const NAME = 'NODE_SEA_BLOB';

/** How a file of the platform is made and looked at, beside what is common to all. */
interface Format {
  readonly needs: readonly string[];
  readonly check: (t: ExecutionContext, file: string, content: Buffer) => Promise<void>;
}

const FORMATS: Record<string, Format> = {
  'linux-x64-musl': musl('x86_64'),
  'linux-arm64-musl': musl('aarch64'),
  'darwin-x64': { needs: [SIGNER], check: checkApple },
  'darwin-arm64': { needs: [SIGNER], check: checkApple },
  'win32-x64-msvc': { needs: ['/usr/bin/osslsigncode'], check: checkWindows },
  'win32-arm64-msvc': { needs: ['/usr/bin/osslsigncode'], check: checkWindows },
};

/** The test's own: the emulators start no program again, so what has to be without variables is given none. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('NODE_')),
);

test('these tests look at the one file of each platform but those for glibc', async (t) => {
  const nodes = path.join(ROOT, 'tools/nodes.mjs');
  const program = `import { NODES } from '${nodes}'; console.log(Object.keys(NODES).join())`;
  const { stdout } = await runProgram(process.execPath, ['--input-type=module', '-e', program]);
  const others = stdout
    .trim()
    .split(',')
    .filter((name) => !name.endsWith('-gnu'));
  t.deepEqual(others, Object.keys(FORMATS));
});

for (const [name, { needs, check }] of Object.entries(FORMATS)) {
  const addon = path.join(ADDONS, `taskcluster-proxy.${name}.node`);
  const missing = [addon, ...needs].find((file) => !existsSync(file));
  if (missing !== undefined) {
    console.log(`skipped here: the one file for ${name}: there is no ${missing}`);
    continue;
  }
  const suffix = name.startsWith('win32') ? '.exe' : '';
  const file = path.join(ROOT, 'build/one-file', `taskcluster-proxy-${name}${suffix}`);

  test.serial(`the one file for ${name} carries the addon`, async (t) => {
    t.timeout(TEST_PATIENCE_MS);
    const made = await node('one-file.mjs', '--platform', name);
    t.is(made.stdout, `${file}\n`, made.stderr);
    const content = readFileSync(file);
    t.true(content.includes(`${FUSE}:1`));
    t.false(content.includes(`${FUSE}:0`));
    t.true(content.includes(readFileSync(addon)));
    await check(t, file, content);
    const licence = readFileSync(`${file}.node-license.txt`, 'utf8');
    t.regex(licence, /^Node\.js is licensed for use as follows:/);
  });

  const runner = path.join(RUNNERS, name, 'run');
  if (!existsSync(runner)) {
    console.log(`skipped here: to run the one file for ${name}: there is no ${runner}`);
    continue;
  }
  test.serial(`the one file for ${name} does the work of a proxy`, async (t) => {
    t.timeout(TEST_PATIENCE_MS);
    const { code, stdout, stderr } = await node('smoke.mjs', runner, file);
    t.is(code, 0, stderr);
    t.is(stdout.trimEnd().split('\n').length, 5, stdout);
  });

  if (name === 'win32-x64-msvc' || name === 'linux-x64-musl') {
    test.serial(`variables of Node do not change the one file for ${name}`, async (t) => {
      t.timeout(TEST_PATIENCE_MS);
      await checkVariables(t, runner, file);
    });
  }
  if (name === 'win32-x64-msvc') {
    test.serial(
      'on Windows the process that the one file starts in its place ends with the one file',
      async (t) => {
        t.timeout(TEST_PATIENCE_MS);
        await checkEnd(t, runner, file);
      },
    );
    test.serial('on Windows the one file ends with its launcher, also as a child', async (t) => {
      t.timeout(TEST_PATIENCE_MS);
      await checkLauncher(t, runner, file);
    });
    test.serial(
      'on Windows the one file removes the addon that an earlier start has left',
      async (t) => {
        t.timeout(TEST_PATIENCE_MS);
        const parent = path.join(RUNNERS, name, 'prefix/drive_c/users/root/AppData/Local');
        for (let start = 0; start < 2; start += 1) {
          await runProgram(runner, [file, '--version'], { env });
        }
        const left = readdirSync(parent).filter((each) => each.startsWith('taskcluster-proxy-'));
        t.true(left.length <= 1, `${left}`);
      },
    );
  }
}

function node(tool: string, ...args: string[]) {
  return runProgram(process.execPath, [path.join(ROOT, 'tools', tool), ...args], { env });
}

/** Its libraries are those that Alpine's package libstdc++ brings. */
function musl(machine: string): Format {
  return {
    needs: ['/usr/bin/patchelf', `/usr/bin/${machine}-linux-gnu-strip`],
    check: async (t, file) => {
      const { stdout } = await runProgram('patchelf', ['--print-needed', file]);
      const needed = ['libstdc++.so.6', 'libgcc_s.so.1', `libc.musl-${machine}.so.1`];
      t.deepEqual(stdout.trim().split('\n'), needed);
      t.is((await runProgram('patchelf', ['--print-rpath', file])).stdout.trim(), '');
      const interpreter = await runProgram('patchelf', ['--print-interpreter', file]);
      t.is(interpreter.stdout, `/lib/ld-musl-${machine}.so.1\n`);
    },
  };
}

async function checkApple(t: ExecutionContext, file: string, content: Buffer): Promise<void> {
  // The load commands stand in front.
  t.true(content.subarray(0, 16_384).includes('NODE_SEA'));
  const { stdout } = await runProgram(SIGNER, ['print-signature-info', file]);
  t.regex(stdout, /flags: CodeSignatureFlags\(ADHOC\)/);
  t.regex(stdout, /identifier: taskcluster-proxy$/m);
  t.deepEqual(pagesWithOtherHashes(content), []);
}

/** Apple's systems end a program at the first page whose hash is not the one that the signature has of it. */
function pagesWithOtherHashes(content: Buffer): number[] {
  const signature = content.readUInt32LE(commandOf(content, LC_CODE_SIGNATURE) + 8);
  // The first part of a signature is its directory of the code.
  const directory = signature + content.readUInt32BE(signature + 16);
  const [hashes, count, limit] = [16, 28, 32].map((at) => content.readUInt32BE(directory + at));
  const size = 2 ** content.readUInt8(directory + 39);
  return Array.from({ length: count ?? 0 }, (_, page) => page).filter((page) => {
    const bytes = content.subarray(page * size, Math.min((page + 1) * size, limit ?? 0));
    const at = directory + (hashes ?? 0) + page * SHA256;
    return !createHash('sha256')
      .update(bytes)
      .digest()
      .equals(content.subarray(at, at + SHA256));
  });
}

const LC_CODE_SIGNATURE = 0x1d;
const SHA256 = 32;

/** The place of the load command of that kind: each says its length, behind a header of 32 bytes. */
function commandOf(content: Buffer, kind: number): number {
  let at = 32;
  for (let left = content.readUInt32LE(16); left > 0; left -= 1) {
    if (content.readUInt32LE(at) === kind) {
      return at;
    }
    at += content.readUInt32LE(at + 4);
  }
  throw new Error('it has no signature');
}

async function checkWindows(t: ExecutionContext, file: string, content: Buffer): Promise<void> {
  t.true(content.includes(Buffer.from(NAME, 'utf16le')));
  const { stdout, stderr } = await runProgram('osslsigncode', ['verify', '-in', file]);
  t.regex(stderr, /^No signature found$/m);
  // A signature left over from its Node would be reported as one that is not at the end.
  t.notRegex(stdout, /signature/);
}

/** Each variable has an effect that shows, or ends the process, in a Node that obeys it. */
async function checkVariables(t: ExecutionContext, runner: string, file: string): Promise<void> {
  const said = await runProgram(runner, [file, '--short-version'], {
    env: {
      ...env,
      NODE_OPTIONS: '--no-such-option',
      NODE_DEBUG: 'net,module,fs,child_process',
      NODE_EXTRA_CA_CERTS: '/nowhere/at/all.pem',
      TASKCLUSTER_PROXY_BINARY: '/nowhere/at/all.node',
    },
  });
  t.deepEqual(said, { code: 0, stdout: `${version}\n`, stderr: '' });
  const wrong = await runProgram(runner, [file, '--no-such-flag'], {
    env: { ...env, NODE_EXTRA_CA_CERTS: '/nowhere/at/all.pem' },
  });
  t.is(wrong.code, 64, wrong.stderr);
}

const SERVES = [
  ...['--port', '0', '--ip-address', '127.0.0.1', '--root-url', 'http://127.0.0.1:1'],
  ...['--client-id', 'tests', '--access-token', 'no-secret'],
];

/** Ends it as a worker does, which knows one process alone. */
async function checkEnd(t: ExecutionContext, runner: string, file: string): Promise<void> {
  const child = spawn(runner, [file, ...SERVES], {
    env: { ...env, NODE_EXTRA_CA_CERTS: '/nowhere/at/all.pem' },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exited = endsWith(t, child);
  let said = '';
  child.stdout.on('data', (part) => {
    said += part;
  });
  await until(() => said.includes('\n'), 'the line `Listening on`');
  const [, url] = /^Listening on (\S+)/.exec(said) ?? [];
  t.true(await isServed(url));
  child.kill('SIGKILL');
  await within(exited, 'the end');
  await until(async () => !(await isServed(url)), 'the end of the process that served');
}

/** One of the platform's own processes starts it, and does not end its children with itself. */
async function checkLauncher(t: ExecutionContext, runner: string, file: string): Promise<void> {
  const ready = path.join(freshDirectory(t), 'ready.json');
  const program = `
    const [, file, ...args] = process.argv;
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: '/nowhere/at/all.pem' };
    const options = { env, detached: true, stdio: 'ignore' };
    require('node:child_process').spawn(file, args, options).ref();`;
  const flags = ['--ready-file', `Z:${ready}`, '--end-with-parent', ...SERVES];
  const node = path.join(path.dirname(runner), 'node');
  const launcher = spawn(node, ['-e', program, `Z:${file}`, ...flags], { env, stdio: 'ignore' });
  const exited = endsWith(t, launcher);
  await until(() => existsSync(ready), 'the ready-file');
  const { addresses } = JSON.parse(readFileSync(ready, 'utf8'));
  t.true(await isServed(addresses[0]));
  launcher.kill('SIGKILL');
  await within(exited, 'the end of the launcher');
  await until(async () => !(await isServed(addresses[0])), 'the end of the process that served');
}

async function isServed(url: string | undefined): Promise<boolean> {
  try {
    return (await fetch(`${url}/__version__`)).status === 200;
  } catch {
    return false;
  }
}
