// The command line: every message and exit code, and which settings count as given.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'ava';
import { createTemporaryCredentials, version } from 'taskcluster-proxy';
import { COMMAND, ENOUGH, runCommand, startCommand } from '../harness/command.js';
import { within } from '../harness/deadline.js';
import { unusedPort } from '../harness/port.js';
import { pathOf, testWith } from '../harness/tools.js';

const { TASKCLUSTER_ROOT_URL: ROOT_URL = '' } = ENOUGH;
const CREDENTIALS = ['--client-id', 'a', '--access-token', 'b'];
const CERTIFICATE = 'TASKCLUSTER_CERTIFICATE';
const FIXED_PORT = 'TASKCLUSTER_PROXY_FIXED_PORT';

interface Refused {
  args: string[];
  env?: Record<string, string>;
  /** The sentence on stderr, after the command's name. */
  says: string;
}

const USAGE: Record<string, Refused> = {
  'a port above the range': {
    args: ['--port', '65536'],
    says: 'port 65536 is not in range [0,65535]',
  },
  'a port below the range': { args: ['-p', '-1'], says: 'port -1 is not in range [0,65535]' },
  'a port that is no number': { args: ['-p', 'http'], says: 'port http is not in range [0,65535]' },
  'a port in hexadecimal': { args: ['-p0x50'], says: 'port 0x50 is not in range [0,65535]' },
  'an empty port': {
    args: ['--port='],
    says: '--port is empty: give it a value, or leave it out',
  },
  'a port beside one that is fixed': {
    args: ['--port', '80'],
    env: { ...ENOUGH, [FIXED_PORT]: '80' },
    says: '--port is given, and TASKCLUSTER_PROXY_FIXED_PORT fixes the port: leave --port out, or change the variable',
  },
  'a fixed port that is none': {
    args: [],
    env: { ...ENOUGH, [FIXED_PORT]: 'tcp://10.0.0.1:80' },
    says: 'TASKCLUSTER_PROXY_FIXED_PORT: port tcp://10.0.0.1:80 is not in range [0,65535]',
  },
  'an address that is none': {
    args: ['--ip-address', 'localhost'],
    says: 'invalid IPv4/IPv6 address specified - cannot parse: localhost',
  },
  'an address with a zone': {
    args: ['-i', 'fe80::1%eth0'],
    says: 'invalid IPv4/IPv6 address specified - cannot parse: fe80::1%eth0',
  },
  'one address of two': {
    args: ['-i', '127.0.0.1', '-i', '127.0.0.256'],
    says: 'invalid IPv4/IPv6 address specified - cannot parse: 127.0.0.256',
  },
  'no root URL': {
    args: CREDENTIALS,
    env: {},
    says: 'Root URL must be passed via environment variable TASKCLUSTER_ROOT_URL or command line option --root-url',
  },
  'an empty root URL': {
    args: ['--root-url', '', ...CREDENTIALS],
    env: {},
    says: 'Root URL must be passed via environment variable TASKCLUSTER_ROOT_URL or command line option --root-url',
  },
  'no client id': {
    args: ['--root-url', ROOT_URL, '--access-token', 'b'],
    env: {},
    says: 'Client ID must be passed via environment variable TASKCLUSTER_CLIENT_ID or command line option --client-id',
  },
  'no access token': {
    args: ['--root-url', ROOT_URL, '--client-id', 'a'],
    env: { TASKCLUSTER_ACCESS_TOKEN: '' },
    says: 'Access token must be passed via environment variable TASKCLUSTER_ACCESS_TOKEN or command line option --access-token',
  },
  'a root URL without a scheme': {
    args: ['--root-url', 'tc.example.com'],
    says: 'invalid root URL: it must begin with http:// or https://',
  },
  'a client id with a quote': {
    args: ['--client-id', 'a"b'],
    says: "clientId contains '\"', which cannot be part of one: use letters, digits and !@/:.+|_- only",
  },
  'a certificate that is no object': {
    args: ['--certificate', '[]'],
    says: 'certificate must be a JSON object: pass it as it came with the access token',
  },
  'a certificate without the keys of one': {
    args: ['--certificate', '{}'],
    says: 'certificate.version must be 1: create the temporary credentials anew',
  },
  'a certificate from the environment that is no JSON': {
    args: [],
    env: { ...ENOUGH, [CERTIFICATE]: '{"version":1' },
    says: 'certificate must be a JSON object: pass it as it came with the access token',
  },
  'to end with its parent and to outlive it': {
    args: ['--outlive-parent', '--end-with-parent'],
    says: '--end-with-parent and --outlive-parent contradict each other: leave one out',
  },
  'an unknown option': {
    args: ['--prot', '80'],
    says: '--prot is not an option: did you mean --port?',
  },
  'an unknown short option': {
    args: ['-x'],
    says: '-x is not an option: see taskcluster-proxy --help',
  },
  'an unknown option, without repeating what may be a secret': {
    args: ['--acces-token=secret'],
    says: '--acces-token is not an option: did you mean --access-token?',
  },
  'an option that resembles none': {
    args: ['--frobnicate'],
    says: '--frobnicate is not an option: see taskcluster-proxy --help',
  },
  'a part of an option': {
    args: ['--user', 'root'],
    says: '--user is not an option: did you mean --allowed-user?',
  },
  'the beginning of an option': {
    args: ['--root', 'https://tc.example.com'],
    says: '--root is not an option: did you mean --root-url?',
  },
  'an option behind a scope': {
    args: ['scope', '--ready-file=/tmp/ready'],
    says: '--ready-file follows a scope, where options end: write it before the first scope, or -- before the scopes if it is one',
  },
  'the end of options behind a scope': {
    args: ['scope', '--', '-d'],
    says: '-- follows a scope: write it before the first one',
  },
  'an option that the first scope of a task could have passed for': {
    args: ['--ready-file=/tmp/ready', 'scope'],
    says: '--ready-file precedes scopes that could pass for options: write -- before the first scope',
  },
  'an option that a scope of a task could have passed for, with the -- that follows': {
    args: ['--port', '0', '--ready-file=/tmp/ready', '--', 'scope'],
    says: '--ready-file follows --port, where a scope could pass for it: write it first',
  },
  'an option that the last scope of a task could have passed for': {
    args: ['-p', '0', '--outlive-parent'],
    says: '--outlive-parent follows -p, where a scope could pass for it: write it first',
  },
  'a list of scopes that turned out empty': {
    args: ['--port', '0', '--'],
    says: 'no scope follows --: write one, or leave -- out to sign with all scopes of the credentials',
  },
  'an option without its dashes': {
    args: ['allowed-user=root'],
    says: 'allowed-user is no scope: write --allowed-user, or -- before the scopes if it is one',
  },
  "an option with a text's dash": {
    args: ['\u2014allowed-user', 'root'],
    says: '\u2014allowed-user is no scope: write --allowed-user, or -- before the scopes if it is one',
  },
  'an empty scope': {
    args: ['scope', ''],
    says: '<scope> is empty: give it a value, or leave it out to sign with all scopes of the credentials',
  },
  'an option that swallows the next one': {
    args: ['--host', '--allowed-user', 'root'],
    says: '--host needs a value, and --allowed-user follows it: write --host <name>',
  },
  'an option that swallows a misspelt one': {
    args: ['--host', '--alowed-user', 'root'],
    says: '--host needs a value, and --alowed-user follows it: write --host <name>',
  },
  'an access token that is an option': {
    args: ['--access-token', '--allowed-user', 'root'],
    says: '--access-token needs a value, and --allowed-user follows it: write --access-token <accessToken>',
  },
  'an option that swallows the end of options': {
    args: ['--client-id', '--', 'scope'],
    says: '--client-id needs a value, and -- follows it: write --client-id <clientId>',
  },
  'a negative number, which is no scope': {
    args: ['-1'],
    says: '-1 is not an option: see taskcluster-proxy --help',
  },
  'an option without its value': {
    args: ['--root-url'],
    says: '--root-url needs a value: write --root-url <rootUrl>',
  },
  'a switch with a value': {
    args: ['--allow-cross-site=yes'],
    says: '--allow-cross-site takes no value: leave out what follows the =',
  },
  'an option twice': {
    args: ['--port', '0', '-p', '1'],
    says: '-p is given more than once: leave all but one out',
  },
  'a task id that is none': {
    args: ['--task-id', 'abc'],
    says: "'abc' is not a task id: pass the 22 characters of a slugid",
  },
  'an empty task id, which must not lift the restriction': {
    args: ['--task-id', ''],
    says: '--task-id is empty: give it a value, or leave it out to be restricted by no task',
  },
  'a duration without a unit': {
    args: ['--retry-first', '500'],
    says: '--retry-first 500 is not a duration of at most a year: write it as 500ms, 30s, 15m or 1h',
  },
  'a grace that is no duration': {
    args: ['--grace', 'soon'],
    says: '--grace soon is not a duration of at most a year: write it as 500ms, 30s, 15m or 1h',
  },
  'a size in a unit that means two things': {
    args: ['--replay-limit', '10MB'],
    says: '--replay-limit 10MB is not a size: write it as 512B, 64KiB, 10MiB or 1GiB',
  },
  'an unknown way to update': {
    args: ['--credentials-update', 'later'],
    says: '--credentials-update later is not one of drain, immediate',
  },
  'an unknown log format': {
    args: ['--log-format', 'xml'],
    says: '--log-format xml is not one of text, json',
  },
  'an unknown log level': {
    args: ['--log-level', 'trace'],
    says: '--log-level trace is not one of error, warn, info, debug',
  },
};

for (const [what, { args, env = ENOUGH, says }] of Object.entries(USAGE)) {
  test(`the command refuses ${what}`, async (t) => {
    const { code, stdout, stderr } = await runCommand(t, args, env);
    t.is(stderr, `taskcluster-proxy: ${says}\n`);
    t.is(code, 64);
    t.is(stdout, '');
  });
}

test('the command ends with 1 and one sentence if its port is in use', async (t) => {
  const server = createServer().listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const { code, stderr } = await runCommand(t, ['-i', '127.0.0.1', '-p', `${port}`], ENOUGH);
  t.regex(stderr, new RegExp(`^taskcluster-proxy: cannot listen on 127.0.0.1:${port}: .*\n$`));
  t.is(code, 1);
});

testWith('old-node')('on a Node that is too old a command ends with one sentence', async (t) => {
  const local = path.join(import.meta.dirname, '../../dist/cli/taskcluster-local.js');
  for (const [file, name] of [
    [COMMAND, 'taskcluster-proxy'],
    [local, 'taskcluster-local'],
  ] as const) {
    const child = spawn(pathOf('old-node'), [file, 'start'], { env: ENOUGH });
    const [[code], stdout, stderr] = await within(
      Promise.all([once(child, 'exit'), text(child.stdout), text(child.stderr)]),
      `the end of ${name}`,
    );
    const sentence = /^(\S+): Node 18\.\S+ is too old: install Node 20 or newer\n$/.exec(stderr);
    t.is(sentence?.[1], name, stderr);
    t.deepEqual([code, stdout], [1, '']);
  }
});

test('--version names version and revision, --short-version the version alone', async (t) => {
  const long = await runCommand(t, ['--version']);
  t.regex(
    long.stdout,
    new RegExp(`^Taskcluster proxy ${version} \\(git revision ([0-9a-f]{40}|unknown)\\)\n$`),
  );
  const short = await runCommand(t, ['--short-version', '--port', 'ignored']);
  t.is(short.stdout, `${version}\n`);
  t.deepEqual([long.code, long.stderr, short.code], [0, '', 0]);
});

test('--help lists every option, in lines of at most 100 characters', async (t) => {
  const { code, stdout, stderr } = await runCommand(t, ['-h', 'some:scope']);
  for (const flag of [
    ...['port', 'ip-address', 'task-id', 'root-url', 'client-id', 'access-token', 'certificate'],
    ...['allowed-user', 'allowed-network', 'help', 'version', 'short-version', 'ready-file'],
    ...['retry-first', 'retry-cap', 'retry-for', 'replay-limit', 'replay-total', 'grace', 'host'],
    ...['header-timeout', 'response-timeout', 'drain-timeout', 'credentials-update'],
    ...['allow-cross-site', 'log-format', 'log-level', 'upstream-http2'],
  ]) {
    t.regex(stdout, new RegExp(`^ +(-. )?--${flag}( <|  )`, 'm'), flag);
  }
  t.true(stdout.split('\n').every((line) => line.length <= 100));
  t.deepEqual([code, stderr], [0, '']);
});

const TASK_ID = 'fN1SbArXTPSVFNUvaOlinQ';

/** A queue that answers every request in the same way, and what it was asked. */
async function startQueue(
  t: Parameters<typeof runCommand>[0],
  answers: readonly (readonly [number, unknown])[],
) {
  const asked: { url: string; authorization: string }[] = [];
  const server = createServer((request, response) => {
    const [status, body] = answers[Math.min(asked.length, answers.length - 1)] ?? [500, {}];
    asked.push({ url: request.url ?? '', authorization: request.headers.authorization ?? '' });
    response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
  }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { server, asked, env: { ...ENOUGH, TASKCLUSTER_ROOT_URL: `http://127.0.0.1:${port}/` } };
}

const FAILED_LOOKUPS: Record<string, { answer: readonly [number, unknown]; says: string }> = {
  'a task that does not exist': {
    answer: [404, { code: 'ResourceNotFound', message: 'Task not found\n\n---\nmore' }],
    says: 'the queue answered 404: Task not found',
  },
  'an answer without a message': { answer: [403, 'no'], says: 'the queue answered 403' },
  'an answer that is not JSON': {
    answer: [200, '<html>'],
    says: 'the answer is not a task definition with scopes',
  },
  'a task without a list of scopes': {
    answer: [200, { scopes: ['a', 1] }],
    says: 'the answer is not a task definition with scopes',
  },
  'a queue that stays broken': {
    answer: [500, { message: 'Internal' }],
    says: 'the queue answered 500: Internal',
  },
};

for (const [what, { answer, says }] of Object.entries(FAILED_LOOKUPS)) {
  test(`a task lookup fails with 1: ${what}`, async (t) => {
    const { env } = await startQueue(t, [answer]);
    const args = ['--task-id', TASK_ID, '--retry-for', '50ms', '--retry-first', '10ms'];
    const { code, stderr } = await runCommand(t, args, env);
    const [last] = stderr.split('\n').slice(-2);
    t.is(last, `taskcluster-proxy: could not fetch taskcluster task '${TASK_ID}' : ${says}`);
    t.is(code, 1);
  });
}

test('an invalid root URL is refused before the task is read', async (t) => {
  const { env, asked } = await startQueue(t, [[200, { scopes: [] }]]);
  const args = ['-t', TASK_ID, '--root-url', `${env.TASKCLUSTER_ROOT_URL}path`];
  const { code, stderr } = await runCommand(t, args, env);
  t.is(stderr, 'taskcluster-proxy: invalid root URL: it must not have a path\n');
  t.is(code, 64);
  t.is(asked.length, 0);
});

/** The restriction that a running proxy names in its answers; undefined for none. */
async function restriction(url = ''): Promise<unknown> {
  const response = await fetch(`${url}/no-such-route`);
  await response.arrayBuffer();
  const header = response.headers.get('x-taskcluster-authorized-scopes');
  return header === null ? undefined : JSON.parse(header);
}

const LISTEN = ['-p', '0', '-i', '127.0.0.1', '--retry-first=5ms'];

const RESTRICTIONS: Record<string, { args: string[]; task?: string[]; scopes: unknown }> = {
  'neither task nor scopes': { args: LISTEN, scopes: undefined },
  'scopes behind options': {
    args: [...LISTEN, 'a:b', 'c'],
    scopes: ['a:b', 'c'],
  },
  'scopes that begin with a dash': {
    args: ['--allow-cross-site', ...LISTEN, '--', '-d', '--port', '--'],
    scopes: ['-d', '--port', '--'],
  },
  "a task's scopes come first": {
    args: [...LISTEN, '--task-id', TASK_ID, 'c'],
    task: ['a', 'b'],
    scopes: ['a', 'b', 'c'],
  },
  'scopes that are no flags, though they have the name of one': {
    args: [...LISTEN, 'port', 'host'],
    scopes: ['port', 'host'],
  },
  'a task without scopes is the empty restriction, and -- says no more': {
    args: [...LISTEN, `--task-id=${TASK_ID}`, '--'],
    task: [],
    scopes: [],
  },
  'a task without scopes is the empty restriction': {
    args: [...LISTEN, `--task-id=${TASK_ID}`],
    task: [],
    scopes: [],
  },
};

for (const [what, { args, task, scopes }] of Object.entries(RESTRICTIONS)) {
  test(`a restriction holds as it is written: ${what}`, async (t) => {
    const { env, asked } = await startQueue(t, [
      [503, {}],
      [200, { scopes: task }],
    ]);
    const { urls } = await startCommand(t, args, env);
    t.deepEqual(await restriction(urls[0]), scopes);
    t.is(asked.length, task === undefined ? 0 : 2);
    for (const { url, authorization } of asked) {
      t.is(url, `/api/queue/v1/task/${TASK_ID}`);
      t.regex(authorization, /^Hawk id="project\/tester", ts="\d+", nonce="[^"]+", mac="[^"]+"$/);
    }
  });
}

/** The client that a running proxy signs as. */
async function signer(url = ''): Promise<string | null> {
  const { headers } = await fetch(`${url}/no-such-route`);
  return (
    headers.get('x-taskcluster-proxy-perm-clientid') ??
    headers.get('x-taskcluster-proxy-temp-clientid')
  );
}

for (const variable of ['TASKCLUSTER_CERTIFICATE', 'TASKCLUSTER_CERITIFICATE']) {
  test(`the command reads a certificate from ${variable}`, async (t) => {
    const { certificate, ...named } = createTemporaryCredentials({
      credentials: { clientId: 'project/issuer', accessToken: 'not-a-secret' },
      clientId: 'project/named',
      scopes: ['a:*'],
      expiry: new Date(Date.now() + 3_600_000),
    });
    const env = {
      ...ENOUGH,
      TASKCLUSTER_CLIENT_ID: named.clientId,
      TASKCLUSTER_ACCESS_TOKEN: named.accessToken,
      [variable]: certificate,
    };
    const { urls } = await startCommand(t, LISTEN, env);
    const { headers } = await fetch(`${urls[0]}/no-such-route`);
    t.is(headers.get('x-taskcluster-proxy-temp-clientid'), 'project/named');
    t.is(headers.get('x-taskcluster-proxy-temp-scopes'), '["a:*"]');
  });
}

test('with TASKCLUSTER_PROXY_FIXED_PORT the proxy listens on that port, with any other flags', async (t) => {
  const port = await unusedPort();
  const first = ['--host', 'public.example.com', '--upstream-host', 'none', '-i127.0.0.1'];
  const env = { ...ENOUGH, [FIXED_PORT]: `${port}` };
  for (const args of [
    [...first, '--', 'a:b'],
    ['-i127.0.0.1', 'a:b'],
  ]) {
    const { child, exited, urls } = await startCommand(t, args, env);
    t.deepEqual(urls, [`http://127.0.0.1:${port}`]);
    child.kill();
    await exited;
  }
});

test('a flag wins over its variable, and an empty --certificate or --root-url counts as not given', async (t) => {
  const flags = ['--client-id', 'from-flag', '--access-token', '-begins-with-a-dash'];
  const empty = ['--certificate', '', '--root-url='];
  const { urls } = await startCommand(t, ['-p0', ...flags, ...empty, '-i127.0.0.1']);
  t.is(await signer(urls[0]), 'from-flag');
});
