// `taskcluster-local exposure` and `anonymous-role`: what a deployment lets whom do.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { type Exposure, publicScopes } from '../ts/deployment/exposure.js';
import { SERVICES } from '../ts/deployment/services.js';
import { authOf } from './harness/auth.js';
import { deploymentFor } from './harness/deployment.js';

const COMMAND = path.resolve(import.meta.dirname, '../dist/cli/taskcluster-local.js');

async function run(args: string[], variables: Record<string, string> = {}) {
  const { PATH = '' } = process.env;
  const env = { PATH, ...variables };
  const execute = promisify(execFile);
  const { stdout, stderr, code } = await execute(process.execPath, [COMMAND, ...args], { env })
    .then((printed) => ({ ...printed, code: 0 }))
    .catch((error: { stdout: string; stderr: string; code: number }) => error);
  return { stdout, stderr, code };
}

function passes(stdout: string): Record<string, string> {
  const rows = JSON.parse(stdout) as Exposure[];
  return Object.fromEntries(rows.map((row) => [`${row.service}.${row.endpoint}`, row.passes]));
}

test('what everybody, a client, or whoever has some scopes may do', async (t) => {
  const deployment = await deploymentFor(t, {
    roles: [
      { roleId: 'anonymous', scopes: ['queue:get-task:*', 'secrets:get:x'] },
      { roleId: 'reader', scopes: ['secrets:list-secrets'] },
    ],
  });
  const { clientId, accessToken } = deployment.credentials;
  const root = { TASKCLUSTER_CLIENT_ID: clientId, TASKCLUSTER_ACCESS_TOKEN: accessToken };
  const place = { TASKCLUSTER_ROOT_URL: deployment.rootUrl };
  await authOf(deployment).createClient('a/reader', {
    expires: new Date(Date.now() + 60_000),
    description: '',
    scopes: ['assume:reader'],
  });

  const everybody = passes((await run(['exposure', '--json'], place)).stdout);
  t.like(everybody, {
    'auth.ping': 'always',
    'queue.task': 'always',
    'queue.status': 'never',
    'secrets.get': 'sometimes',
    'secrets.list': 'never',
  });
  const declared = SERVICES.flatMap(({ endpoints }) => endpoints);
  t.is(Object.keys(everybody).length, declared.length);

  const client = await run(['exposure', '--json', '--client-id', 'a/reader'], {
    ...place,
    ...root,
  });
  t.like(passes(client.stdout), {
    'secrets.list': 'always',
    'queue.task': 'always',
    'queue.status': 'never',
  });

  const args = ['exposure', '--root-url', deployment.rootUrl, '--scope', 'assume:reader'];
  const { stdout } = await run([...args, '--scope', 'queue:create-artifact:*'], root);
  t.regex(stdout, /^passes +endpoint +request +scopes\n/);
  t.regex(stdout, /\nyes +secrets\.list +GET \/api\/secrets\/v1\/secrets +secrets:list-secrets\n?/);
  t.regex(stdout, /\nyes +queue\.createArtifact +POST /);
  t.regex(stdout, /\nfor some +secrets\.get +GET \/api\/secrets\/v1\/secret\/<name> +secrets:get:/);
  t.regex(stdout, /\nno +secrets\.set +PUT /);

  const refused = await run(['exposure', '--client-id', 'a/reader'], place);
  t.is(refused.code, 1);
  t.regex(refused.stderr, /^taskcluster-local: http:.*\/clients\/a%2Freader answers 403: This req/);
});

test('what keeps it from telling is said in one sentence', async (t) => {
  t.deepEqual(await run(['exposure']), {
    code: 1,
    stdout: '',
    stderr:
      "taskcluster-local: '' is not a root URL: set TASKCLUSTER_ROOT_URL or pass --root-url\n",
  });
  const nowhere = await run(['exposure', '--root-url', 'http://127.0.0.1:1']);
  t.is(nowhere.code, 1);
  t.regex(nowhere.stderr, /^taskcluster-local: cannot reach http:\/\/127\.0\.0\.1:1\/api\/.*\n$/);
});

test('the role anonymous of a public deployment', async (t) => {
  const scopes = publicScopes(SERVICES);
  t.is((await run(['anonymous-role'])).stdout, `${scopes.join('\n')}\n`);
  t.like(JSON.parse((await run(['anonymous-role', '--json'])).stdout), { scopes });
});
