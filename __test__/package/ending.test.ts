// A test that fails before it has closed what it opened does not keep the runner waiting, and a runner that
// is killed takes its tests with it. Ava runs here as `npm test` runs it, with `harness/ending.ts`, on a file
// that leaves a server, a child or a network namespace behind.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext } from 'ava';
import { endsWith } from '../harness/child.js';
import { until, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { makeNamespace } from '../harness/namespace.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const AVA = path.join(ROOT, 'node_modules/ava/entrypoints/cli.mjs');
const CONFIG = path.join(ROOT, 'ava.config.js');
const ENDING = harness('ending.ts');

/** What is left behind, by its kind in Node. */
const LEFT = {
  TCPServerWrap: `createServer().listen(0, '127.0.0.1')`,
  ProcessWrap: `spawn(process.execPath, ['-e', 'process.stdin.resume()'])`,
};

for (const [kind, expression] of Object.entries(LEFT)) {
  test(`a failure that leaves ${kind} behind ends the run`, async (t) => {
    const child = runAva(
      t,
      `import { spawn } from 'node:child_process';
        import { createServer } from 'node:net';
        import test from 'ava';
        test('fails', (t) => {
          ${expression};
          t.fail();
        });`,
    );
    const said = Promise.all([text(child.stdout), text(child.stderr)]);
    const [code] = await within(once(child, 'exit'), 'the end of the run');
    t.is(code, 1);
    t.regex((await said).join(''), new RegExp(`have ended and left open: .*${kind}`));
  });
}

/** Says which processes there are, and which namespace. */
const LASTING = `import { spawn } from 'node:child_process';
  import { writeFileSync } from 'node:fs';
  import test from 'ava';
  import { endsWith } from ${JSON.stringify(harness('child.ts'))};
  import { makeNamespace } from ${JSON.stringify(harness('namespace.ts'))};
  test('lasts', async (t) => {
    const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    const namespace = makeNamespace(t)?.name;
    writeFileSync('running.json', JSON.stringify({ pids: [process.pid, child.pid], namespace }));
    await endsWith(t, child);
  });`;

const linuxTest = process.platform === 'linux' ? test : test.skip;

linuxTest('a killed run ends its processes, and the next run removes its namespace', async (t) => {
  const directory = freshDirectory(t);
  const child = runAva(t, LASTING, directory);
  const said = path.join(directory, 'running.json');
  const running = () => (existsSync(said) ? readFileSync(said, 'utf8') : '');
  await until(() => running().endsWith('}'), 'the test being under way');
  const { pids, namespace } = JSON.parse(running());
  child.kill('SIGKILL');
  const isOver = () => pids.every((pid: number) => !existsSync(`/proc/${pid}`));
  await until(isOver, 'the end of its processes');
  if (makeNamespace(t) !== null) {
    const names = [...readdirSync('/run/netns'), ...readdirSync('/sys/class/net')];
    const number = namespace.slice('tcp'.length);
    t.deepEqual(
      names.filter((name) => name.endsWith(number)),
      [],
    );
  }
  t.pass();
});

function harness(file: string): string {
  return path.join(import.meta.dirname, '../harness', file);
}

/** Ava on one file of tests. */
function runAva(t: ExecutionContext, tests: string, directory = freshDirectory(t)) {
  symlinkSync(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'));
  const files = {
    'package.json': '{ "type": "module" }',
    'ava.config.js': `import config from ${JSON.stringify(CONFIG)};
      export default { ...config, files: ['test.ts'], require: [${JSON.stringify(ENDING)}] };`,
    'test.ts': tests,
  };
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(path.join(directory, name), content);
  }
  const child = spawn(process.execPath, [AVA], {
    cwd: directory,
    env: { ...process.env, CLOSING_MS: '200' },
  });
  endsWith(t, child);
  return child;
}
