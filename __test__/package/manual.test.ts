// Shell completions and the manual page: a real bash, zsh, fish and groff show every flag of the table of
// settings.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { version } from 'taskcluster-proxy';
import { FLAGS, ROWS } from '../../dist/settings.js';
import { endsWith } from '../harness/child.js';
import { within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { pathOf, testWith } from '../harness/tools.js';

const ROOT = path.resolve(import.meta.dirname, '../..');
const COMPLETIONS = path.join(ROOT, 'dist/completions');
const BASH = path.join(COMPLETIONS, 'taskcluster-proxy.bash');
const FISH = path.join(COMPLETIONS, 'taskcluster-proxy.fish');
const PAGE = path.join(ROOT, 'dist/man/taskcluster-proxy.1');
const LONG = FLAGS.map(([, { flag }]) => `--${flag}`);
const run = promisify(execFile);

const lines = (text: string) => text.split('\n').filter((line) => line !== '');

/** What bash offers for the last of `words`, which are split as bash splits them. */
async function offered(...words: string[]): Promise<string[]> {
  const program = `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _taskcluster_proxy; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const args = ['--noprofile', '--norc', '-c', program, BASH, 'taskcluster-proxy', ...words];
  const { stdout, stderr } = await run(pathOf('bash'), args);
  return stderr === '' ? lines(stdout) : [stderr];
}

const LEVELS = ['error', 'warn', 'info', 'debug'];

const OFFERS: ReadonlyArray<readonly [words: string[], offers: string[]]> = [
  [[''], LONG],
  [['--log-l'], ['--log-level']],
  [['--log-level', ''], LEVELS],
  [['--log-level', '='], LEVELS],
  [['--log-level', '=', 'i'], ['info']],
  [['--log-level', '=', 'info', '--log'], ['--log-format']],
  [['--port', ''], []],
  [['-p', '80', '--por'], []],
  [['-p80', '--log-f'], ['--log-format']],
  [['--host', 'a', '--hos'], ['--host']],
  [['-i', '::1', '--ip'], ['--ip-address']],
  [
    ['--ready-file', '/proc/self/stat'],
    ['/proc/self/stat', '/proc/self/statm', '/proc/self/status'],
  ],
  [['--allowed-user', 'roo'], ['root']],
  [['--access-token', ''], []],
  [['--port', '80', 'scope', '--'], []],
  [['--', '--'], []],
];

testWith('bash')(
  'bash offers flags before the scopes, and values of what it can know',
  async (t) => {
    for (const [words, offers] of OFFERS) {
      t.deepEqual((await offered(...words)).sort(), [...offers].sort(), words.join(' '));
    }
  },
);

/** Types into a shell on a terminal, until the command is called; what it was called with. */
async function typed(t: ExecutionContext, shell: string, setUp: string): Promise<string[]> {
  const { PATH } = process.env;
  const env = { PATH, TERM: 'dumb', HOME: freshDirectory(t) };
  const child = spawn('script', ['-qec', shell, '/dev/null'], { env, detached: true });
  const exited = endsWith(t, child);
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const says = async (pattern: RegExp) => {
    while (!pattern.test(output)) {
      await within(once(child.stdout, 'data'), `${pattern} of ${shell}, which said ${output}`);
    }
  };
  child.stdin.write(`${setUp}\n`);
  child.stdin.write(
    `taskcluster-proxy() { printf 'got <%s>\\n' "$@"; }; echo set up: $((40 + 2))\n`,
  );
  await says(/set up: 42/);
  child.stdin.write('taskcluster-proxy --log-l\t');
  await says(/--log-level/);
  child.stdin.write('i\t');
  await says(/--log-level.*info/s);
  child.stdin.write('\n');
  await says(/got <--/);
  child.stdin.end('exit\n');
  await within(exited, `the end of ${shell}`);
  return [...output.matchAll(/got <([^%>]*)>/g)].map(([, word = '']) => word);
}

testWith('bash')('bash completes what is typed', async (t) => {
  const words = await typed(t, 'bash --noprofile --norc -i', `source '${BASH}'`);
  t.deepEqual(words, ['--log-level', 'info']);
});

testWith('zsh')('zsh completes what is typed', async (t) => {
  const setUp = `fpath=('${COMPLETIONS}' $fpath); autoload -Uz compinit; compinit -u -D`;
  const words = await typed(t, 'zsh -f -i', setUp);
  t.deepEqual(words, ['--log-level=info']);
});

testWith('fish')('fish completes what is typed', async (t) => {
  const complete = async (line: string) => {
    const program = `source ${FISH}; complete -C '${line}'`;
    const { stdout } = await run(pathOf('fish'), ['--no-config', '-c', program]);
    return lines(stdout).map((each) => each.split('\t')[0]);
  };
  t.deepEqual(await complete('taskcluster-proxy --log-l'), ['--log-level']);
  t.deepEqual((await complete('taskcluster-proxy --log-level ')).sort(), [...LEVELS].sort());
  t.deepEqual(await complete('taskcluster-proxy --port 80 --por'), []);
  t.deepEqual(await complete('taskcluster-proxy --upstream-http2 --upstream-ht'), []);
  t.deepEqual(await complete('taskcluster-proxy -i ::1 --ip'), ['--ip-address']);
  t.deepEqual(await complete('taskcluster-proxy scope --log-l'), []);
});

test('every flag of the table is in each completion, and no other', (t) => {
  const named = (file: string, pattern: RegExp) => {
    const text = readFileSync(path.join(COMPLETIONS, file), 'utf8');
    return [...new Set([...text.matchAll(pattern)].map(([, name]) => `--${name}`))].sort();
  };
  t.deepEqual(named('taskcluster-proxy.bash', /[ |]--([a-z][a-z0-9-]+)\)/g), [...LONG].sort());
  t.deepEqual(named('_taskcluster-proxy', /[)*]--([a-z][a-z0-9-]+)=?\[/g), [...LONG].sort());
  t.deepEqual(
    named('taskcluster-proxy.fish', /^complete .* -l ([a-z][a-z0-9-]+) /gm),
    [...LONG].sort(),
  );
  t.is(readdirSync(COMPLETIONS).length, 3);
});

testWith('groff')('the manual page names every flag and every variable', async (t) => {
  const format = (...options: string[]) => run(pathOf('groff'), ['-man', ...options, PAGE]);
  const checked = await format('-ww', '-z');
  t.is(checked.stderr, '');
  const { stdout } = await format('-Tascii', '-P-cbou', '-rHY=0');
  const text = stdout.replace(/\s+/g, ' ');
  for (const [, { flag, short, help }] of FLAGS) {
    const spelling = `${short === undefined ? '' : `-${short}, `}--${flag}`;
    t.true(text.includes(` ${spelling} `), spelling);
    t.true(text.includes(help), help);
  }
  for (const [, { environment = [] }] of ROWS) {
    t.true(environment.length === 0 || text.includes(` ${environment[0]} `), environment[0]);
  }
  t.true(text.includes(`taskcluster-proxy ${version} `));
});
