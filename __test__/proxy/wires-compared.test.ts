// The comparison of the wires, by deliberate differences: one in each part that it compares, and it has to
// name that part.
//
// What it is not: a comparison of the wires themselves (`wires-generated.test.ts`).
import test, { type ExecutionContext } from 'ava';
import { TEST_PATIENCE_MS } from '../harness/deadline.js';
import { accessTokenOf } from '../harness/signature.js';
import { type Fields, type Head, value } from '../harness/wire.js';
import { interimPassed } from '../harness/wires/bytes.js';
import type { Answered, Seen } from '../harness/wires/play.js';
import { Pair } from '../harness/wires/run.js';
import type { Answer, Request, Script } from '../harness/wires/script.js';
import { type Got, PLAIN } from '../harness/wires/upstream.js';

const FIRST: Request = {
  method: 'POST',
  version: '1.1',
  suffix: '/a?b',
  fields: [
    ['Connection', 'TE'],
    ['TE', 'trailers'],
    ['X-A', '1'],
    ['X-A', '2'],
    ['X-Taskcluster-Authorized-Scopes', '["queue:ping"]'],
  ],
  framing: 'length',
  size: 300,
  mutations: [],
  answers: [
    { ...PLAIN, status: 503, interim: [102] },
    {
      ...PLAIN,
      status: 201,
      reason: 'Made',
      interim: [100, 103],
      fields: [
        ['ETag', '"x"'],
        ['Set-Cookie', 'a=b'],
        ['Set-Cookie', 'c=d'],
      ],
      framing: 'chunked',
      size: 500,
      trailers: [['X-Sum', '42']],
      announces: true,
    },
  ],
};

const SECOND: Request = { ...FIRST, suffix: '', framing: 'chunked', answers: [] };

const THIRD: Request = { ...FIRST, method: 'HEAD', framing: 'none', answers: [PLAIN] };

/** A script of which all is compared, except for what is always left out. */
const SCRIPT: Script = {
  requests: [FIRST, SECOND, THIRD],
  pipelined: false,
  cuts: [],
  readsAfterMs: 0,
  shutsDown: false,
  leaves: 'no',
};

/** Each of a first element, which is there. */
function first<T>(all: readonly T[] | undefined): T {
  const [one] = all ?? [];
  if (one === undefined) {
    throw new Error('the script was played without it');
  }
  return one;
}

const answer = ({ answers }: Seen): Answered => first(answers);
const tried = ({ got }: Seen): Got => first(first(got));
const changed = (bytes: Buffer): Buffer => Buffer.from(bytes.map((byte) => byte ^ 1));

function set(fields: Fields, name: string, text: string): void {
  const line = first(fields.filter(([each]) => each.toLowerCase() === name));
  line[1] = text;
}

function interim(status: number): Head {
  return { ...interimPassed(status), raw: '' };
}

/** Changes of what was seen on hyper's wire, and the line that reports each. */
const SEEN: Record<string, [change: (seen: Seen) => unknown, told: RegExp]> = {
  'a status': [
    (seen) => Object.assign(answer(seen), { status: 202 }),
    /^hyper: answer 0: 202 Made$/,
  ],
  'a reason': [
    (seen) => Object.assign(answer(seen), { reason: 'Maid' }),
    /^hyper: answer 0: 201 Maid$/,
  ],
  'the value of a field': [
    (seen) => set(answer(seen).fields, 'etag', '"y"'),
    /^hyper: answer 0: .*"etag","\\"y\\""/,
  ],
  'a field more': [
    (seen) => answer(seen).fields.push(['X-More', '']),
    /^hyper: answer 0: .*"x-more",""/,
  ],
  'the order of a field that is repeated': [
    (seen) => answer(seen).fields.reverse(),
    /^hyper: answer 0: .*"set-cookie","c=d".*"set-cookie","a=b"/,
  ],
  'the framing of an answer': [
    (seen) => Object.assign(answer(seen), { framing: 'close' }),
    /^hyper: answer 0: close, 500 bytes/,
  ],
  'the length that is announced of an answer without its body': [
    (seen) => set(first(seen.answers.slice(2)).fields, 'content-length', '5'),
    /^hyper: answer 2: 5, 0 bytes/,
  ],
  'the body of an answer': [
    (seen) => Object.assign(answer(seen), { body: changed(answer(seen).body) }),
    /^hyper: answer 0: chunked, 500 bytes/,
  ],
  'the length of an answer': [
    (seen) => Object.assign(answer(seen), { body: answer(seen).body.subarray(1) }),
    /^hyper: answer 0: chunked, 499 bytes/,
  ],
  "an answer's trailer": [
    (seen) => set(answer(seen).trailers, 'x-sum', '43'),
    /^hyper: answer 0: .*trailers \[.*"43"/,
  ],
  'an answer without its trailers': [
    (seen) => Object.assign(answer(seen), { trailers: [] }),
    /^socket: answer 0: .*trailers \[.*"42"/,
  ],
  'an answer that breaks off': [
    (seen) => Object.assign(answer(seen), { isWhole: false }),
    /^hyper: answer 0: chunked, broken off/,
  ],
  'an answer less': [(seen) => seen.answers.pop(), /^socket: answer 2: 200 Last$/],
  'the end of the connection': [
    (seen) => Object.assign(seen, { end: 'ECONNRESET' }),
    /^hyper: the connection: ECONNRESET$/,
  ],
  'a try more': [
    (seen) => first(seen.got).push({ ...tried(seen) }),
    /^hyper: request 0, try 2: POST/,
  ],
  'a try less': [(seen) => first(seen.got).pop(), /^socket: request 0, try 1: POST/],
  'the method of a try': [
    (seen) =>
      Object.assign(tried(seen), { startLine: tried(seen).startLine.replace('POST', 'post') }),
    /^hyper: request 0, try 0: post /,
  ],
  'the target of a try': [
    (seen) => Object.assign(tried(seen), { startLine: tried(seen).startLine.replace('?b', '?c') }),
    /^hyper: request 0, try 0: POST \/api\/x\/\S*\/a\?c /,
  ],
  'a field of a try': [
    (seen) => set(tried(seen).fields, 'x-a', '3'),
    /^hyper: request 0, try 0: .*"x-a","3"/,
  ],
  'a field of a try less': [(seen) => tried(seen).fields.pop(), /^hyper: request 0, try 0: POST/],
  'the signing client': [
    (seen) => Object.assign(tried(seen).signature, { clientId: 'tests/other' }),
    /^hyper: request 0, try 0: .* \| tests\/other queue:ping \| /,
  ],
  'the scopes that are signed': [
    (seen) => Object.assign(tried(seen).signature, { authorizedScopes: ['queue:*'] }),
    /^hyper: request 0, try 0: .* \| tests\/permanent queue:\* \| /,
  ],
  'a signature without scopes': [
    (seen) => Object.assign(tried(seen).signature, { authorizedScopes: undefined }),
    /^hyper: request 0, try 0: .* \| tests\/permanent undefined \| /,
  ],
  'a signature that does not verify': [
    (seen) => Object.assign(tried(seen), { signature: new Error('Bad mac') }),
    /^hyper: not signed: Bad mac$/,
  ],
  'a nonce that comes twice': [
    (seen) => first(seen.got).map(({ signature }) => Object.assign(signature, { nonce: 'twice' })),
    /^hyper: a nonce was used twice$/,
  ],
  'the framing of a try': [
    (seen) => Object.assign(tried(seen), { framing: 'chunked' }),
    /^hyper: request 0, try 0: .* \| chunked \| /,
  ],
  'the body of a try': [
    (seen) => Object.assign(tried(seen), { body: changed(tried(seen).body) }),
    /^hyper: request 0, try 0: .* \| 300 bytes /,
  ],
  'the trailers of a try': [
    (seen) => tried(seen).trailers.push(['X-Sum', '42']),
    /^hyper: request 0, try 0: .*"x-sum","42"/,
  ],
  'a try whose body breaks off': [
    (seen) => Object.assign(tried(seen), { isWhole: false }),
    /^hyper: request 0, try 0: .* \| broken off$/,
  ],
  'a request that no script has': [
    (seen) => seen.strays.push('GET /x HTTP/1.1'),
    /^hyper: a request of no script: GET \/x HTTP\/1.1$/,
  ],
  'an interim answer': [
    (seen) => answer(seen).interim.push(interim(103)),
    /^hyper: answer 0 has other interim answers: .*103 Interim/,
  ],
};

/** The same of the interim answers on the bare wire. */
const INTERIM: Record<string, (answer: Answered) => unknown> = {
  'one less': ({ interim }) => interim.pop(),
  'one twice': ({ interim }) => interim.push(first(interim.slice(-1))),
  'one of a try less': ({ interim }) => interim.shift(),
  'their order': ({ interim }) => interim.reverse(),
  'a status': (answer) => answer.interim.splice(0, 1, interim(199)),
  'a field of the connection': ({ interim }) => first(interim).fields.push(['Connection', 'x-hop']),
  'a field less': ({ interim }) => first(interim).fields.pop(),
  'the value of a field': ({ interim }) => set(first(interim).fields, 'link', '</c>'),
};

/** Changes of the case that hyper's wire gets, and the line that reports each. */
const PLAYED: Record<string, [other: Script, told: RegExp]> = {
  'a status': [answered({ status: 202 }), /^hyper: answer 0: 202 Made$/],
  'a reason': [answered({ reason: 'Maid' }), /^hyper: answer 0: 201 Maid$/],
  'a field': [answered({ fields: [['ETag', '"y"']] }), /^hyper: answer 0: .*"etag","\\"y\\""/],
  'the framing of an answer': [answered({ framing: 'length' }), /^hyper: answer 0: 500, 500 bytes/],
  'the body of an answer': [answered({ size: 501 }), /^hyper: answer 0: chunked, 501 bytes/],
  "an answer's trailer": [
    answered({ trailers: [['X-Sum', '43']] }),
    /^hyper: answer 0: .*trailers \[.*"43"/,
  ],
  'an answer that breaks off': [
    answered({ sent: 990, ends: 'end' }),
    /^hyper: answer 0: chunked, broken off/,
  ],
  'an answer that only the end of the connection ends': [
    answered({ framing: 'close', ends: 'end' }),
    /^hyper: answer 0: (chunked|close), 500 bytes/,
  ],
  'a try more': [
    asked({ answers: [first(FIRST.answers), ...FIRST.answers] }),
    /^hyper: request 0, try 2: POST/,
  ],
  'the method of a try': [asked({ method: 'PUT' }), /^hyper: request 0, try 0: PUT /],
  'the target of a try': [asked({ suffix: '/a?c' }), /^hyper: request 0, try 0: POST \S*\/a\?c /],
  'a field of a try': [
    asked({ fields: [...FIRST.fields, ['X-More', '']] }),
    /^hyper: request 0, try 0: .*"x-more",""/,
  ],
  'the scopes that are signed': [
    asked({ fields: [['X-Taskcluster-Authorized-Scopes', '["queue:pong"]']] }),
    /^hyper: request 0, try 0: .* \| tests\/permanent queue:pong \| /,
  ],
  'the framing of a try': [
    asked({ framing: 'chunked' }),
    /^hyper: request 0, try 0: .* \| chunked \| /,
  ],
  'the body of a try': [
    asked({ size: 301 }),
    /^hyper: request 0, try 0: .* \| length \| .* \| 301 bytes /,
  ],
  'an answer less': [{ ...SCRIPT, requests: [FIRST, SECOND] }, /^socket: request 2, try 0: HEAD /],
  'the log': [answered({ status: 202 }), /^hyper: log: Proxying POST \S+ 202 500$/],
  'a counter': [
    answered({ status: 404 }),
    /^hyper: taskcluster_proxy_requests_total\{class="4xx"\}: 1$/,
  ],
};

function asked(other: Partial<Request>): Script {
  return { ...SCRIPT, requests: [{ ...FIRST, ...other }, SECOND, THIRD] };
}

function answered(other: Partial<Answer>): Script {
  const [failed, last] = FIRST.answers;
  return asked({ answers: [failed ?? PLAIN, { ...PLAIN, ...last, ...other }] });
}

function notices(t: ExecutionContext, found: string[], told: RegExp, what: string): void {
  t.true(
    found.some((line) => told.test(line)),
    `${what}: ${found.join('\n') || 'nothing'}`,
  );
}

test('the comparison notices a difference in each part of what was seen', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const pair = await Pair.open(t, []);
  t.deepEqual(pair.differences(SCRIPT, await pair.play(SCRIPT)), []);
  for (const [what, [change, told]] of Object.entries(SEEN)) {
    const seen = await pair.play(SCRIPT);
    change(seen.hyper);
    notices(t, pair.differences(SCRIPT, seen), told, what);
  }
  for (const [what, change] of Object.entries(INTERIM)) {
    const seen = await pair.play(SCRIPT);
    change(answer(seen.socket));
    notices(t, pair.differences(SCRIPT, seen), /^socket: answer 0 has other interim/, what);
  }
});

test('the comparison notices each field, line of the log and counter', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const pair = await Pair.open(t, []);
  const whole = (await pair.play(SCRIPT)).hyper;
  // The framing is compared apart, and how often a connection was opened is a matter of time.
  const unsaid = ['transfer-encoding', 'content-length'];
  const uncounted = /_(upstream_connections|retries)_total$/;
  for (const [name] of answer(whole).fields) {
    const seen = await pair.play(SCRIPT);
    const { fields } = answer(seen.hyper);
    fields.splice(
      fields.findIndex(([each]) => each === name),
      1,
    );
    const found = pair.differences(SCRIPT, seen);
    t.is(found.length === 0, unsaid.includes(name.toLowerCase()), `${name}: ${found.join('\n')}`);
  }
  t.is(value(answer(whole).fields, 'transfer-encoding'), 'chunked');
  for (const at of whole.log.keys()) {
    for (const change of [
      (log: string[]) => log.splice(at, 1),
      (log: string[]) => log.splice(at, 1, (log[at] ?? '').replace(/\d$/, '')),
    ]) {
      const seen = await pair.play(SCRIPT);
      change(seen.hyper.log);
      notices(t, pair.differences(SCRIPT, seen), /: log: /, `line ${at} of the log`);
    }
  }
  for (const name of Object.keys(whole.counters)) {
    const seen = await pair.play(SCRIPT);
    seen.hyper.counters[name] = (seen.hyper.counters[name] ?? 0) + 1;
    const found = pair.differences(SCRIPT, seen);
    t.is(found.length === 0, uncounted.test(name), `${name}: ${found.join('\n')}`);
  }
});

test('the comparison notices what is wrong on both wires', async (t) => {
  const pair = await Pair.open(t, []);
  const rows: [change: (seen: Seen) => unknown, told: string][] = [
    [
      (seen) => Object.assign(tried(seen), { body: changed(tried(seen).body) }),
      'upstream got another body than request 0 had',
    ],
    [
      (seen) => Object.assign(answer(seen), { body: changed(answer(seen).body) }),
      'answer 0 has another body',
    ],
    [
      (seen) => Object.assign(tried(seen), { signature: new Error('Bad mac') }),
      'not signed: Bad mac',
    ],
  ];
  for (const [change, told] of rows) {
    const seen = await pair.play(SCRIPT);
    change(seen.socket);
    change(seen.hyper);
    t.deepEqual(pair.differences(SCRIPT, seen), [`socket: ${told}`, `hyper: ${told}`]);
  }
});

test('the comparison notices a difference in each part of what is played', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const pair = await Pair.open(t, []);
  for (const [what, [other, told]] of Object.entries(PLAYED)) {
    notices(t, pair.differences(SCRIPT, await pair.play(SCRIPT, other)), told, what);
  }
  const signs = ['--client-id', 'tests/other', '--access-token', accessTokenOf('tests/other')];
  const strange = await Pair.open(t, signs);
  const found = strange.differences(SCRIPT, await strange.play(SCRIPT));
  notices(t, found, /^hyper: request 0, try 0: .* \| tests\/other queue:ping \| /, 'the client');
});
