// What lies in the repository beside code: the unit for systemd starts the command as it is, the update
// bot looks at everything that is pinned, and forms and settings can be read.
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { parse } from 'yaml';
import { parseLine, readCommand } from '../../dist/cli/arguments.js';
import { ENOUGH } from '../harness/command.js';
import { freshDirectory } from '../harness/directory.js';
import { pathOf, testWith } from '../harness/tools.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const read = (file: string) => readFileSync(path.join(ROOT, file), 'utf8');
const run = promisify(execFile);

const UNIT = read('docs/taskcluster-proxy.service');

test('the unit starts a proxy for one user, on loopback alone', (t) => {
  const [, words = ''] = /^ExecStart=\S+ (.*)$/m.exec(UNIT) ?? [];
  const command = readCommand(parseLine(words.split(' ')), ENOUGH);
  t.like(command, {
    kind: 'run',
    options: { allowedUser: 'builder', ipAddresses: ['127.0.0.1', '::1'] },
  });
  const [, patience = 0] = /^TimeoutStopSec=(\d+)$/m.exec(UNIT) ?? [];
  t.true(command.kind === 'run' && Number(patience) * 1000 > command.grace);
});

testWith('systemd-analyze')('systemd can read the unit', async (t) => {
  const copy = path.join(freshDirectory(t), 'taskcluster-proxy.service');
  writeFileSync(copy, UNIT.replace(/^ExecStart=\S+/m, 'ExecStart=/bin/true'));
  const { stderr } = await run(pathOf('systemd-analyze'), ['verify', '--man=no', copy]);
  t.false(stderr.includes(path.basename(copy)), stderr);
});

test('THIRD-PARTY-LICENSES names exactly the crates that are linked', async (t) => {
  const args = ['tree', '--package', 'taskcluster-proxy-addon', '--locked'];
  const { stdout } = await run(
    'cargo',
    [...args, ...['--edges', 'normal', '--target', 'all', '--prefix', 'none', '--format', '{p}']],
    { cwd: ROOT },
  );
  // `name v1.2.3`, and behind it what kind it is, or where it lies. The last is needed under `cfg(any())`,
  // which no platform is.
  const linked = stdout
    .split('\n')
    .filter((line) => line !== '' && !/^(taskcluster-proxy-|jiff-static )/.test(line))
    .map((line) => line.replace(/^(\S+) v(\S+).*$/, '$1 $2'));
  const shipped = [...read('THIRD-PARTY-LICENSES').matchAll(/^- (\S+ \d[^\s,]*)/gm)];
  const named = new Set(shipped.map(([, crate]) => crate));
  t.deepEqual([...named].sort(), [...new Set(linked)].sort(), 'run npm run licences');
});

interface Runtime {
  readonly name: string;
  readonly platforms: readonly string[];
}

test('THIRD-PARTY-LICENSES names the runtimes that the linkers put into each build', async (t) => {
  const program = `import { RUNTIMES } from '${path.join(ROOT, 'tools/licences.mjs')}';
    console.log(JSON.stringify(RUNTIMES));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', program]);
  const runtimes = JSON.parse(stdout) as Runtime[];
  const shipped = read('THIRD-PARTY-LICENSES');
  for (const { name, platforms } of runtimes) {
    t.true(shipped.includes(`\n- ${name}\n  in ${platforms.join(', ')}\n`), 'run npm run licences');
  }
  const named = new Set(runtimes.flatMap(({ platforms }) => platforms));
  const platforms = readdirSync(path.join(ROOT, 'npm')).filter((each) => each.includes('-'));
  t.deepEqual([...named].sort(), platforms.filter((each) => each !== 'taskcluster-local').sort());
  t.true(shipped.includes('This license has been certified as open source.'), 'of mingw-w64');
  t.true(shipped.includes('LLVM Exceptions to the Apache 2.0 License'), 'of libunwind');
  t.true(shipped.includes('Copyright (c) Zig contributors'));
});

interface Updates {
  readonly updates: ReadonlyArray<{
    readonly 'package-ecosystem': string;
    readonly directory?: string;
    readonly directories?: readonly string[];
  }>;
}

/** The file by which an ecosystem pins what it needs. */
const PINNED = {
  'Cargo.lock': 'cargo',
  'package-lock.json': 'npm',
  'go.mod': 'gomod',
  'requirements.txt': 'pip',
};

test('the update bot looks at all that is pinned', (t) => {
  const { updates } = parse(read('.github/dependabot.yml')) as Updates;
  const looked = updates.flatMap(({ 'package-ecosystem': ecosystem, directory, directories }) =>
    [directory ?? [], directories ?? []].flat().map((each) => `${ecosystem} ${each}`),
  );
  const clients = readdirSync(path.join(ROOT, '__test__/clients')).map(
    (name) => `/__test__/clients/${name}`,
  );
  const pinned = ['/', '/fuzz', ...clients].flatMap((directory) =>
    Object.entries(PINNED)
      .filter(([file]) => existsSync(path.join(ROOT, directory, file)))
      .map(([, ecosystem]) => `${ecosystem} ${directory}`),
  );
  const covers = (place: string, one: string) =>
    place === one || (place.endsWith('/*') && path.dirname(one) === path.dirname(place));
  for (const one of [...pinned, 'github-actions /']) {
    t.true(
      looked.some((place) => covers(place, one)),
      one,
    );
  }
  for (const place of looked) {
    t.true(
      [...pinned, 'github-actions /'].some((one) => covers(place, one)),
      place,
    );
  }
});

test('forms of issues can be read, and ask for something', (t) => {
  const directory = '.github/ISSUE_TEMPLATE';
  for (const name of readdirSync(path.join(ROOT, directory))) {
    const form = parse(read(`${directory}/${name}`));
    if (name === 'config.yml') {
      t.true(form.contact_links.every(({ url }: { url: string }) => url.startsWith('https://')));
      continue;
    }
    t.truthy(form.name && form.description, name);
    const fields: { type: string; id?: string; attributes: { label?: string } }[] = form.body;
    const asked = fields.filter(({ type }) => type !== 'markdown');
    t.true(asked.length > 0 && asked.every(({ id, attributes }) => id && attributes.label), name);
    t.is(new Set(asked.map(({ id }) => id)).size, asked.length, name);
  }
});
