// biome-ignore-all lint/suspicious/noThenProperty: scope expression templates have it
// The API of all services of the local deployment: declarations of endpoints, the scopes that satisfy them,
// and the errors of bad requests.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import express, { type Express } from 'express';
import { ApiBuilder, DeclarationError } from '../../ts/deployment/api/builder.js';
import { apiReference, openApi } from '../../ts/deployment/api/reference.js';
import { serve } from '../../ts/deployment/api/router.js';
import { outputError } from '../../ts/deployment/api/schema.js';
import {
  needsOnly,
  parameterKinds,
  render,
  type ScopeTemplate,
} from '../../ts/deployment/api/scope-template.js';
import { auth } from '../../ts/deployment/auth/index.js';
import { queue } from '../../ts/deployment/queue/index.js';
import {
  extended,
  granting,
  grants,
  intersection,
  isScope,
  missing,
  type ScopeExpression,
  satisfies,
  union,
} from '../../ts/deployment/scopes.js';
import { secrets } from '../../ts/deployment/secrets/index.js';
import { Connection } from '../harness/connection.js';
import { authorization, deploymentFor, type Sent, send } from '../harness/deployment.js';

const endpoint = { name: 'x', method: 'get', route: '/x', title: 'X', scopes: null } as const;
const builder = () => new ApiBuilder<undefined>({ serviceName: 'test', apiVersion: 'v1' });

test('an endpoint without a scope expression cannot be declared, unless it says null', (t) => {
  const { scopes: _, ...silent } = endpoint;
  const error = t.throws(() => builder().declare(silent as never, () => ({})), {
    instanceOf: DeclarationError,
  });
  t.is(error.message, 'endpoint x has no scope expression: write one, or scopes: null');
  t.notThrows(() => builder().declare(endpoint, () => ({})));
});

test('an endpoint cannot be declared twice, nor a GET with a body', (t) => {
  const api = builder();
  api.declare(endpoint, () => ({}));
  for (const again of [
    { ...endpoint, route: '/y' },
    { ...endpoint, name: 'y' },
    { ...endpoint, name: 'y', route: '/y', input: { $id: '/schemas/x.json#' } },
  ]) {
    t.throws(() => api.declare(again, () => ({})), { instanceOf: DeclarationError });
  }
});

const TEMPLATE_ERRORS: [template: unknown, message: string][] = [
  ['', 'a scope cannot be empty: write one'],
  [{ AllOf: [] }, '{"AllOf":[]} is empty, so it needs no scope or never passes: write its scopes'],
  [
    { AllOf: ['a', { AnyOf: [] }] },
    '{"AnyOf":[]} is empty, so it needs no scope or never passes: write its scopes',
  ],
  [{ for: 'a', in: 'b', each: '<a>' }, 'a scope expression cannot be a loop: put it into an AllOf'],
  [
    { AllOf: ['a'], AnyOf: ['b'] },
    '{"AllOf":["a"],"AnyOf":["b"]} is no scope expression: write text, AllOf, AnyOf, for/in/each or if/then/else',
  ],
  [
    { AllOf: 'a' },
    '{"AllOf":"a"} is no scope expression: write text, AllOf, AnyOf, for/in/each or if/then/else',
  ],
  [
    { AnyOf: [null] },
    'null is no scope expression: write text, AllOf, AnyOf, for/in/each or if/then/else',
  ],
  [{ AllOf: [{ for: 'a', in: ['b'], each: 'c' }] }, '["b"] is no name for a scope parameter'],
  [
    { AllOf: [{ if: 'a' }] },
    '{"if":"a"} is no scope expression: write text, AllOf, AnyOf, for/in/each or if/then/else',
  ],
  [
    { AllOf: [{ for: 'a', in: 'b', each: { AllOf: [] } }] },
    'the each of a loop over b must be text',
  ],
  [{ if: '1st', then: 'a' }, "'1st' is no name for a scope parameter"],
  [
    { AllOf: ['a:<b>', { if: 'b', then: 'c' }] },
    'scope parameter b cannot be both text and boolean',
  ],
  [
    { if: 'a', then: { for: 'b', in: 'c', each: '<b>' } },
    'a scope expression cannot be a loop: put it into an AllOf',
  ],
];

test('an endpoint with a malformed scope expression cannot be declared', (t) => {
  for (const [scopes, message] of TEMPLATE_ERRORS) {
    t.throws(() => builder().declare({ ...endpoint, scopes } as never, () => ({})), {
      instanceOf: DeclarationError,
      message: `endpoint x: ${message}`,
    });
  }
});

test('only the endpoints for monitoring, authentication and its tests need no scopes', (t) => {
  const open = [auth, queue, secrets].map((api) =>
    api.endpoints.filter(({ scopes }) => scopes === null).map(({ name }) => name),
  );
  const monitoring = ['ping', 'version', 'lbheartbeat', 'heartbeat'];
  const authenticate = ['authenticateHawk', 'authenticateAnonymous'];
  const tests = ['testAuthenticate', 'testAuthenticateGet'];
  t.deepEqual(open, [[...monitoring, ...authenticate, ...tests], monitoring, monitoring]);
});

const SATISFACTION: [held: string[], wanted: ScopeExpression, left: ScopeExpression | null][] = [
  [['a'], 'a', null],
  [['a'], 'ab', 'ab'],
  [['a*'], 'ab', null],
  [['a*'], 'a', null],
  [['a*'], 'a*', null],
  [['a'], 'a*', 'a*'],
  [['*'], '', null],
  [[], '', ''],
  [['a*b'], 'axb', 'axb'],
  [['a*'], 'a**', null],
  // `a*` grants more than `a**` does.
  [['a**'], 'a*', 'a*'],
  [['a'], { AllOf: ['a', 'b'] }, 'b'],
  [['a'], { AllOf: ['b', 'c'] }, { AllOf: ['b', 'c'] }],
  [[], { AllOf: [] }, null],
  [[], { AnyOf: [] }, { AnyOf: [] }],
  [['a'], { AnyOf: ['a', 'b'] }, null],
  [['c'], { AnyOf: ['a', 'b'] }, { AnyOf: ['a', 'b'] }],
  [['a'], { AllOf: ['a', { AnyOf: ['b', { AllOf: ['a', 'c'] }] }] }, { AnyOf: ['b', 'c'] }],
];

test('the missing part of a scope expression is what the held scopes do not satisfy', (t) => {
  for (const [held, wanted, left] of SATISFACTION) {
    const what = `${JSON.stringify(held)} for ${JSON.stringify(wanted)}`;
    t.deepEqual(missing(held, wanted), left, what);
    t.is(satisfies(held, wanted), left === null, what);
  }
});

test('a set that is asked for many scopes grants those that one of its scopes grants', (t) => {
  const letters = ['', 'a', 'b', '*'];
  const scopes = letters.flatMap((x) => letters.flatMap((y) => letters.map((z) => x + y + z)));
  const wanted = [...new Set(scopes), 'a\u0000', 'b\u00ff', '\u0000'];
  const wrong: object[] = [];
  for (let each = 1; each < 500; each += 1) {
    const held = wanted.filter((scope, at) => isScope(scope) && (each * (at + 7) ** 2) % 11 === 0);
    const isGranted = granting(held);
    for (const scope of [...wanted, ...wanted]) {
      if (isGranted(scope) !== held.some((other) => grants(other, scope))) {
        wrong.push({ held, scope });
      }
    }
  }
  t.deepEqual(wrong, []);
});

test('a set of scopes has one normal form', (t) => {
  t.deepEqual(union(['b', 'a'], ['a*', 'ab', 'b']), ['a*', 'b']);
  t.deepEqual(union(['a', 'a:b', 'ab*', 'abc']), ['a', 'a:b', 'ab*']);
  t.deepEqual(union(['x'], ['*']), ['*']);
  t.deepEqual(union(), []);
});

test('the intersection of scopes is what both grant', (t) => {
  const CASES: [a: string[], b: string[], both: string[]][] = [
    [[], ['*'], []],
    [['*'], ['b', 'a*'], ['a*', 'b']],
    [
      ['a:*', 'b'],
      ['a:b', 'a:c*', 'c'],
      ['a:b', 'a:c*'],
    ],
    [['ab*'], ['a*b'], []],
    [['a'], ['a'], ['a']],
  ];
  for (const [a, b, both] of CASES) {
    t.deepEqual(intersection(a, b), both);
    t.deepEqual(intersection(b, a), both);
  }
});

test('adding a short set of scopes to a long one gives their union', (t) => {
  const long = union(['a', 'a:b', 'ab*', 'b', 'c:d', 'c:e', 'd*']);
  for (const short of [
    [],
    ['a'],
    ['abc', 'd:e'],
    ['c:*'],
    ['a*', 'e'],
    ['*'],
    [' ', 'c', 'c:dd'],
  ]) {
    t.deepEqual(extended(long, short), union(long, short), short.join());
  }
  t.is(extended(long, ['a', 'abc', 'd*']), long, 'nothing is copied where nothing is added');
});

test('a template becomes a scope expression with the values of a request', (t) => {
  const template: ScopeTemplate = {
    AllOf: [
      'get:<name>',
      { for: 'each', in: 'all', each: 'use:<each>:<name>' },
      { if: 'private', then: 'see', else: { AnyOf: ['look'] } },
      { if: 'loud', then: 'shout' },
    ],
  };
  const given = { name: 'n', all: ['p', 'q'], private: true, loud: false };
  t.deepEqual(render(template, given), { AllOf: ['get:n', 'use:p:n', 'use:q:n', 'see'] });
  t.deepEqual(render({ if: 'loud', then: 'x' }, given), null);
  for (const [key, value] of Object.entries({ name: true, all: 'p', private: 'yes' })) {
    t.throws(() => render(template, { ...given, [key]: value }), { name: 'ScopeTemplateError' });
  }
  t.true(needsOnly('a:<x>/<y>', new Set(['x', 'y'])));
  t.false(needsOnly('a:<x>/<y>', new Set(['x'])));
  t.false(needsOnly(template, new Set(['name', 'all', 'private', 'loud'])));
  t.deepEqual(
    [...parameterKinds(template)],
    [
      ['name', 'text'],
      ['all', 'list'],
      ['private', 'boolean'],
      ['loud', 'boolean'],
    ],
  );
});

const json = { 'Content-Type': 'application/json' };
const SECRET = '/api/secrets/v1/secret/a';
const put = (body: string): Sent => ({ method: 'PUT', target: SECRET, headers: json, body });

const BAD: Record<string, [Sent, number, string, RegExp]> = {
  'no JSON': [put('{'), 400, 'MalformedPayload', /^Failed to parse JSON: /],
  'JSON that is no object': [put('1'), 400, 'MalformedPayload', /Must be an object or array/],
  'another type of body': [
    { ...put('{}'), headers: { 'Content-Type': 'text/plain' } },
    400,
    'MalformedPayload',
    /got content-type: text\/plain/,
  ],
  'a body of more than 10 MiB': [
    put(`{"secret": {"a": "${'x'.repeat(10 * 2 ** 20)}"}}`),
    413,
    'InputTooLarge',
    /larger than 10 MiB/,
  ],
  'a body that is nested too deeply': [
    put(`{"secret": {"a": ${'['.repeat(20_000)}${']'.repeat(20_000)}}}`),
    400,
    'MalformedPayload',
    /nested deeper than 200 levels/,
  ],
  'a name that no database can hold': [
    { target: `${SECRET}%00` },
    400,
    'InvalidRequestArguments',
    /must match regular expression/,
  ],
  'a name in other letters': [
    { target: `${SECRET}%E2%9C%93` },
    404,
    'ResourceNotFound',
    /^Secret not found/,
  ],
  'a body against the schema': [
    put('{"secret": 1, "expires": "soon", "x": 1}'),
    400,
    'InputValidationError',
    /Schema Validation Failed![\s\S]*data\/secret must be object[\s\S]*must match format "date-time"/,
  ],
  'a malformed route parameter': [
    { target: '/api/queue/v1/task/no-task-id' },
    400,
    'InvalidRequestArguments',
    /URL parameter 'taskId' given as 'no-task-id' must match regular expression/,
  ],
  'a query that is not supported': [
    { target: `${SECRET}?x=1` },
    400,
    'InvalidRequestArguments',
    /^Query-string parameter: x is not supported!/,
  ],
  'a malformed percent-encoding': [
    { target: '/api/secrets/v1/secret/%E0%A4%A' },
    400,
    'InvalidRequestArguments',
    /./,
  ],
  'a secret that does not exist': [
    { target: SECRET },
    404,
    'ResourceNotFound',
    /^Secret not found/,
  ],
};

async function ask(t: ExecutionContext, sent: Sent) {
  const deployment = await deploymentFor(t);
  const { target, method = 'GET' } = sent;
  const client = deployment.credentials;
  const Authorization = authorization(deployment, { client, target, method });
  return send(deployment, { ...sent, headers: { ...sent.headers, Authorization } });
}

for (const [what, [sent, status, code, message]] of Object.entries(BAD)) {
  test(`an error has Taskcluster's shape: ${what}`, async (t) => {
    const answer = await ask(t, sent);
    t.is(answer.status, status, answer.text);
    t.deepEqual(Object.keys(answer.json), ['code', 'message', 'requestInfo']);
    t.is(answer.json.code, code);
    t.regex(answer.json.message, message);
    t.regex(answer.json.message, new RegExp(`errorCode: {2}${code}\n\\* statusCode: ${status}\n`));
    t.deepEqual(Object.keys(answer.json.requestInfo), ['method', 'params', 'payload', 'time']);
    t.notRegex(answer.text, /\bat .*\.[jt]s:\d/, 'no stack');
  });
}

test('a body that is announced as far too long is refused before it comes', async (t) => {
  const deployment = await deploymentFor(t);
  const { host, hostname, port } = new URL(deployment.rootUrl);
  const client = deployment.credentials;
  const signed = `Authorization: ${authorization(deployment, { client, target: SECRET, method: 'PUT' })}\r\n`;
  for (const [line, fields] of [
    [`PUT ${SECRET}`, signed],
    ['POST /api/auth/v1/authenticate-hawk', ''],
    ['POST /login/local', ''],
  ]) {
    const connection = await Connection.open(Number(port), hostname);
    t.teardown(() => connection.socket.destroy());
    const body = 'Content-Type: application/json\r\nContent-Length: 1000000000000\r\n';
    await connection.send(`${line} HTTP/1.1\r\nHost: ${host}\r\n${fields}${body}\r\n{`);
    const answer = await connection.response();
    t.is(answer.status, 413);
    t.is(JSON.parse(String(answer.body)).code, 'InputTooLarge');
  }
});

test("a malformed HTTP request is answered with an error of Taskcluster's shape", async (t) => {
  const deployment = await deploymentFor(t);
  const { host, hostname, port } = new URL(deployment.rootUrl);
  const ping = `GET /api/auth/v1/ping HTTP/1.1\r\nHost: ${host}\r\n`;
  const long = 'x'.repeat(20_000);
  for (const [sent, status, code] of [
    ['nonsense\r\n\r\n', 400, 'InvalidRequestArguments'],
    [`${ping}Content-Length: x\r\n\r\n`, 400, 'InvalidRequestArguments'],
    [`${ping}X: ${long}\r\n\r\n`, 413, 'InputTooLarge'],
    [`PUT ${SECRET} HTTP/1.1\r\nHost: ${host}\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n`, 400],
  ] as const) {
    const connection = await Connection.open(Number(port), hostname);
    t.teardown(() => connection.socket.destroy());
    // Also after a good request on the same connection.
    t.is((await connection.exchange(`${ping}\r\n`)).status, 200);
    await connection.send(sent);
    const answer = await connection.response();
    const body = JSON.parse(String(answer.body));
    t.deepEqual([answer.status, body.code], [status, code ?? 'InvalidRequestArguments']);
    t.deepEqual(Object.keys(body), ['code', 'message', 'requestInfo']);
    t.regex(body.message, new RegExp(`errorCode: {2}${body.code}`));
  }
});

test('a secret is not repeated in an error', async (t) => {
  const answer = await ask(t, put('{"secret": {"password": "hunter2"}}'));
  t.is(answer.status, 400);
  t.notRegex(answer.text, /hunter2/);
});

test('a fault is answered with an incident id, and reported to the operator under the same one', async (t) => {
  const api = builder();
  api.declare(endpoint, () => {
    throw new Error('boom');
  });
  const late = { name: 'y', route: '/y', method: 'get', title: 'Y', scopes: 'a:<b>' } as const;
  api.declare(late, () => ({ secret: true }));
  const faults = new Map<string, string>();
  const router = serve(api, {
    publicUrl: { of: () => 'http://localhost' },
    context: undefined,
    validator: async () => ({
      status: 'no-auth',
      scheme: 'none',
      scopes: ['a:*'],
      expires: new Date(),
    }),
    onFault: (fault, incidentId) => faults.set(incidentId, (fault as Error).message),
  });
  const rootUrl = await listening(t, express().use(router));
  for (const [target, fault] of [
    ['/x', 'boom'],
    ['/y', 'y answered without having authorised its caller'],
  ] as const) {
    const answer = await send({ rootUrl }, { target });
    t.is(answer.status, 500);
    t.is(answer.json.code, 'InternalServerError');
    const [, incidentId = ''] = /incidentId ([0-9a-f-]+)\./.exec(answer.json.message) ?? [];
    t.is(faults.get(incidentId), fault);
    t.notRegex(answer.text, /boom|authorised|secret/);
  }
});

test('the router answers unknown endpoints, monitoring and browsers', async (t) => {
  const deployment = await deploymentFor(t);
  const get = (target: string, method = 'GET') => send(deployment, { target, method });
  const unknown = await get('/api/queue/v1/nothing');
  t.is(unknown.status, 404);
  t.deepEqual(unknown.json, { error: 'Not found' });
  for (const service of ['auth', 'queue', 'secrets', 'web-server']) {
    t.is((await get(`/api/${service}/v1/ping`)).json.alive, true, service);
  }
  t.is((await get('/robots.txt')).text, 'User-Agent: *\nDisallow: /\n');
  t.deepEqual((await get('/__heartbeat__')).json, { listen: 'heard' });
  t.deepEqual(Object.keys((await get('/__version__')).json), ['version', 'commit']);
  const preflight = await get('/api/queue/v1/task/x', 'OPTIONS');
  t.is(preflight.status, 200);
  t.is(preflight.headers['access-control-allow-origin'], '*');
  t.regex(preflight.headers['access-control-allow-headers'] ?? '', /Authorization/);
  const { headers } = await get('/api/auth/v1/ping');
  t.regex(headers['x-for-request-id']?.toString() ?? '', /^[0-9a-f-]{36}$/);
  t.is(headers['x-powered-by'], undefined);
  t.regex(
    String(headers['content-security-policy']),
    /^default-src 'none'; frame-ancestors 'none';/,
  );
  t.is(headers['strict-transport-security'], undefined);
  const secured = await send(deployment, {
    target: '/api/auth/v1/ping',
    headers: { 'X-Forwarded-Proto': 'https' },
  });
  t.regex(secured.headers['strict-transport-security'] ?? '', /^max-age=7776000;/);
});

/** A service with one endpoint of each kind. */
function documented(): ApiBuilder<undefined> {
  const api = new ApiBuilder<undefined>({
    serviceName: 'test',
    apiVersion: 'v1',
    title: 'Test Service',
    params: { a: /^[a-z]$/ },
  });
  const put = {
    name: 'put',
    method: 'put',
    route: '/thing/:a/{*rest}',
    title: 'Put',
    description: 'Puts a thing.',
    category: 'Things',
    stability: 'deprecated',
    params: { rest: /^[0-9/]+$/ },
    query: { quick: /^yes$/ },
    scopes: { AllOf: ['put:<a>', { if: 'b', then: 'c', else: { AnyOf: ['d', 'e'] } }] },
    input: { $id: '/schemas/test/v1/put-request.json#', type: 'object' },
    output: {
      $id: '/schemas/test/v1/put-response.json#',
      type: 'object',
      properties: { done: { type: 'boolean' } },
      additionalProperties: false,
    },
  } as const;
  api.declare(put, () => ({ done: true }));
  api.declare({ ...endpoint, name: 'get', route: '/thing', output: put.output }, () => ({
    done: 'perhaps',
  }));
  api.declare({ ...endpoint, output: 'blob' }, () => ({}));
  return api;
}

test('a reference describes the endpoints as they are declared', (t) => {
  const { entries, ...head } = apiReference(documented());
  t.deepEqual(head, {
    $schema: '/schemas/common/api-reference-v0.json#',
    title: 'Test Service',
    description: 'Test Service',
    serviceName: 'test',
    apiVersion: 'v1',
  });
  t.deepEqual(
    entries.find(({ name }) => name === 'put'),
    {
      type: 'function',
      method: 'put',
      route: '/thing/<a>/<rest>',
      query: ['quick'],
      args: ['a', 'rest'],
      name: 'put',
      stability: 'deprecated',
      title: 'Put',
      description: 'Puts a thing.',
      category: 'Things',
      input: 'v1/put-request.json#',
      output: 'v1/put-response.json#',
      scopes: { AllOf: ['put:<a>', { if: 'b', then: 'c', else: { AnyOf: ['d', 'e'] } }] },
    },
  );
  t.false('scopes' in (entries.find(({ name }) => name === 'ping') ?? {}));
});

test('an OpenAPI document describes the endpoints as they are declared', (t) => {
  const { paths, components, servers } = openApi(documented(), 'http://tc.example') as {
    // biome-ignore lint/suspicious/noExplicitAny: its form is what is tested
    [part: string]: any;
  };
  t.deepEqual(servers, [{ url: 'http://tc.example/api/test/v1' }]);
  const { put } = paths['/thing/{a}/{rest}'];
  t.like(put, {
    operationId: 'put',
    deprecated: true,
    security: [{ hawk: [] }, {}],
    'x-taskcluster-scopes': { AllOf: ['put:<a>'] },
  });
  t.deepEqual(put.parameters, [
    { name: 'a', in: 'path', required: true, schema: { type: 'string', pattern: '^[a-z]$' } },
    { name: 'rest', in: 'path', required: true, schema: { type: 'string', pattern: '^[0-9/]+$' } },
    { name: 'quick', in: 'query', schema: { type: 'string', pattern: '^yes$' } },
  ]);
  const { $ref } = put.requestBody.content['application/json'].schema;
  t.deepEqual(components.schemas[$ref.split('/').at(-1)], { type: 'object' });
  t.deepEqual(paths['/ping'].get.security, []);
});

test('references of all services are served, in their format, with every schema', async (t) => {
  const deployment = await deploymentFor(t);
  const get = async (target: string) => {
    const { status, json } = await send(deployment, { target });
    t.is(status, 200, target);
    return json;
  };
  const { references } = await get('/references/manifest.json');
  t.true(references.includes(`${deployment.rootUrl}/references/queue/v1/api.json`));
  const { $id: _, $schema: __, ...format } = await get('/schemas/common/api-reference-v0.json');
  for (const url of references) {
    const path = new URL(url).pathname;
    const reference = await get(path);
    t.is(outputError({ $id: '/schemas/common/reference.json#', ...format }, reference), null, path);
    t.true(URL.canParse(reference.$schema));
    for (const { input, output } of reference.entries) {
      for (const schema of [input, output].filter((used) => used && used !== 'blob')) {
        const file = `/schemas/${reference.serviceName}/${schema}`;
        t.is((await get(file.replace(/#$/, ''))).$id, `${deployment.rootUrl}${file}`);
      }
    }
    t.is((await get(path.replace('api.json', 'openapi.json'))).openapi, '3.1.0');
  }
});

test('an answer that does not match its schema is a fault only where the option checkOutput is set', async (t) => {
  for (const checkOutput of [true, false]) {
    const faults: string[] = [];
    const router = serve(documented(), {
      publicUrl: { of: () => 'http://localhost' },
      context: undefined,
      validator: () => Promise.reject(new Error('not asked')),
      onFault: (fault) => faults.push((fault as Error).message),
      checkOutput,
    });
    const rootUrl = await listening(t, express().use(router));
    const { status } = await send({ rootUrl }, { target: '/thing' });
    t.is(status, checkOutput ? 500 : 200);
    t.regex(
      faults.join(),
      checkOutput ? /^the answer of get does not match its schema: [\s\S]*boolean/ : /^$/,
    );
  }
});

test('a request for a secret with an empty name is refused as invalid', async (t) => {
  const { status, json } = await ask(t, { target: '/api/secrets/v1/secret/' });
  t.is(status, 400);
  t.is(json.code, 'InvalidRequestArguments');
  t.deepEqual(json.requestInfo.params, { name: '' });
});

async function listening(t: ExecutionContext, app: Express): Promise<string> {
  const server = app.listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
