// `taskcluster-local scopes`: the fewest scopes with which a recorded run passes again.
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { type ApiReference, apiReference } from '../../ts/deployment/api/reference.js';
import type { Deployment } from '../../ts/deployment/index.js';
import { type AuditLine, leastScopes } from '../../ts/deployment/review/least-scopes.js';
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
  return { method: 'GET', upstream, verdict: 'forwarded', status: 200, tries: 1, ...more };
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
  const unsent: AuditLine = { method: 'GET', verdict: 'refused', status: 404 };
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

// === Held against a deployment ===

const EXPIRES = '2100-01-01T00:00:00.000Z';
const TASK = 'fN1SbArXTPSVFNUvaOlinQ';

test('what a call needs of the task that it makes or changes, the deployment tells', async (t) => {
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
  await until(() => readFileSync(file, 'utf8').split('\n').length > 3, 'the lines of the run');

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
  t.regex(list.stderr, new RegExp(`^not known: POST \\S+/task/${missing}/rerun: queue.rerunTask `));
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
    await proxy.get('/auth/v1/clients/nobody'),
  ];
  return answers.every(({ status }) => status !== 403);
}

async function start(t: ExecutionContext, deployment: Deployment, scopes: string[]) {
  const { rootUrl, credentials } = deployment;
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const flags = ['--audit-log', file, '--retry-for', '0'];
  return { proxy: await startProxy(t, { rootUrl, credentials, scopes, flags }), file };
}

test('with the derived scopes the same run passes, with any one less it does not', async (t) => {
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

test('a file or a deployment that is none ends the command', async (t) => {
  const folder = freshDirectory(t);
  const file = path.join(folder, 'x');
  writeFileSync(file, '{"method":\n');
  const empty = path.join(folder, 'empty');
  writeFileSync(empty, '');
  for (const [args, says] of [
    [['--from', path.join(folder, 'none'), '--root-url', ROOT], /cannot read .*none: /],
    [['--from', file, '--root-url', ROOT], /line 1 of .* is no JSON: pass an audit log/],
    [['--from', empty], /is not a root URL/],
    [['--from', '', '--root-url', ROOT], /It is empty/],
    [['--root-url', ROOT], /--from/],
  ] as const) {
    const { code, stderr } = await run([...args]);
    t.true(code > 0, args.join(' '));
    t.regex(stderr, says);
  }
});
