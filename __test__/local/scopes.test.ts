// What audit logs tell of scopes: the fewest with which a recorded run passes again, by the command
// `taskcluster-local scopes`, and those that no call has needed.
import { execFile } from 'node:child_process';
import { appendFileSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { type ApiReference, apiReference } from '../../ts/deployment/api/reference.js';
import type { Deployment } from '../../ts/deployment/index.js';
import {
  type AuditLine,
  auditPieces,
  type FileList,
  logFiles,
} from '../../ts/deployment/review/audit-log.js';
import { leastScopes } from '../../ts/deployment/review/least-scopes.js';
import type { Source, Subject } from '../../ts/deployment/review/subject.js';
import { type HeldScope, unusedScopes } from '../../ts/deployment/review/unused.js';
import {
  unusedRemarks,
  unusedRows,
  unusedSummary,
} from '../../ts/deployment/review/unused-wording.js';
import { services } from '../../ts/deployment/services.js';
import { until } from '../harness/deadline.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { type RunningProxy, startProxy } from '../harness/proxy.js';
import { definition, queueOf, refusal } from '../harness/queue.js';

const COMMAND = path.resolve(import.meta.dirname, '../../dist/cli/taskcluster-local.js');
const ROOT = 'https://tc.example.com';

async function run(args: string[], variables: Record<string, string> = {}) {
  const { PATH = '' } = process.env;
  const env = { PATH, ...variables };
  return promisify(execFile)(process.execPath, [COMMAND, 'scopes', ...args], { env })
    .then((printed) => ({ ...printed, code: 0 }))
    .catch((error: { stdout: string; stderr: string; code: number }) => error);
}

// === The rule ===

function reference(...entries: [string, string, ApiReference['entries'][number]['scopes']?][]) {
  return [
    {
      serviceName: 'x',
      apiVersion: 'v1',
      entries: entries.map(([name, route, scopes]) => ({
        ...{ type: 'function', method: 'get', name, route, args: [], query: ['q'] },
        ...(scopes === undefined ? {} : { scopes }),
      })),
    },
  ] as unknown as ApiReference[];
}

const API = reference(
  ['open', '/open'],
  ['plain', '/plain/<name>', 'plain:<name>'],
  ['query', '/query', 'query:<q>'],
  ['all', '/all/<a>/<b>', { AllOf: ['all:<a>', 'all:<b>'] }],
  ['any', '/any/<a>', { AnyOf: ['any:<a>', { AllOf: ['other:<a>', 'more:<a>'] }] }],
  [
    'body',
    '/body/<a>',
    { AllOf: ['body:<a>', { for: 'route', in: 'routes', each: 'route:<route>' }] },
  ],
  ['each', '/each/<name>', { AllOf: [{ for: 'name', in: 'names', each: 'each:<name>' }] }],
);

function line(target: string, more: Partial<AuditLine> = {}): AuditLine {
  const upstream = target.startsWith('https:') ? target : `${ROOT}/api/x/v1${target}`;
  const time = new Date().toISOString();
  return { time, method: 'GET', upstream, verdict: 'forwarded', status: 200, tries: 1, ...more };
}

test('each expression is satisfied by the fewest and narrowest scopes, first by those held', async (t) => {
  const cases: [string[], string[] | undefined, string[]][] = [
    [['/open', 'https://other.example.com/plain/a'], [], []],
    [['/plain/a', '/plain/a', '/plain/b'], [], ['plain:a', 'plain:b']],
    [['/plain/a%2Fb'], [], ['plain:a/b']],
    [['/query?q=1&z=2'], [], ['query:1']],
    [['/all/a/b', '/all/b/c'], [], ['all:a', 'all:b', 'all:c']],
    [['/each/a%2Fb'], [], ['each:a/b']],
    // One scope is fewer than two, unless the task holds the two.
    [['/any/a'], [], ['any:a']],
    [['/any/a'], ['other:*', 'more:*'], ['more:a', 'other:a']],
    [['/any/a'], ['other:*', 'any:*'], ['any:a']],
  ];
  for (const [targets, authorizedScopes = [], expected] of cases) {
    const lines = targets.map((target) => line(target, { authorizedScopes }));
    const least = await leastScopes(lines, API, ROOT);
    t.deepEqual([least.scopes, least.unknown], [expected, []], targets.join(' '));
  }
});

test('calls with unknown scopes are listed', async (t) => {
  const refused = line('/plain/a', { status: 403 });
  const time = new Date().toISOString();
  const unsent: AuditLine = { time, method: 'GET', verdict: 'refused', status: 404 };
  const { scopes, unknown } = await leastScopes(
    [line('/body/a'), line('/body/a'), line('/nowhere'), refused, unsent],
    API,
    ROOT,
  );
  t.deepEqual(scopes, []);
  t.is(unknown.length, 3);
  t.like(unknown[0], { call: `GET ${ROOT}/api/x/v1/body/a` });
  t.deepEqual(unknown[0]?.needs, {
    AllOf: ['body:a', { for: 'route', in: 'routes', each: 'route:<route>' }],
  });
  t.regex(unknown[1]?.why ?? '', /^no endpoint of this deployment is called by GET/);
  t.regex(unknown[2]?.why ?? '', /^it was refused with 403/);
});

test("the task's scopes are compared with the needed ones: unused, too wide, roles not judged", async (t) => {
  const authorizedScopes = ['plain:*', 'plain:a', 'query:1', 'nothing:*', 'assume:role'];
  const least = await leastScopes(
    [line('/plain/a', { authorizedScopes }), line('/query?q=1', { authorizedScopes })],
    API,
    ROOT,
  );
  t.deepEqual(least.unused, ['nothing:*']);
  t.deepEqual(least.tooWide, ['plain:*']);
  t.is((await leastScopes([line('/plain/a')], API, ROOT)).had, null);
});

test('a signed URL counts as a call of that URL', async (t) => {
  const signed = { method: 'POST', verdict: 'answered', status: 303, tries: 0 };
  const lines = [line('/bewit', { ...signed, signedUrl: `${ROOT}/api/x/v1/plain/a` })];
  t.deepEqual((await leastScopes(lines, API, ROOT)).scopes, ['plain:a']);
});

// === What no call has needed ===

const DAY = 24 * 60 * 60 * 1000;

function sourceWith(roles: Record<string, string[]> = {}): Source {
  const list = Object.entries(roles).map(([roleId, scopes]) => ({ roleId, scopes }));
  const never = () => {
    throw new Error('not asked for');
  };
  return {
    references: async () => API,
    roles: async () => list,
    client: async () => ({
      scopes: ['plain:a', 'assume:r'],
      expandedScopes: [],
      disabled: false,
      expires: new Date(),
    }),
    anonymous: never,
    expand: never,
  };
}

function logOf(folder: string, lines: readonly (AuditLine | string)[], name = 'audit.jsonl') {
  const file = path.join(folder, name);
  const texts = lines.map((each) => (typeof each === 'string' ? each : JSON.stringify(each)));
  const text = Buffer.from(texts.map((each) => `${each}\n`).join(''));
  writeFileSync(file, name.endsWith('.gz') ? gzipSync(text) : text);
  return file;
}

async function unusedOf(
  t: ExecutionContext,
  lines: readonly (AuditLine | string)[],
  subject: Subject,
  source = sourceWith(),
) {
  const files = logFiles([logOf(freshDirectory(t), lines)]);
  const question = { subject, wanted: [], days: 30, files, rootUrls: [ROOT] };
  return unusedScopes(source, { ...question, readTask: async () => undefined });
}

const named = (list: readonly HeldScope[]) => list.map(({ scope }) => scope);

test('a held scope is unused if the least scopes of the calls do not need it', async (t) => {
  const claim = line('/body/a');
  const refused = line('/plain/b', { status: 403 });
  const [before, within] = [31, 29].map((days) => new Date(Date.now() - days * DAY).toISOString());
  const cases: [(AuditLine | string)[], string[], string[], string[]?][] = [
    [[line('/plain/a')], ['plain:a', 'plain:b'], ['plain:b']],
    [[line('/plain/a')], ['plain:*', 'query:*', 'assume:x'], ['query:*']],
    [[line('/all/a/b')], ['all:a'], []],
    [[line('/any/a')], ['any:a', 'other:a', 'more:a'], ['more:a', 'other:a']],
    [[line('/any/a')], ['other:*', 'more:*', 'plain:*'], ['plain:*']],
    [[line('/any/a'), line('/any/b'), line('/all/b/b')], ['other:*', 'more:*'], []],
    [[line('/any/a')], ['other:*', 'plain:*'], ['plain:*'], ['other:*']],
    // What the logs do not tell enough of.
    [[claim], ['body:*', 'route:x', 'plain:*'], ['plain:*'], ['body:*', 'route:x']],
    [[refused], ['plain:b', 'plain:c'], ['plain:c'], ['plain:b']],
    [[claim, line('/plain/a')], ['body:a', 'plain:a'], [], ['body:a']],
    // The days are those of the lines.
    [[line('/open'), line('/plain/a', { time: before ?? '' })], ['plain:a'], ['plain:a']],
    [[line('/open'), line('/plain/a', { time: within ?? '' })], ['plain:a'], []],
    [[line('/open'), line('/plain/a', { tries: 0 })], ['plain:a'], ['plain:a']],
  ];
  for (const [lines, scopes, unused, perhaps = []] of cases) {
    const found = await unusedOf(t, lines, { kind: 'scopes', scopes });
    const text = JSON.stringify([lines, scopes]);
    t.deepEqual([named(found.unused), named(found.perhaps)], [unused, perhaps], text);
  }
  for (const [lines, authorizedScopes] of cases.slice(0, 5)) {
    const of = lines.map((each) => ({ ...(each as AuditLine), authorizedScopes }));
    const least = await leastScopes(of, API, ROOT);
    const found = await unusedOf(t, lines, { kind: 'scopes', scopes: authorizedScopes });
    t.deepEqual([...least.unused].sort(), named(found.unused), 'as --form diff tells it');
  }
});

test('a client is judged by its own calls and a role by all, and each unused scope is listed with its source', async (t) => {
  const source = sourceWith({ r: ['query:*', 'assume:s'], s: ['each:*', 'all:x'] });
  const lines = [
    line('/plain/a', { clientId: 'other' }),
    line('/query?q=1', { clientId: 'c' }),
    line('/each/a', { clientId: 'c' }),
  ];
  const client = await unusedOf(t, lines, { kind: 'client', clientId: 'c' }, source);
  t.like(client, { of: 'the client c', calls: 3, counted: 2, held: 4 });
  t.deepEqual(client.unused, [
    { scope: 'all:x', from: ['the role s'] },
    { scope: 'plain:a', from: ['the client c'] },
  ]);
  const role = await unusedOf(t, lines, { kind: 'role', roleId: 'r' }, source);
  t.like(role, { calls: 3, counted: 3 });
  t.deepEqual(named(role.unused), ['all:x']);
});

test('the command says what the logs do not show', async (t) => {
  const lines = [
    line('/plain/a'),
    line('/body/a'),
    line('/body/b'),
    line('/nowhere'),
    line('/plain/b', { status: 401 }),
    line('https://other.example.com/plain/a'),
    'no JSON',
    '{"time": "now", "method": "GET", "verdict": "forwarded"}',
    `"${'x'.repeat(2_000_000)}"`,
  ];
  const found = await unusedOf(t, lines, { kind: 'scopes', scopes: ['plain:*'] });
  t.like(found, { calls: 5, elsewhere: 1, unreadable: 3 });
  t.deepEqual(found.hosts, ['https://other.example.com']);
  t.deepEqual(found.unknown, [
    { reason: 'x.body', calls: 2 },
    { reason: 'no-endpoint', calls: 1 },
    { reason: 'refused', calls: 1 },
  ]);
  const remarks = unusedRemarks(found).join('\n');
  for (const said of [
    /^The logs have 5 calls to this deployment/,
    /^They begin at \S+Z and do not tell of the days before\.$/m,
    /^1 call to other hosts \(https:\/\/other\.example\.com\) need no scopes here\.$/m,
    /^2 calls of x\.body: their need depends on the body/m,
    /^1 call with the answer 401 or 403/m,
    /^3 lines of these files: not in the form of an audit log/m,
  ]) {
    t.regex(remarks, said);
  }
  const none = await unusedOf(t, [line('https://other.example.com/')], {
    kind: 'scopes',
    scopes: ['plain:*'],
  });
  t.regex(unusedSummary(none), /no call to this deployment .* so they do not tell\.$/);
  t.deepEqual(unusedRows(none), [], 'without calls, none is called unused');
});

async function targets(list: FileList): Promise<string[]> {
  const found: string[] = [];
  for await (const { lines } of auditPieces(list)) {
    found.push(...lines.map(({ upstream = '' }) => upstream.slice(-1)));
  }
  return found.sort();
}

test('each line of a log is read whole, wherever a piece of the log ends', async (t) => {
  const lengths = Array.from({ length: 400 }, (_, number) => 300 + number);
  const written = lengths.map((length) => line('/plain/a', { clientId: 'é'.repeat(length) }));
  written.splice(200, 0, line('/plain/a', { clientId: 'long'.repeat(50_000) }));
  for (const name of ['audit.jsonl', 'audit.jsonl.gz']) {
    const file = logOf(freshDirectory(t), written, name);
    const read: AuditLine[] = [];
    let bad = 0;
    for await (const { lines, unreadable } of auditPieces(async () => [file])) {
      read.push(...lines);
      bad += unreadable;
    }
    t.is(bad, 0);
    t.deepEqual(read, written, name);
  }
});

test('the command reads an audit log with its rotated files, or all files of a folder, each once even while they are renamed', async (t) => {
  const folder = freshDirectory(t);
  const file = logOf(folder, [line('/plain/a')]);
  logOf(folder, [line('/plain/b')], 'audit.jsonl.1');
  logOf(folder, [line('/plain/c')], 'audit.jsonl-20300101.gz');
  logOf(folder, [line('/plain/d')], 'other.jsonl');
  t.deepEqual(await targets(logFiles([file])), ['a', 'b', 'c']);
  t.deepEqual(await targets(logFiles([folder, file])), ['a', 'b', 'c', 'd']);
  appendFileSync(file, JSON.stringify(line('/plain/e')).slice(0, -9));
  t.deepEqual(await targets(logFiles([file])), ['a', 'b', 'c'], 'a line that is being written');

  let asked = 0;
  const list = logFiles([file]);
  const rotating: FileList = async () => {
    const names = await list();
    asked += 1;
    if (asked === 1) {
      renameSync(path.join(folder, 'audit.jsonl.1'), path.join(folder, 'audit.jsonl.2'));
      renameSync(file, path.join(folder, 'audit.jsonl.1'));
      logOf(folder, [line('/plain/f')]);
    }
    return names;
  };
  t.deepEqual(
    await targets(rotating),
    ['a', 'b', 'c', 'f'],
    'rotated between the list and the reading',
  );
});

test('other work goes on while a long log is read, and a caller can break the reading off', async (t) => {
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  for (let part = 0; part < 2; part += 1) {
    const lines = Array.from({ length: 10_000 }, (_, index) => line(`/plain/${part}-${index}`));
    appendFileSync(file, lines.map((each) => `${JSON.stringify(each)}\n`).join(''));
  }
  let turns = 0;
  const ticking = setInterval(() => {
    turns += 1;
  }, 1);
  t.teardown(() => clearInterval(ticking));
  const source = sourceWith();
  const question = { wanted: [], days: 30, files: logFiles([file]), rootUrls: [ROOT] };
  const subject = { kind: 'scopes', scopes: ['plain:*', 'query:*'] } as const;
  const readTask = async () => undefined;
  const found = await unusedScopes(source, { ...question, subject, readTask });
  t.like(found, { calls: 20_000, held: 2 });
  t.deepEqual(named(found.unused), ['query:*']);
  t.true(turns > 5, `other work has had ${turns} turns`);

  const leaving = new AbortController();
  const { signal } = leaving;
  setTimeout(() => leaving.abort(new Error('left')), 1);
  await t.throwsAsync(unusedScopes(source, { ...question, subject, readTask, signal }), {
    message: 'left',
  });
});

// === Held against a deployment ===

const EXPIRES = '2100-01-01T00:00:00.000Z';
const TASK = 'fN1SbArXTPSVFNUvaOlinQ';

test('the command asks the deployment for a task where the scopes of a call depend on it', async (t) => {
  const deployment = await deploymentFor(t);
  const { rootUrl, credentials } = deployment;
  const had = ['queue:*', 'secrets:get:a'];
  const { proxy, file } = await start(t, deployment, had);
  const queue = queueOf({ rootUrl: proxy.url }, {});
  const [taskId, taskGroupId, missing] = [1, 2, 3].map(() => taskcluster.slugid()) as [
    string,
    string,
    string,
  ];
  const fields = { taskGroupId, schedulerId: 's', projectId: 'p', priority: 'low' };
  const wanted = { ...definition(fields), scopes: ['secrets:get:a'], routes: ['index.x'] };
  await queue.createTask(taskId, wanted);
  await queue.cancelTask(taskId);
  await t.throwsAsync(queue.rerunTask(missing));
  await t.throwsAsync(queue.cancelTask('oops'));
  await until(() => readFileSync(file, 'utf8').split('\n').length > 4, 'the lines of the run');

  const { accessToken, clientId } = credentials;
  const own = { TASKCLUSTER_CLIENT_ID: clientId, TASKCLUSTER_ACCESS_TOKEN: accessToken };
  const list = await run(['--from', file, '--root-url', rootUrl], own);
  const derived = list.stdout.split('\n').slice(0, -1);
  t.deepEqual(derived, [
    `queue:cancel-task:s/${taskGroupId}/${taskId}`,
    'queue:create-task:low:demo/local',
    'queue:create-task:project:p',
    'queue:route:index.x',
    'queue:scheduler-id:s',
    'secrets:get:a',
  ]);
  t.regex(
    list.stderr,
    new RegExp(`^not known: POST \\S+/task/${missing}/rerun: queue.rerunTask `, 'm'),
  );
  t.regex(list.stderr, /^not known: POST \S+\/task\/oops\/cancel: queue\.cancelTask /m);
  const calls = await run(['--from', file, '--root-url', rootUrl, '--form', 'calls'], own);
  t.regex(
    calls.stdout,
    /^queue\.createTask {2}PUT \S+: secrets:get:a and queue:route:index\.x and /,
  );
  t.regex(calls.stdout, /^queue\.cancelTask {2}POST \S+: queue:cancel-task:s/m);

  const again = async (scopes: string[]) => {
    const less = queueOf({ rootUrl: (await start(t, deployment, scopes)).proxy.url }, {});
    const created = await refusal(less.createTask(taskId, wanted));
    return [created, await refusal(less.cancelTask(taskId))];
  };
  t.deepEqual(await again(derived), ['none', 'none']);
  for (const scope of derived) {
    const refusals = await again(derived.filter((other) => other !== scope));
    t.deepEqual(refusals.filter((code) => code !== 'none').length, 1, `without ${scope}`);
  }
  t.is(
    (await run(['--from', file, '--root-url', rootUrl])).stdout,
    '',
    'nor who may not ask for it',
  );

  const references = path.join(freshDirectory(t), 'references.json');
  writeFileSync(references, JSON.stringify(services().map(apiReference)));
  const offline = await run(
    ['--from', file, '--references', references, '--root-url', rootUrl],
    own,
  );
  t.is(offline.stdout, '', 'nor the references alone');
  t.regex(
    offline.stderr,
    /createTask decides by the body or by what it names: \(<scope> for each of/,
  );
});

/** A task's calls; whether none was refused. */
async function passes(proxy: RunningProxy): Promise<boolean> {
  const fields: [string, string][] = [['Content-Type', 'application/json']];
  const body = JSON.stringify({ secret: { a: 1 }, expires: EXPIRES });
  const answers = [
    await proxy.request('PUT', '/secrets/v1/secret/project/a', { fields, body }),
    await proxy.get('/secrets/v1/secret/project/a'),
    await proxy.get('/secrets/v1/secret/project/b'),
    await proxy.get('/api/secrets/v1/secrets'),
    await proxy.get('/queue/v1/ping'),
    await proxy.get(`/queue/v1/task/${TASK}/status`),
    await proxy.get('/auth/v1/clients/missing'),
  ];
  return answers.every(({ status }) => status !== 403);
}

async function start(t: ExecutionContext, deployment: Deployment, scopes: string[]) {
  const { rootUrl, credentials } = deployment;
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const flags = ['--audit-log', file, '--retry-for', '0'];
  return { proxy: await startProxy(t, { rootUrl, credentials, scopes, flags }), file };
}

test('a run passes again with the derived scopes, and fails without any one of them', async (t) => {
  const deployment = await deploymentFor(t);
  const { rootUrl } = deployment;
  const had = ['secrets:*', 'queue:status:*', 'queue:create-task:*', 'auth:*'];
  const { proxy, file } = await start(t, deployment, had);
  t.true(await passes(proxy));
  await until(() => readFileSync(file, 'utf8').split('\n').length > 7, 'the lines of the run');

  const list = await run(['--from', file, '--root-url', rootUrl]);
  t.is(list.stderr, '');
  const derived = list.stdout.split('\n').slice(0, -1);
  t.true(derived.includes('secrets:set:project/a'), list.stdout);
  t.false(derived.some((scope) => scope.endsWith('*')));
  const json = await run(['--from', file, '--form', 'json'], { TASKCLUSTER_ROOT_URL: rootUrl });
  t.deepEqual(JSON.parse(json.stdout), { scopes: derived });
  const diff = await run(['--from', file, '--root-url', rootUrl, '--form', 'diff']);
  t.regex(diff.stdout, /^- queue:create-task:\*$/m);
  t.regex(diff.stdout, /^> secrets:\*$/m);
  t.regex(diff.stdout, /^\+ secrets:set:project\/a$/m);

  t.true(await passes((await start(t, deployment, derived)).proxy));
  for (const scope of derived) {
    const fewer = derived.filter((other) => other !== scope);
    t.false(await passes((await start(t, deployment, fewer)).proxy), `without ${scope}`);
  }
});

test('an invalid file or deployment ends the command', async (t) => {
  const folder = freshDirectory(t);
  const file = path.join(folder, 'x');
  writeFileSync(file, '{"method":\n');
  const empty = path.join(folder, 'empty');
  writeFileSync(empty, '');
  for (const [args, says] of [
    [
      ['--from', path.join(folder, 'none'), '--root-url', ROOT],
      /there is no audit log .*none: name the file that taskcluster-proxy --audit-log/,
    ],
    [
      ['--from', file, '--root-url', ROOT],
      /x has no line of an audit log at its start: name a file/,
    ],
    [['--from', empty], /is not a root URL/],
    [['--from', '', '--root-url', ROOT], /It is empty/],
    [['--root-url', ROOT], /--from/],
  ] as const) {
    const { code, stderr } = await run([...args]);
    t.true(code > 0, args.join(' '));
    t.regex(stderr, says);
  }
});
