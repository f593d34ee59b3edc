// The parts of a review of a deployment: the endpoint of a call and whether it passes, the notation of a
// role, and the form of a baseline and a saved state.
import test from 'ava';
import { apiReference } from '../../ts/deployment/api/reference.js';
import { exposure } from '../../ts/deployment/exposure.js';
import { baselineOf, readBaseline, readState } from '../../ts/deployment/review/baseline.js';
import { findCall, judge } from '../../ts/deployment/review/call.js';
import { ReviewError } from '../../ts/deployment/review/subject.js';
import { readRole } from '../../ts/deployment/review/what-if.js';
import { readable } from '../../ts/deployment/review/wording.js';
import { services } from '../../ts/deployment/services.js';

const REFERENCES = services().map(apiReference);

const CALLS = [
  ['GET /api/secrets/v1/secret/a%2Fb', 'secrets:get:a/b', 'yes', 'secrets.get'],
  ['GET /api/secrets/v1/secret/a/b', 'secrets:get:a/*', 'yes', 'secrets.get'],
  ['get secrets/v1/secret/a', 'secrets:get:b', 'no', 'secrets.get'],
  ['HEAD https://tc.example.com/api/secrets/v1/secrets?limit=1', '*', 'yes', 'secrets.list'],
  ['GET /api/auth/v1/ping', '', 'yes', 'auth.ping'],
  ['GET /api/queue/v1/task/x/status', 'queue:status:x', 'yes', 'queue.status'],
  [
    'GET /api/queue/v1/task/x/runs/0/artifacts',
    'queue:list-artifacts:x:0',
    'yes',
    'queue.listArtifacts',
  ],
  ['PUT /api/queue/v1/task/x', 'queue:*', 'depends', 'queue.createTask'],
  ['PUT /api/queue/v1/task/x', 'queue:scheduler-id:*', 'no', 'queue.createTask'],
  ['PUT /api/queue/v1/task/x', '*', 'yes', 'queue.createTask'],
  ['PUT /api/auth/v1/roles/a', 'auth:create-role:a', 'depends', 'auth.createRole'],
  ['PUT /api/auth/v1/roles/a', 'auth:create-role:b', 'no', 'auth.createRole'],
] as const;

for (const [asked, held, passes, name] of CALLS) {
  test(`a caller with the scope '${held}' may call ${asked}: ${passes}`, (t) => {
    const [method = '', path = ''] = asked.split(' ');
    const call = findCall(REFERENCES, method, path);
    t.is(`${call.service}.${call.entry.name}`, name);
    t.is(judge(call, held === '' ? [] : [held]).passes, passes);
  });
}

test('the needed scopes of a call contain the parameters of its path', (t) => {
  const { needs } = judge(findCall(REFERENCES, 'PUT', '/api/auth/v1/roles/a'), []);
  t.is(readable(needs ?? ''), 'auth:create-role:a and (<scope> for each of scopes)');
});

test('a call that no endpoint answers is refused with a hint', (t) => {
  for (const [method, path, message] of [
    ['GTE', '/api/auth/v1/ping', /^'GTE' is not a method: write one of GET/],
    ['POST', '/api/auth/v1/ping', /that path has GET$/],
    ['GET', '/api/auth/v1/pings', /write the path from \/api\/ on/],
    ['GET', '/api/secrets/v1/secret/%', /write a % of its own as %25$/],
  ] as const) {
    t.throws(() => findCall(REFERENCES, method, path), { instanceOf: ReviewError, message });
  }
});

test('a role is written as role=scope,scope', (t) => {
  t.deepEqual(readRole('a:*=b, c:<..>=*'), { roleId: 'a:*', scopes: ['b', 'c:<..>=*'] });
  t.deepEqual(readRole('a=[]'), { roleId: 'a', scopes: [] });
  t.deepEqual(readRole('a=["b,c"]'), { roleId: 'a', scopes: ['b,c'] });
  for (const [text, message] of [
    ['', /names no role: write it as 'role=scope,scope'/],
    ['queue:*', /names no role/],
    ['=a', /names no role/],
    ['a=', /gives no scope.*for a role without any 'a=\[\]'$/],
    ['a=b,,c', /"" is not a scope/],
    ['a=b**', /"b\*\*" is not a scope/],
    ['a=["b"', /is no JSON list of scopes/],
    ['a=[1]', /1 is not a scope/],
  ] as const) {
    t.throws(() => readRole(text), { instanceOf: ReviewError, message }, text);
  }
});

const ROWS = exposure(REFERENCES, ['queue:status:*']);

test('a baseline is read only as --as-baseline prints it, for the same subject and with a note on each finding', (t) => {
  const baseline = baselineOf('an anonymous caller', ROWS, 'agreed');
  const text = JSON.stringify(baseline);
  t.deepEqual(readBaseline(text, 'f', 'an anonymous caller'), baseline);
  const [status] = baseline.accepted;
  for (const [wrong, message] of [
    ['', /^f is not JSON$/],
    [[], /is no baseline: make one with --as-baseline NOTE/],
    [null, /is no baseline/],
    [
      { ...baseline, of: 'the role x' },
      /accepts what the role x may do, and this is for an anonymous caller/,
    ],
    [{ ...baseline, acepted: [] }, /has 'acepted': write of, accepted only/],
    [{ ...baseline, accepted: [null] }, /names no endpoint/],
    [{ ...baseline, accepted: [{ ...status, note: ' ' }] }, /queue\.status needs a "note"/],
    [
      { ...baseline, accepted: [{ ...status, pases: 1 }] },
      /has 'pases': write endpoint, passes, by/,
    ],
    [{ ...baseline, accepted: [{ ...status, passes: 'never' }] }, /needs "passes" \(always or/],
    [{ ...baseline, accepted: [{ ...status, by: 'x' }] }, /queue\.status needs "passes"/],
  ] as const) {
    const written = wrong === '' ? '' : JSON.stringify(wrong);
    const reading = () => readBaseline(written, 'f', 'an anonymous caller');
    t.throws(reading, { instanceOf: ReviewError, message }, written);
  }
});

test('a saved state is read only as --json prints it', (t) => {
  t.deepEqual(readState(JSON.stringify(ROWS), 'f'), ROWS);
  for (const wrong of ['', '[]', '{}', '[null]', JSON.stringify([{ ...ROWS[0], by: undefined }])]) {
    t.throws(() => readState(wrong, 'f'), { instanceOf: ReviewError, message: /^f is n/ }, wrong);
  }
});
