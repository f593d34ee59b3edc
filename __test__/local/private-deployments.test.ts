// The commands of docs/private-deployments.md are run one after the other, and print the output shown
// there.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { openDatabase } from '../../ts/deployment/storage/open.js';
import { loadKeys } from '../../ts/deployment/storage/sealing.js';
import { sqlStore } from '../../ts/deployment/storage/sql/index.js';
import { addDatabase } from '../harness/database.js';
import { DATABASE_PATIENCE_MS, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { unusedPort } from '../harness/port.js';
import { postgresql } from '../harness/postgresql.js';
import { testWith } from '../harness/tools.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const MARK = '== the next block ==';

/** Commands, and what they print. */
interface Step {
  readonly commands: string;
  readonly prints: string | undefined;
}

function stepsOf(document: string): Step[] {
  const text = readFileSync(path.join(ROOT, document), 'utf8');
  const blocks = text.matchAll(/^```sh\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?/gms);
  return [...blocks].map(([, commands = '', prints]) => ({ commands, prints }));
}

/** `...` stands for anything, on a line of its own for any lines; columns may be of any width. */
function pattern(prints: string): RegExp {
  const lines = prints.trimEnd().split('\n');
  const source = lines.map((line) =>
    line.trim() === '...'
      ? '(?:.*\\n)*?'
      : `${line
          .split('...')
          .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\s+/g, '\\s+'))
          .join('.*')}\\n`,
  );
  return new RegExp(`^${source.join('')}$`);
}

/** The package's commands, as they are once they have been installed. */
function installed(place: string): string {
  const folder = path.join(place, 'bin');
  mkdirSync(folder);
  const files = { 'taskcluster-local': 'local.js', 'taskcluster-proxy': 'proxy.cjs' };
  for (const [name, file] of Object.entries(files)) {
    const program = path.join(ROOT, 'dist/cli', `taskcluster-${file}`);
    const script = `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`;
    writeFileSync(path.join(folder, name), script, { mode: 0o755 });
  }
  return folder;
}

/** A data folder from before anonymous scopes, but for its tables. */
async function addOlderData(folder: string): Promise<void> {
  await addDatabase(folder);
  const database = await openDatabase({ folder: path.join(folder, 'database') });
  await database.script("UPDATE anonymous_scopes SET state = 'predates'");
  const store = sqlStore(database, await loadKeys(path.join(folder, 'keys')));
  const client = { clientId: 'c', accessToken: 't', scopes: [], disabled: false };
  await store.clients.put({ ...client, expires: new Date('3000-01-01') });
  await database.close();
}

/** What stands on this machine for each place that the document names. */
async function places(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const databaseUrl = await (await postgresql()).createDatabase();
  found.set('postgres://user:password@127.0.0.1/taskcluster', databaseUrl);
  for (const port of ['8090', '8091', '8092', '8093', '8094']) {
    found.set(port, String(await unusedPort()));
  }
  return found;
}

function shell(t: ExecutionContext, place: string, script: string): ChildProcess {
  const { PATH = '', HOME = '' } = process.env;
  const env = { PATH: `${installed(place)}${path.delimiter}${PATH}`, HOME, TMPDIR: place };
  const child = spawn('sh', ['-c', `exec 2>&1\n${script}`], { cwd: place, env, detached: true });
  t.teardown(() => {
    try {
      process.kill(-(child.pid ?? 0), 'SIGKILL');
    } catch {
      // All of them have ended.
    }
  });
  return child;
}

testWith('curl', 'postgres')(
  'the commands of docs/private-deployments.md print the output that it shows',
  async (t) => {
    t.timeout(5 * DATABASE_PATIENCE_MS);
    const place = freshDirectory(t);
    await Promise.all([
      addDatabase(path.join(place, 'data')),
      addOlderData(path.join(place, 'older')),
    ]);
    const [install, ...steps] = stepsOf('docs/private-deployments.md');
    t.regex(install?.commands ?? '', /^npm install taskcluster-local\n/);
    t.true(steps.length > 10);
    const named = await places();
    let script = steps.map(({ commands }) => `${commands}echo\necho '${MARK}'\n`).join('');
    for (const [documented, own] of named) {
      script = script.replaceAll(documented, own);
    }
    const child = shell(t, place, script);
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    await within(once(child, 'exit'), 'the last command', 4 * DATABASE_PATIENCE_MS);
    for (const [documented, own] of named) {
      output = output.replaceAll(own, documented);
    }
    const printed = output.split(`\n${MARK}\n`);
    for (const [index, { commands, prints = '' }] of steps.entries()) {
      t.regex(`${printed[index]?.trim()}\n`, pattern(prints), commands);
    }
  },
);
