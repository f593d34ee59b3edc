// The one-file build, for machines without Node: it signs, takes new credentials, ends on a signal, leaves
// nothing behind, and ignores the machine's variables for Node.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { revision, version } from 'taskcluster-proxy';
import { endsWith } from '../harness/child.js';
import { within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { permanentCredentials } from '../harness/signature.js';
import { startUpstream } from '../harness/upstream.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const run = promisify(execFile);

const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
const isMade =
  `${process.platform}-${process.arch}` === 'linux-x64' && header.glibcVersionRuntime !== undefined;
const madeTest = isMade ? test : test.skip;
if (!isMade) {
  console.log('skipped here: tests of the one file, which is made for Linux on x64');
}

/** Each variable has an effect that shows, or ends the process, in a Node that obeys it. */
const OF_NODE = {
  NODE_OPTIONS: '--no-such-option',
  NODE_DEBUG: 'net,module,fs',
  NODE_EXTRA_CA_CERTS: '/nowhere/at/all.pem',
  TASKCLUSTER_PROXY_BINARY: '/nowhere/at/all.node',
};

madeTest('the one file does the work of a proxy alone', async (t) => {
  const made = await run(process.execPath, [path.join(ROOT, 'tools/one-file.mjs')]);
  const directory = freshDirectory(t);
  const program = path.join(directory, 'taskcluster-proxy');
  copyFileSync(made.stdout.trim(), program);
  const licence = readFileSync(`${made.stdout.trim()}.node-license.txt`, 'utf8');
  t.regex(licence, /^Node\.js is licensed for use as follows:/);
  const TMPDIR = path.join(directory, 'temporary');
  mkdirSync(TMPDIR);
  const env = { TMPDIR, ...OF_NODE };

  const said = await run(program, ['--version'], { cwd: directory, env });
  t.deepEqual(said, {
    stdout: `Taskcluster proxy ${version} (git revision ${revision})\n`,
    stderr: '',
  });

  const upstream = await startUpstream(t);
  const { clientId, accessToken } = permanentCredentials();
  const args = ['-p0', '-i127.0.0.1', '--root-url', upstream.url, '--log-level', 'warn'];
  const child = spawn(
    program,
    [...args, `--client-id=${clientId}`, '--access-token', accessToken],
    {
      cwd: directory,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const exited = once(child, 'exit');
  endsWith(t, child);
  let stderr = '';
  child.stderr.on('data', (part) => {
    stderr += part;
  });
  const [line] = await within(once(child.stdout, 'data'), 'the line `Listening on`');
  const [, url] = /^Listening on (\S+)\n$/.exec(`${line}`) ?? [];

  const first = await fetch(`${url}/queue/v1/ping`);
  t.is(first.status, 200, await first.text());
  t.is(first.headers.get('x-taskcluster-proxy-perm-clientid'), clientId);
  const next = permanentCredentials('tests/next');
  const update = await fetch(`${url}/credentials`, { method: 'PUT', body: JSON.stringify(next) });
  t.is(update.status, 200, await update.text());
  const second = await fetch(`${url}/queue/v1/ping`);
  t.is(second.status, 200, await second.text());
  t.is(second.headers.get('x-taskcluster-proxy-perm-clientid'), next.clientId);

  child.kill('SIGTERM');
  t.deepEqual(await within(exited, 'the end'), [0, null]);
  t.is(stderr, '');
  t.deepEqual(readdirSync(TMPDIR), []);
  t.deepEqual(readdirSync(directory).sort(), ['taskcluster-proxy', 'temporary']);
});
