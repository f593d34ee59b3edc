// A test that fails before it has closed what it opened does not keep the runner waiting. Ava runs here as
// `npm test` runs it, with `harness/ending.ts`, on a file that leaves a server or a child behind.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { endsWith } from '../harness/child.js';
import { within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const AVA = path.join(ROOT, 'node_modules/ava/entrypoints/cli.mjs');
const CONFIG = path.join(ROOT, 'ava.config.js');
const ENDING = path.join(import.meta.dirname, '../harness/ending.ts');

/** What is left behind, by its kind in Node. */
const LEFT = {
  TCPServerWrap: `createServer().listen(0, '127.0.0.1')`,
  ProcessWrap: `spawn(process.execPath, ['-e', 'process.stdin.resume()'])`,
};

for (const [kind, expression] of Object.entries(LEFT)) {
  test(`a failure that leaves ${kind} behind ends the run`, async (t) => {
    const directory = freshDirectory(t);
    symlinkSync(path.join(ROOT, 'node_modules'), path.join(directory, 'node_modules'));
    const files = {
      'package.json': '{ "type": "module" }',
      'ava.config.js': `import config from ${JSON.stringify(CONFIG)};
        export default { ...config, files: ['test.ts'], require: [${JSON.stringify(ENDING)}] };`,
      'test.ts': `import { spawn } from 'node:child_process';
        import { createServer } from 'node:net';
        import test from 'ava';
        test('fails', (t) => {
          ${expression};
          t.fail();
        });`,
    };
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(path.join(directory, name), content);
    }
    const child = spawn(process.execPath, [AVA], {
      cwd: directory,
      env: { ...process.env, CLOSING_MS: '200' },
    });
    endsWith(t, child);
    const said = Promise.all([text(child.stdout), text(child.stderr)]);
    const [code] = await within(once(child, 'exit'), 'the end of the run');
    t.is(code, 1);
    t.regex((await said).join(''), new RegExp(`have ended and left open: .*${kind}`));
  });
}
