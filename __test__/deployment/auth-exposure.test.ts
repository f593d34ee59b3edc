// biome-ignore-all lint/suspicious/noThenProperty: scope expression templates have it
// Which endpoints a caller may use: a request without credentials passes only by the scopes of the role
// `anonymous`, endpoint by endpoint.
import test from 'ava';
import { type Passage, passage, sufficient } from '../../ts/deployment/api/passage.js';
import type { ScopeTemplate, ScopeTemplatePart } from '../../ts/deployment/api/scope-template.js';
import { publicScopes } from '../../ts/deployment/exposure.js';
import { services } from '../../ts/deployment/services.js';
import { authOf } from '../harness/auth.js';
import { onEveryBackend } from '../harness/backends.js';
import { authorization, deploymentFor, send } from '../harness/deployment.js';
import { definition, queueOf } from '../harness/queue.js';

const PASSAGES: [template: ScopeTemplatePart, held: string[], passes: Passage][] = [
  ['a', ['a'], 'always'],
  ['a', ['a*'], 'always'],
  ['a', ['ab'], 'never'],
  ['a', [], 'never'],
  ['a:<b>', ['a:*'], 'always'],
  ['a:<b>', ['*'], 'always'],
  ['a:<b>', ['a:x'], 'sometimes'],
  ['a:<b>', ['a:x*'], 'sometimes'],
  ['a:<b>', ['b:*'], 'never'],
  ['a:<b>:c', ['a:x:c'], 'sometimes'],
  ['a:<b>:c', ['a:x:d'], 'never'],
  ['a.<b>', ['axb'], 'never'],
  [{ AllOf: ['a', 'b'] }, ['a'], 'never'],
  [{ AllOf: ['a', 'b:<c>'] }, ['a', 'b:d'], 'sometimes'],
  [{ AllOf: ['a', 'b'] }, ['*'], 'always'],
  [{ AnyOf: ['a', 'b:<c>'] }, ['b:d'], 'sometimes'],
  [{ AnyOf: ['a', 'b'] }, ['b'], 'always'],
  [{ AnyOf: [] }, ['*'], 'never'],
  [{ AllOf: [{ for: 'x', in: 'xs', each: 'a:<x>' }] }, [], 'never'],
  [{ AllOf: [{ for: 'x', in: 'xs', each: 'a:<x>' }] }, ['a:*'], 'always'],
  [{ if: 'x', then: 'a' }, [], 'sometimes'],
  // An `if` that leaves nothing is no way to pass.
  [{ AnyOf: [{ if: 'x', then: 'a' }] }, ['a'], 'sometimes'],
  [{ AnyOf: [{ if: 'x', then: 'a' }] }, ['b'], 'never'],
  ['a*', ['a**'], 'never'],
  [{ if: 'x', then: 'a' }, ['a'], 'always'],
  [{ if: 'x', then: 'a', else: 'b' }, ['c'], 'never'],
];

test('scopes satisfy a template for all parameters, for some, or for none', (t) => {
  for (const [template, held, passes] of PASSAGES) {
    t.is(passage(template, held), passes, `${JSON.stringify(template)} for ${held}`);
  }
});

const SUFFICIENT: [template: ScopeTemplate, given: Record<string, string>, scopes: string[]][] = [
  ['a', {}, ['a']],
  ['a:*', {}, ['a:*']],
  ['a:<b>:<c>', {}, ['a:*']],
  ['a:<b>', { b: 'public/*' }, ['a:public/*']],
  ['a:<b>:<c>', { b: 'x' }, ['a:x:*']],
  [{ AllOf: ['a', { for: 'b', in: 'c', each: 'd:<b>' }] }, {}, ['a', 'd:*']],
  [{ AnyOf: ['a', 'b'] }, {}, ['a']],
  [{ AnyOf: [{ if: 'x', then: 'a' }, 'b'] }, {}, ['b']],
  ['a:<toString>', {}, ['a:*']],
  [{ if: 'x', then: 'a', else: 'b:<c>' }, {}, ['a', 'b:*']],
];

test('the sufficient scopes of a template satisfy it for all its parameters', (t) => {
  for (const [template, given, scopes] of SUFFICIENT) {
    t.deepEqual(sufficient(template, given), scopes);
    if (Object.keys(given).length === 0) {
      t.is(passage(template, scopes), 'always');
    }
  }
});

test('every caller may read what is not secret in a public deployment', (t) => {
  t.deepEqual(publicScopes(services()), [
    'auth:current-scopes',
    'auth:expand-scopes',
    'auth:get-client:*',
    'auth:get-role:*',
    'auth:list-clients',
    'auth:list-roles',
    'queue:get-artifact:public/*',
    'queue:get-provisioner:*',
    'queue:get-task:*',
    'queue:get-worker-type:*',
    'queue:get-worker:*',
    'queue:list-artifacts:*',
    'queue:list-dependent-tasks:*',
    'queue:list-provisioners',
    'queue:list-task-group:*',
    'queue:list-worker-types:*',
    'queue:list-workers:*',
    'queue:pending-count:*',
    'queue:status:*',
    'secrets:list-secrets',
  ]);
});

/** All that a caller without credentials may see: whether a service runs, and who the caller is. */
const OPEN = [
  'ping',
  'version',
  'lbheartbeat',
  'heartbeat',
  'authenticateHawk',
  'authenticateAnonymous',
  'testAuthenticate',
  'testAuthenticateGet',
];

interface Call {
  readonly what: string;
  readonly name: string;
  readonly isOpen: boolean;
  readonly method: string;
  readonly target: string;
}

/** A call of every endpoint, its parameters as given or else made up. */
function everyCall(params: Record<string, string>): Call[] {
  return services().flatMap(({ serviceName, apiVersion, endpoints }) =>
    endpoints.map(({ name, method, route, scopes }) => ({
      what: `${serviceName}.${name}`,
      name,
      isOpen: scopes === null,
      method: method.toUpperCase(),
      target:
        `/api/${serviceName}/${apiVersion}` +
        route.replace(/:(\w+)|\{\*(\w+)\}/g, (_, segment, rest) =>
          segment === undefined
            ? (params[rest] ?? 'x')
            : encodeURIComponent(params[segment] ?? 'x'),
        ),
    })),
  );
}

/** With an empty body, where there may be one. */
function bodyOf(method: string) {
  return method === 'GET' || method === 'DELETE'
    ? {}
    : { headers: { 'Content-Type': 'application/json' }, body: '{}' };
}

onEveryBackend(
  'a private deployment refuses a caller without credentials at each endpoint that needs scopes',
  async (t, place) => {
    const deployment = await deploymentFor(t, place);
    const taskId = 'fN1SbArXTPSVFNUvaOlinQ';
    await queueOf(deployment, deployment.credentials).createTask(taskId, definition());
    await authOf(deployment).createRole('present', { description: '', scopes: [] });
    const present = {
      taskId,
      taskGroupId: taskId,
      runId: '0',
      taskQueueId: 'demo/local',
      clientId: 'static/taskcluster/root',
      roleId: 'present',
    };
    const absent = { ...present, taskId: 'VgnEz2Q9QXqzAvGSkEHMEg', taskGroupId: 'x', roleId: 'y' };
    for (const { what, name, isOpen, method, target } of [
      ...everyCall(present),
      ...everyCall(absent),
    ]) {
      const answer = await send(deployment, { method, target, ...bodyOf(method) });
      if (isOpen) {
        t.true(OPEN.includes(name), what);
        continue;
      }
      t.is(answer.status, 403, `${what}: ${answer.text}`);
      t.deepEqual(Object.keys(answer.json), ['code', 'message', 'requestInfo'], what);
      t.is(answer.json.code, 'InsufficientScopes', what);
      t.regex(answer.json.message, /^This request requires Taskcluster credentials/, what);
    }
  },
);

onEveryBackend('a wrong signature does not fall back to anonymous scopes', async (t, place) => {
  const deployment = await deploymentFor(t, {
    ...place,
    roles: [{ roleId: 'anonymous', scopes: ['auth:*', 'queue:*', 'secrets:*'] }],
  });
  const wrong = { ...deployment.credentials, accessToken: 'wrong' };
  for (const { what, isOpen, method, target } of everyCall({})) {
    const Authorization = authorization(deployment, { client: wrong, method, target });
    const { headers, ...sent } = { headers: {}, ...bodyOf(method) };
    const answer = await send(deployment, {
      method,
      target,
      headers: { ...headers, Authorization },
      ...sent,
    });
    if (!isOpen) {
      t.is(answer.status, 401, `${what}: ${answer.text}`);
      t.is(answer.json.code, 'AuthenticationFailed', what);
    }
  }
});

onEveryBackend(
  'a public deployment answers exactly the calls that the role anonymous opens',
  async (t, place) => {
    const deployment = await deploymentFor(t, {
      ...place,
      roles: [{ roleId: 'anonymous', scopes: publicScopes(services()) }],
    });
    const endpoints = services().flatMap((service) => service.endpoints);
    for (const { what, name, isOpen, method, target } of everyCall({
      taskId: 'VgnEz2Q9QXqzAvGSkEHMEg',
      taskGroupId: 'VgnEz2Q9QXqzAvGSkEHMEg',
      runId: '0',
      name: 'public/x',
      taskQueueId: 'demo/local',
    })) {
      const answer = await send(deployment, { method, target, ...bodyOf(method) });
      const isGranted = endpoints.some(
        (each) => each.name === name && each.anonymous !== undefined,
      );
      if (!isOpen) {
        t.is(answer.json?.code === 'InsufficientScopes', !isGranted, `${what}: ${answer.text}`);
      }
    }
  },
);
