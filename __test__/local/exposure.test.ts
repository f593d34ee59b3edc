// `taskcluster-local exposure`, `can-i` and `anonymous-role`: which endpoints a caller may use, why,
// what a role would change, and what has changed.
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import { type Exposure, publicScopes } from '../../ts/deployment/exposure.js';
import type { Deployment } from '../../ts/deployment/index.js';
import type { Change } from '../../ts/deployment/review/changes.js';
import { services } from '../../ts/deployment/services.js';
import { authOf } from '../harness/auth.js';
import { deploymentFor } from '../harness/deployment.js';
import { freshDirectory } from '../harness/directory.js';
import { LOCAL } from '../harness/local.js';

/** Longer than any test takes. */
const HOUR_MS = 3_600_000;

async function run(args: string[], variables: Record<string, string> = {}) {
  const { PATH = '' } = process.env;
  const env = { PATH, ...variables };
  const execute = promisify(execFile);
  const { stdout, stderr, code } = await execute(process.execPath, [...LOCAL, ...args], { env })
    .then((printed) => ({ ...printed, code: 0 }))
    .catch((error: { stdout: string; stderr: string; code: number }) => error);
  return { stdout, stderr, code };
}

function asRoot({ rootUrl, credentials }: Deployment): Record<string, string> {
  return {
    TASKCLUSTER_ROOT_URL: rootUrl,
    TASKCLUSTER_CLIENT_ID: credentials.clientId,
    TASKCLUSTER_ACCESS_TOKEN: credentials.accessToken,
  };
}

function passes(stdout: string): Record<string, string> {
  const rows = JSON.parse(stdout) as Exposure[];
  return Object.fromEntries(rows.map((row) => [`${row.service}.${row.endpoint}`, row.passes]));
}

/** `<direction> <endpoint> <before> <after>` of each. */
function moves(stdout: string): string[] {
  return (JSON.parse(stdout) as Change[]).map(
    ({ direction, service, endpoint, before, after }) =>
      `${direction} ${service}.${endpoint} ${before} ${after}`,
  );
}

test('exposure lists what every caller, a client, or a holder of a role or of scopes may do', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [
      { roleId: 'anonymous', scopes: ['queue:get-task:*', 'secrets:get:x'] },
      { roleId: 'reader', scopes: ['secrets:list-secrets'] },
    ],
  });
  const { TASKCLUSTER_ROOT_URL: _, ...root } = asRoot(deployment);
  const place = { TASKCLUSTER_ROOT_URL: deployment.rootUrl };
  await authOf(deployment).createClient('a/reader', {
    expires: new Date(Date.now() + HOUR_MS),
    description: '',
    scopes: ['assume:reader'],
  });

  const anonymous = passes((await run(['exposure', '--json'], place)).stdout);
  t.like(anonymous, {
    'auth.ping': 'always',
    'queue.task': 'always',
    'queue.status': 'never',
    'secrets.get': 'sometimes',
    'secrets.list': 'never',
  });
  const declared = services().flatMap(({ endpoints }) => endpoints);
  t.is(Object.keys(anonymous).length, declared.length);
  const open = await run(['exposure', '--json', '--only', 'yes,some'], place);
  t.deepEqual(passes(open.stdout), {
    'queue.task': 'always',
    'queue.tasks': 'always',
    'secrets.get': 'sometimes',
  });

  for (const who of [
    ['--client-id', 'a/reader'],
    ['--role', 'reader'],
  ]) {
    const { stdout } = await run(['exposure', '--json', ...who], { ...place, ...root });
    t.like(passes(stdout), {
      'secrets.list': 'always',
      'queue.task': 'always',
      'queue.status': 'never',
    });
  }

  const args = ['exposure', '--root-url', deployment.rootUrl, '--scope', 'assume:reader'];
  const { stdout } = await run([...args, '--scope', 'queue:create-artifact:*'], root);
  t.regex(stdout, /^passes +endpoint +request +scopes\n/);
  t.regex(stdout, /\nyes +secrets\.list +GET \/api\/secrets\/v1\/secrets +secrets:list-secrets\n?/);
  t.regex(stdout, /\nyes +queue\.createArtifact +POST /);
  t.regex(stdout, /\nfor some +secrets\.get +GET \/api\/secrets\/v1\/secret\/<name> +secrets:get:/);
  t.regex(stdout, /\nno +secrets\.set +PUT /);
  t.regex(stdout, /\nfree +auth\.ping +GET .* \(none needed\)\n/);

  const refused = await run(['exposure', '--client-id', 'a/reader'], place);
  t.is(refused.code, 2);
  t.regex(refused.stderr, /^taskcluster-local: http:.*\/clients\/a%2Freader answers 403: This req/);
});

test('--why shows as a tree every way in which an endpoint is open', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [
      { roleId: 'anonymous', scopes: ['assume:reader:x', 'queue:get-task:a'] },
      { roleId: 'reader:*', scopes: ['secrets:get:<..>/*', 'assume:lists', 'queue:get-task:*'] },
      { roleId: 'lists', scopes: ['secrets:list-secrets'] },
    ],
  });
  const root = asRoot(deployment);
  const why = async (...args: string[]) => (await run(['exposure', '--why', ...args], root)).stdout;
  t.is(
    await why('secrets.list'),
    `secrets.list: yes
└─ secrets:list-secrets: yes
   └─ secrets:list-secrets
      └─ the role lists
         └─ assume:lists
            └─ the role reader:*
               └─ assume:reader:x
                  └─ the role anonymous
                     └─ assume:anonymous
                        └─ which every caller has
`,
  );
  const task = await why('queue.task');
  t.regex(task, /^queue\.task: yes\n/);
  t.regex(task, /─ queue:get-task:a\n.*─ the role anonymous\n/);
  t.regex(task, /─ queue:get-task:\*\n.*─ the role reader:\*\n/);
  t.regex(await why('secrets.get'), /^secrets\.get: for some\n[\s\S]*─ secrets:get:x\/\*\n/);
  t.regex(
    await why('secrets.set'),
    /^secrets\.set: no\n.*\n.*nothing that an anonymous caller holds grants/,
  );
  t.regex(
    await why('secrets.set', '--scope', 'secrets:set:*'),
    /granted to the scopes secrets:set:/,
  );
  t.regex(await why('secrets.set', '--what-if', 'lists=secrets:set:*'), /^secrets\.set: yes\n/);
  const lost = await run(['exposure', '--why', 'secrets.lst'], root);
  t.is(lost.code, 2);
  t.is(lost.stderr, 'taskcluster-local: there is no endpoint secrets.lst: write secrets.list\n');
  const several = await run(['exposure', '--why', 'ping'], root);
  t.regex(several.stderr, /several services have ping: write auth\.ping or queue\.ping/);
});

test('exposure shows what a role would change, and how two states differ', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [{ roleId: 'anonymous', scopes: ['queue:get-task:a/*', 'secrets:list-secrets'] }],
  });
  const root = asRoot(deployment);
  const place = freshDirectory(t);
  const before = path.join(place, 'before.json');
  writeFileSync(before, (await run(['exposure', '--json'], root)).stdout);

  const wanted = 'anonymous=queue:get-task:*,auth:list-clients';
  const expected = [
    'opens auth.listClients never always',
    'opens queue.task sometimes always',
    'opens queue.tasks sometimes always',
    'closes secrets.list always never',
  ];
  const whatIf = await run(['exposure', '--what-if', wanted, '--json'], root);
  t.deepEqual(moves(whatIf.stdout), expected);
  const closed = await run(['exposure', '--what-if', 'anonymous=[]'], root);
  t.regex(
    closed.stdout,
    /^change +endpoint +before +after +by\ncloses +queue\.task +for some +no +/,
  );
  const made = await run(['exposure', '--what-if', 'other=x', '--role', 'other'], root);
  t.deepEqual(made, {
    code: 0,
    stdout: 'nothing changes\n',
    stderr: 'taskcluster-local: there is no role other yet: it would be made\n',
  });
  t.deepEqual(
    moves((await run(['exposure', '--json', '--diff', before, 'now'], root)).stdout),
    [],
    'nothing has been written',
  );

  const scopes = ['queue:get-task:*', 'auth:list-clients'];
  await authOf(deployment).updateRole('anonymous', { description: '', scopes });
  const after = await run(['exposure', '--json', '--diff', before, 'now'], root);
  t.deepEqual(moves(after.stdout), expected);
  const back = await run(['exposure', '--json', '--diff', 'now', before], root);
  t.deepEqual(
    moves(back.stdout).map((move) => move.split(' ')[0]),
    ['closes', 'closes', 'closes', 'opens'],
  );

  const other = await deploymentFor(t);
  const two = await run(['exposure', '--json', '--diff', 'now', other.rootUrl], root);
  t.deepEqual(moves(two.stdout), [
    'closes auth.listClients always never',
    'closes queue.task always never',
    'closes queue.tasks always never',
  ]);
  const publicly = await run(['exposure', '--json', '--diff', 'anonymous-role', before], root);
  t.true(moves(publicly.stdout).includes('closes queue.status always never'));
  t.true(moves(publicly.stdout).includes('closes queue.task always sometimes'));
});

test('exposure shows a change of scopes at an endpoint that stays open for some', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [{ roleId: 'anonymous', scopes: ['secrets:get:a'] }],
  });
  const ask = (wanted: string) =>
    run(['exposure', '--json', '--what-if', wanted], asRoot(deployment));
  t.deepEqual(moves((await ask('anonymous=secrets:get:a,secrets:get:prod/*')).stdout), [
    'opens secrets.get sometimes sometimes',
  ]);
  t.deepEqual(moves((await ask('anonymous=secrets:get:b')).stdout), [
    'changes secrets.get sometimes sometimes',
  ]);
});

test('exposure --fail-on-new ends with 1 if more is open than the baseline accepts', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [{ roleId: 'anonymous', scopes: ['queue:pending-list:*', 'secrets:get:a'] }],
  });
  const root = asRoot(deployment);
  const file = path.join(freshDirectory(t), 'baseline.json');
  const gate = (...args: string[]) => run(['exposure', '--fail-on-new', file, ...args], root);
  const note = 'agreed on Monday';
  const { stdout } = await run(['exposure', '--as-baseline', note], root);
  const baseline = JSON.parse(stdout);
  const by = ['queue:pending-list:*'];
  t.deepEqual(baseline, {
    of: 'an anonymous caller',
    accepted: [
      { endpoint: 'queue.listPendingTasks', passes: 'always', by, note },
      { endpoint: 'secrets.get', passes: 'sometimes', by: ['secrets:get:a'], note },
    ],
  });
  writeFileSync(file, stdout);
  t.deepEqual(await gate(), {
    code: 0,
    stdout: 'nothing is open to an anonymous caller but what is accepted\n',
    stderr: '',
  });

  const beforehand = await gate('--what-if', 'anonymous=queue:pending-list:*,secrets:get:b');
  t.is(beforehand.code, 1, 'before the role is written');
  t.regex(beforehand.stdout, /\nfor some +secrets\.get /);
  const auth = authOf(deployment);
  const scopes = ['queue:pending-list:*', 'secrets:list-secrets'];
  await auth.updateRole('anonymous', { description: '', scopes });
  const found = await gate();
  t.is(found.code, 1);
  t.regex(found.stdout, /^passes .*\nyes +secrets\.list [^\n]*\n$/);
  t.regex(found.stderr, /secrets\.get is accepted and not open any more: take it out/);

  writeFileSync(file, stdout.replace('listPendingTasks', 'listPendingTask'));
  const misspelt = await gate();
  t.is(misspelt.code, 2);
  t.regex(
    misspelt.stderr,
    /no endpoint queue\.listPendingTask: .* or write queue\.listPendingTasks/,
  );
});

test('can-i ends with 0 if a call passes, with 1 if it does not, and with 2 if that cannot be judged', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [{ roleId: 'anonymous', scopes: ['queue:pending-count:demo/*'] }],
  });
  const root = asRoot(deployment);
  const expires = new Date(Date.now() + HOUR_MS);
  const auth = authOf(deployment);
  await auth.createClient('a/reader', { expires, description: '', scopes: ['secrets:get:a'] });
  const canI = (call: string, ...more: string[]) =>
    run(['can-i', ...call.split(' '), ...more], root);
  const path = '/api/queue/v1/pending';
  for (const [call, code, said] of [
    ['a/reader GET /api/secrets/v1/secret/a', 0, 'yes: secrets.get needs secrets:get:a\n'],
    ['a/reader GET /api/secrets/v1/secret/b', 1, 'no: secrets.get needs secrets:get:b\n'],
    [`anonymous GET ${path}/x/y`, 1, 'no: queue.pendingTasks needs queue:pending-count:x/y\n'],
    ['-q --role anonymous GET /api/queue/v1/pending/demo/x', 0, ''],
  ] as const) {
    t.deepEqual(await canI(call), { code, stdout: said, stderr: '' }, call);
  }
  await auth.disableClient('a/reader');
  const disabled = await canI(`a/reader GET ${path}/demo/x`);
  t.deepEqual([disabled.code, disabled.stdout], [1, 'no: a/reader is disabled\n']);
  for (const [call, sentence] of [
    ['anonymous GET', /is not one call: write CLIENT METHOD PATH/],
    ['a/missing GET /api/auth/v1/ping', /answers 404: Client not found/],
    [' GET /api/auth/v1/ping', /a part of the call is empty/],
  ] as const) {
    const { stderr, code } = await canI(call);
    t.regex(stderr, sentence);
    t.is(code, 2, call);
  }
});

test('exposure ends with a sentence of advice if an option or its value is mistaken', async (t) => {
  const { rootUrl } = await deploymentFor(t);
  for (const [args, sentence] of [
    [['--only', ''], /'--only <answers>'.* It is empty/],
    [['--only', 'yes,sme'], /'sme' is none of yes, some, no, free: write some/],
    [['--client-id', ''], /'--client-id <id>'.* It is empty/],
    [['--client-id', '--json'], /It is an option itself: a value has been left out/],
    [['--scope', ''], /'--scope <scope>'/],
    [['--what-if', 'anonymous='], /gives no scope.*for a role without any 'anonymous=\[\]'/],
    [['--fail-on-nwe', 'x'], /Did you mean --fail-on-new\?/],
    [['--fail-on-new', 'x', '--only', 'yes'], /cannot be used with option '--only/],
  ] as const) {
    const { code, stderr, stdout } = await run(['exposure', ...args], {
      TASKCLUSTER_ROOT_URL: rootUrl,
    });
    t.deepEqual([code, stdout], [64, ''], args.join(' '));
    t.regex(stderr, sentence, args.join(' '));
  }
  for (const [args, sentence] of [
    [['--diff', 'now', 'anonymos-role'], /cannot read anonymos-role .*, or write anonymous-role/],
    [['--diff', 'now'], /compares two states, and 1 are given/],
    [['--diff', 'anonymous-role', 'anonymous-role'], /cannot be compared with itself/],
    [['--role', 'a', '--scope', 'b'], /give --client-id, --role or --scope/],
  ] as const) {
    const { code, stderr } = await run(['exposure', ...args], { TASKCLUSTER_ROOT_URL: rootUrl });
    t.is(code, 2, args.join(' '));
    t.regex(stderr, sentence, args.join(' '));
  }
});

/** A deployment with the references of Taskcluster's own services, and the auth service of a local one. */
async function ownServicesOf(t: ExecutionContext, { rootUrl }: Deployment): Promise<string> {
  const services = new Map<string, object>();
  for (const [name, made] of Object.entries(taskcluster as Record<string, unknown>)) {
    const { prototype } = made as { prototype?: object };
    const methods = Object.getOwnPropertyNames(prototype ?? {})
      .map((method) => Reflect.get(prototype ?? {}, method)?.entryReference)
      .filter((entry) => entry?.type === 'function');
    if (methods.length > 0) {
      const serviceName = name.replace(/(?<!^)[A-Z]/g, (letter) => `-${letter}`).toLowerCase();
      services.set(serviceName, { serviceName, apiVersion: 'v1', entries: methods });
    }
  }
  const server = createServer(async (request, response) => {
    const [, kind, service = ''] = request.url?.split('/') ?? [];
    if (kind === 'references') {
      const references = [...services.keys()].map((name) => `/references/${name}/v1/api.json`);
      response.end(JSON.stringify(services.get(service) ?? { references }));
      return;
    }
    const body = await new Response(request as never).text();
    const headers = { 'content-type': 'application/json' };
    const init = request.method === 'POST' ? { method: 'POST', headers, body } : {};
    const answer = await fetch(`${rootUrl}${request.url}`, init);
    response.writeHead(answer.status).end(await answer.text());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("exposure and can-i judge Taskcluster's own services by their references", async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [{ roleId: 'anonymous', scopes: ['index:find-task:gecko.*', 'auth:list-roles'] }],
  });
  const place = { TASKCLUSTER_ROOT_URL: await ownServicesOf(t, deployment) };
  const rows = JSON.parse((await run(['exposure', '--json'], place)).stdout) as Exposure[];
  t.true(rows.length >= 180, String(rows.length));
  t.like(passes(JSON.stringify(rows)), {
    'index.findTask': 'sometimes',
    'hooks.triggerHook': 'never',
    'worker-manager.createWorkerPool': 'never',
  });
  const { stdout } = await run(['exposure', '--why', 'index.findTask'], place);
  t.regex(stdout, /─ index:find-task:gecko\.\*\n.*─ the role anonymous\n/);
  const call = ['can-i', 'anonymous', 'GET', '/api/index/v1/task/gecko.v2.try'];
  t.is((await run(call, place)).code, 0);
});

test('exposure ends with one sentence if it has no answer', async (t) => {
  t.deepEqual(await run(['exposure']), {
    code: 2,
    stdout: '',
    stderr:
      "taskcluster-local: '' is not a root URL: set TASKCLUSTER_ROOT_URL or pass --root-url\n",
  });
  const nowhere = await run(['exposure', '--root-url', 'http://127.0.0.1:1']);
  t.is(nowhere.code, 2);
  t.regex(
    nowhere.stderr,
    /^taskcluster-local: cannot reach http:\/\/127\.0\.0\.1:1\/references\/.*\n$/,
  );
});

test('--audit-log lists the scopes that no call has needed, and says what the logs do not show', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [{ roleId: 'reader', scopes: ['secrets:get:*', 'queue:status:*'] }],
  });
  const root = asRoot(deployment);
  const file = path.join(freshDirectory(t), 'audit.jsonl');
  const upstream = `${deployment.rootUrl}/api/secrets/v1/secret/a`;
  const made = { method: 'GET', upstream, verdict: 'forwarded', status: 200, tries: 1 };
  writeFileSync(file, `${JSON.stringify({ time: new Date().toISOString(), ...made })}\n`);
  const asked = ['exposure', '--audit-log', file, '--role', 'reader'];
  const { stdout, stderr, code } = await run(asked, root);
  t.is(code, 0);
  t.is(
    stdout,
    `No call of the last 30 days has needed 1 of 2 scopes.
scope           granted by       needed by
queue:status:*  the role reader  no call
`,
  );
  t.regex(stderr, /^taskcluster-local: The logs have 1 call to this deployment in these days\.\n/);
  const json = JSON.parse((await run([...asked, '--days', '1', '--json'], root)).stdout);
  t.like(json, { days: 1, unused: [{ scope: 'queue:status:*', from: ['the role reader'] }] });
  for (const [more, status, sentence] of [
    [['--days', '0'], 64, /'0' is not a number of days/],
    [['--only', 'yes'], 2, /--audit-log and --only ask for two things: leave one out/],
    [['--audit-log', `${file}.none`], 2, /there is no audit log .*none: name the file/],
    [['--audit-log', ''], 64, /It is empty/],
  ] as const) {
    const refused = await run([...asked, ...more], root);
    t.is(refused.code, status, more.join(' '));
    t.regex(refused.stderr, sentence);
  }
  t.regex((await run(['exposure', '--days', '3'], root)).stderr, /name them with --audit-log/);
});

test('anonymous-role prints the scopes that a public deployment grants', async (t) => {
  const scopes = publicScopes(services());
  t.is((await run(['anonymous-role'])).stdout, `${scopes.join('\n')}\n`);
  t.like(JSON.parse((await run(['anonymous-role', '--json'])).stdout), { scopes });
});
