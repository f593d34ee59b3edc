// The platforms: each has its package, what building for each needs is said, the Linux builds run on
// an old glibc, the addon's loader says what is missing, and what was built for other platforms does the
// work of a proxy where this machine can run it.
import { execFile } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { version } from 'taskcluster-proxy';
import { TEST_PATIENCE_MS } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { runProgram } from '../harness/run-program.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const COMMAND = path.join(ROOT, 'dist/cli/taskcluster-proxy.cjs');
const NAMES = readdirSync(path.join(ROOT, 'npm'))
  .filter((name) => name !== 'taskcluster-local')
  .sort();
const run = promisify(execFile);

const node = (args: string[], env: NodeJS.ProcessEnv = process.env) =>
  runProgram(process.execPath, args, { env });

const build = (args: string[], env?: NodeJS.ProcessEnv) =>
  node([path.join(ROOT, 'tools/build.mjs'), ...args], env);

test('the build tells the needs of each platform, and which are missing', async (t) => {
  const PATH = freshDirectory(t);
  const bare = { PATH, CARGO: 'no-cargo', RUSTC: 'no-rustc', CARGO_ZIGBUILD_PYTHON_PATH: 'none' };
  const { code, stdout } = await build(['--all', '--plan'], bare);
  t.is(code, 0);
  const said = stdout.split(/^(?=\S)/m).map((each) => each.trimEnd().split('\n'));
  t.deepEqual(said.map(([first = '']) => first.split(' ')[0] ?? '').sort(), NAMES);
  for (const [first, ...lines] of said) {
    t.true(lines.length >= 3, first);
    t.true(
      lines.every((line) => line.startsWith('  MISSING  ')),
      first,
    );
  }
  t.regex(stdout, /^linux-arm64-gnu \(aarch64-unknown-linux-gnu\.2\.28\)$/m);
  t.regex(stdout, /MISSING {2}x86_64-w64-mingw32-gcc \(apt install gcc-mingw-w64-x86-64\)/);

  symlinkSync('/bin/true', path.join(PATH, 'readelf'));
  const partly = await build(['--platform', 'linux-x64-gnu'], bare);
  t.regex(partly.stdout, /there {4}readelf/);
  t.is(lastLine(partly.stdout), 'linux-x64-gnu      not built: see above');
  t.is(partly.code, 1);

  const unknown = await build(['--platform', 'sunos-x64']);
  t.regex(unknown.stderr, /^There is no platform sunos-x64: it is one of linux-x64-gnu, /);
  t.is(unknown.code, 1);
});

const glibcTest = `${process.platform}-${process.arch}` === 'linux-x64' ? test : test.skip;

glibcTest('the check of glibc refuses a library that needs one newer than allowed', async (t) => {
  const directory = freshDirectory(t);
  const check = async (name: string, call: string) => {
    const [source, library] = ['c', 'so'].map((end) => path.join(directory, `${name}.${end}`));
    const includes = '#include <pthread.h>\n#include <stdlib.h>\n#include <string.h>\n';
    writeFileSync(`${source}`, `${includes}void f(char *a, char *b, size_t n) { ${call} }`);
    const options = ['-shared', '-fPIC', '-fno-builtin', '-fstack-protector-all'];
    await run('cc', [...options, '-o', `${library}`, `${source}`]);
    return node([path.join(ROOT, 'tools/glibc.mjs'), `${library}`]);
  };
  // memcpy is of 2.14 and the check of the stack of 2.4: numbers, not letters, say which is newer.
  const old = await check('old', 'memcpy(a, b, n);');
  t.regex(old.stdout, /: GLIBC_2\.14\n$/);
  const recent = await check('recent', 'pthread_t it; pthread_create(&it, 0, 0, 0);');
  if (recent.code === 0) {
    t.log("this machine's own glibc is old enough");
    return;
  }
  t.regex(recent.stderr, /needs GLIBC_2\.34, and packages may need at most GLIBC_2\.28: build it /);
  t.is(recent.code, 1);
});

test('the command names the supported platforms on a machine without a package', async (t) => {
  const preload = path.join(freshDirectory(t), 'mainframe.cjs');
  writeFileSync(preload, "Object.defineProperty(process, 'arch', { value: 's390x' });");
  const { code, stderr } = await node(['--require', preload, COMMAND, '--version']);
  t.is(
    lastLine(stderr),
    'taskcluster-proxy: taskcluster-proxy finds no binary for this machine: ' +
      `${process.platform} on s390x is not supported; supported are ${NAMES.join(', ')}`,
  );
  t.is(code, 1);
});

test('TASKCLUSTER_PROXY_BINARY names another addon', async (t) => {
  const directory = freshDirectory(t);
  const command = path.join(directory, 'bundled.cjs');
  copyFileSync(COMMAND, command);
  const [own = ''] = readdirSync(ROOT).filter((name) => name.endsWith('.node'));
  const say = (binary: string) =>
    node([command, '--short-version'], { ...process.env, TASKCLUSTER_PROXY_BINARY: binary });

  t.is((await say(path.join(ROOT, own))).stdout, `${version}\n`);

  const wrong = await say(path.join(directory, 'none.node'));
  t.regex(
    lastLine(wrong.stderr),
    /: TASKCLUSTER_PROXY_BINARY names '.*none\.node', which does not load \(.*\); name the file /,
  );
  t.is(wrong.code, 1);

  // An empty variable counts as not set, as the command's others do.
  const empty = await say('');
  t.regex(lastLine(empty.stderr), /its package taskcluster-proxy-\S+ is not installed; /);
});

// === What `npm run build -- --all` has made ===

const BUILT = path.join(ROOT, 'build/platforms');
const builds = existsSync(BUILT)
  ? NAMES.filter((name) => existsSync(path.join(BUILT, `taskcluster-proxy.${name}.node`)))
  : [];
if (builds.length === 0) {
  console.log(
    'skipped here: builds for other platforms, of which there is none in build/platforms',
  );
}

/** A program that is a platform's Node on this machine; tools/emulation-setup makes those of others. */
function nodeOf(name: string): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const libc = header.glibcVersionRuntime === undefined ? 'musl' : 'gnu';
  const here = `${process.platform}-${process.arch}`;
  const emulated = path.join(ROOT, 'build/test-platforms', name, 'node');
  const isHere = [here, `${here}-${libc}`, `${here}-msvc`].includes(name);
  return isHere ? process.execPath : [emulated].find(existsSync);
}

for (const name of builds) {
  const program = nodeOf(name);
  if (program === undefined) {
    console.log(
      `skipped here: the build for ${name}: there is no build/test-platforms/${name}/node`,
    );
    continue;
  }
  test.serial(`the build for ${name} does the work of a proxy`, async (t) => {
    t.timeout(TEST_PATIENCE_MS);
    const binary = path.join(BUILT, `taskcluster-proxy.${name}.node`);
    const smoke = path.join(ROOT, 'tools/smoke.mjs');
    const env = { ...process.env, TASKCLUSTER_PROXY_BINARY: binary };
    const { code, stdout, stderr } = await node([smoke, program, COMMAND], env);
    t.is(code, 0, stderr);
    t.is(stdout.trimEnd().split('\n').length, 5, stdout);
  });
}

test('the package of a platform is for that platform and no other', (t) => {
  for (const name of NAMES) {
    const manifest = JSON.parse(readFileSync(path.join(ROOT, 'npm', name, 'package.json'), 'utf8'));
    const [os, cpu, abi] = name.split('-');
    t.deepEqual([manifest.os, manifest.cpu], [[os], [cpu]], name);
    const libc = { gnu: ['glibc'], musl: ['musl'] }[abi ?? ''];
    t.deepEqual(manifest.libc, libc, name);
  }
});

function lastLine(output: string): string {
  return output.trimEnd().split('\n').at(-1) ?? '';
}
