// What a generated case consists of: one connection of a client, the requests on it, and what
// upstream answers to each try of each of them.
//
// Everything in it is plain data that fast-check makes from a seed and makes smaller when a case
// differs. What it is not: it knows neither the proxy nor sockets; `play.ts` does.
import fc from 'fast-check';
import type { Fields } from '../wire.js';

/**
 * Where a message is cut on its way, each place in thousandths of the part that may be cut, and the
 * pause behind it; or a cut at every place.
 */
export type Cuts = { at: number; pauseMs: number }[] | 'everywhere';

export interface Script {
  requests: Request[];
  /** All requests are sent before an answer is read. */
  pipelined: boolean;
  /** How the client's bytes come. */
  cuts: Cuts;
  /** The client waits so long before it reads an answer. */
  readsAfterMs: number;
  /** It shuts down writing behind its last request, instead of behind the last answer. */
  shutsDown: boolean;
  leaves: Leaves;
}

/** Whether the client leaves in the middle of its last request, or stays for its answers. */
export type Leaves = 'no' | Leaving;

export type Leaving = `${'closing' | 'resetting'} in the ${'request' | 'wait' | 'answer'}`;

export interface Request {
  method: string;
  version: '1.1' | '1.0';
  /** What follows in the target. */
  suffix: string;
  fields: Fields;
  framing: 'none' | 'length' | 'chunked';
  /** Bytes of the body. */
  size: number;
  /** Bytes of its head that are changed. */
  mutations: Mutation[];
  /** By try; behind them upstream answers a plain 200. */
  answers: Answer[];
}

export interface Answer {
  /** Whether upstream reads the request's body before it answers, or behind that. */
  reads: 'before' | 'after';
  /** Statuses of the interim answers. */
  interim: number[];
  version: '1.1' | '1.0';
  status: number;
  reason: string;
  fields: Fields;
  framing: 'length' | 'chunked' | 'close' | 'both' | 'twice' | 'padded';
  size: number;
  /** Bytes of a chunk. */
  chunk: number;
  /** What stands behind a chunk's size. */
  extension: string;
  trailers: Fields;
  announces: boolean;
  /** Bytes that come behind the answer unasked. */
  extra: string;
  challenge: 'none' | 'hawk' | 'forged' | 'date';
  retryAfter: string;
  /** Bytes that are changed. */
  mutations: Mutation[];
  /** Thousandths of its bytes that are sent. */
  sent: number;
  cuts: Cuts;
  /** What becomes of the connection. */
  ends: 'keep' | 'end' | 'reset';
}

/** A byte is replaced, or goes, or one more comes; `at` counts modulo the length. */
export interface Mutation {
  at: number;
  how: 'replace' | 'insert' | 'remove';
  byte: string;
}

const token = fc.string({ unit: fc.constantFrom(...'abcXYZ-_09'), minLength: 1, maxLength: 12 });
const value = fc.string({
  unit: fc.constantFrom(...'ab,;="\\ \t:/%{}\xe9\xff'),
  maxLength: 20,
});
const TRIMMED = /^[ \t]+|[ \t]+$/g;
const field = fc
  .tuple(token, value)
  .map(([name, each]): [string, string] => [`X-${name}`, each.replace(TRIMMED, '')]);

/** Fields that mean something to a proxy, beside others. */
function fieldsOf(known: Fields): fc.Arbitrary<Fields> {
  const one = fc.oneof({ weight: 2, arbitrary: field }, fc.constantFrom(...known));
  return fc.oneof(
    { weight: 20, arbitrary: fc.array(one, { maxLength: 5 }) },
    fc.array(field, { minLength: 95, maxLength: 105 }),
  );
}

const REQUEST_FIELDS: Fields = [
  ['Connection', 'x-a, TE'],
  ['Connection', 'keep-alive'],
  ['Connection', 'Close'],
  ['X-A', 'named by Connection'],
  ['TE', 'trailers'],
  ['TE', 'gzip;q=0.5, trailers'],
  ['Keep-Alive', 'timeout=5'],
  ['Proxy-Connection', 'keep-alive'],
  ['Proxy-Authorization', 'Basic eDp5'],
  ['Authorization', 'Bearer of-the-client'],
  ['X-Taskcluster-Authorized-Scopes', '["queue:ping"]'],
  ['Cookie', 'a=b'],
  ['Cookie', 'c="d e"'],
  ['Range', 'bytes=0-9'],
  ['If-None-Match', '"x", W/"y"'],
  ['Accept-Encoding', 'gzip, br'],
  ['Content-Type', 'application/json; charset=utf-8'],
  ['Trailer', 'x-sum'],
  ['Accept', ''],
];

const ANSWER_FIELDS: Fields = [
  ['Connection', 'x-a'],
  ['Connection', 'close'],
  ['Connection', 'keep-alive'],
  ['Keep-Alive', 'timeout=5, max=100'],
  ['X-A', 'named by Connection'],
  ['Set-Cookie', 'a=b; Path=/'],
  ['Set-Cookie', 'c=d'],
  ['Content-Type', 'text/plain'],
  ['Content-Encoding', 'gzip'],
  ['ETag', '"x"'],
  ['Location', '/elsewhere?a=b#c'],
  ['Date', 'Tue, 03 Mar 2026 10:00:00 GMT'],
  ['Server', 'test (odd)'],
  ['Via', '1.1 a'],
  ['Proxy-Authenticate', 'Basic'],
  ['Upgrade', 'h2c'],
  ['Trailer', 'X-Sum'],
  ['TE', 'trailers'],
  ['X-Taskcluster-Endpoint', 'http://evil.example.com/'],
  ['X-Taskcluster-Proxy-Version', '0'],
];

const size = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 60 }) },
  { weight: 2, arbitrary: fc.nat({ max: 20_000 }) },
  fc.constantFrom(16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 131_072),
  { weight: 1, arbitrary: fc.nat({ max: 600_000 }) },
);

const cuts: fc.Arbitrary<Cuts> = fc.oneof<fc.MaybeWeightedArbitrary<Cuts>[]>(
  { weight: 4, arbitrary: fc.constant<Cuts>([]) },
  {
    weight: 4,
    arbitrary: fc.array(
      fc.record({ at: fc.nat({ max: 999 }), pauseMs: fc.constantFrom<number[]>(0, 0, 1, 4) }),
      { maxLength: 4 },
    ),
  },
  // About every byte of a head.
  fc.constant<Cuts>('everywhere'),
);

const mutations = fc.array(
  fc.record({
    at: fc.oneof({ weight: 5, arbitrary: fc.nat({ max: 400 }) }, fc.nat({ max: 100_000 })),
    how: fc.constantFrom<Mutation['how']>('replace', 'insert', 'remove'),
    byte: fc.constantFrom(...'\0\t\n\r ,:;0159aAfgxZ"+-\x7f\x80\xff'),
  }),
  { minLength: 1, maxLength: 2 },
);

const answer: fc.Arbitrary<Answer> = fc.record({
  reads: rarely<Answer['reads']>('before', 'after'),
  interim: fc.oneof(
    { weight: 6, arbitrary: fc.constant<number[]>([]) },
    fc.array(fc.constantFrom<number[]>(100, 102, 103, 199), { maxLength: 3 }),
  ),
  version: rarely<Answer['version']>('1.1', '1.0'),
  status: fc.oneof(
    {
      weight: 5,
      arbitrary: fc.constantFrom(200, 201, 204, 206, 301, 304, 400, 401, 404, 409, 413),
    },
    { weight: 4, arbitrary: fc.constantFrom(500, 502, 503, 504) },
    fc.integer({ min: 200, max: 999 }),
  ),
  reason: fc.constantFrom('OK', '', 'No\tsuch (thing) \xe9'),
  fields: fieldsOf(ANSWER_FIELDS),
  framing: fc.constantFrom('length', 'chunked', 'close', 'both', 'twice', 'padded'),
  size,
  chunk: fc.constantFrom(1_000_000, 10, 1_000, 16_384, 1),
  extension: rarely('', ';a="b;c"', ' ', ';x'),
  trailers: fc.oneof(
    { weight: 3, arbitrary: fc.constant<Fields>([]) },
    fc.array(
      fc.constantFrom<[string, string]>(
        ['X-Sum', '42'],
        ['x-sum', '43'],
        ['Content-Length', '5'],
        ['X-Taskcluster-Endpoint', 'evil'],
      ),
      { maxLength: 3 },
    ),
  ),
  announces: fc.boolean(),
  extra: rarely('', 'x', 'HTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n'),
  challenge: rarely<Answer['challenge']>('none', 'hawk', 'forged', 'date'),
  retryAfter: fc.oneof(
    { weight: 4, arbitrary: fc.constant('') },
    fc.constantFrom('0', '3600', 'Thu, 01 Jan 1970 00:00:00 GMT', 'soon', '-1', '9'.repeat(30)),
  ),
  mutations: fc.oneof({ weight: 5, arbitrary: fc.constant<Mutation[]>([]) }, mutations),
  sent: fc.oneof({ weight: 8, arbitrary: fc.constant(1000) }, fc.nat({ max: 1000 })),
  cuts,
  ends: rarely<Answer['ends']>('keep', 'end', 'reset'),
});

const request: fc.Arbitrary<Request> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'PUT', 'HEAD', 'PATCH', 'DELETE', 'OPTIONS', 'get', 'M-S'),
  version: fc.oneof(
    { weight: 20, arbitrary: fc.constant<Request['version']>('1.1') },
    fc.constant<Request['version']>('1.0'),
  ),
  suffix: fc.constantFrom('', '/', '//a/../b', '/%2F%252f?a=b&a=%20', '?', ';p=1/+~?x=[]|'),
  fields: fieldsOf(REQUEST_FIELDS),
  framing: fc.oneof(
    { weight: 4, arbitrary: fc.constant<Request['framing']>('none') },
    { weight: 6, arbitrary: fc.constant<Request['framing']>('length') },
    fc.constant<Request['framing']>('chunked'),
  ),
  size,
  mutations: fc.oneof({ weight: 9, arbitrary: fc.constant<Mutation[]>([]) }, mutations),
  answers: fc.array(answer, { maxLength: 3 }),
});

const LEAVES: Leaves[] = [
  'closing in the request',
  'closing in the wait',
  'closing in the answer',
  'resetting in the request',
  'resetting in the wait',
  'resetting in the answer',
];

/** Any case. */
export const script: fc.Arbitrary<Script> = fc
  .record({
    requests: fc.array(request, { minLength: 1, maxLength: 3 }),
    pipelined: fc.boolean(),
    cuts,
    readsAfterMs: rarely(0, 20),
    shutsDown: rarely(false, true),
    leaves: fc.oneof(
      { weight: 20, arbitrary: fc.constant<Leaves>('no') },
      fc.constantFrom<Leaves>(...LEAVES),
    ),
  })
  .map(certain);

/** The first in most cases. */
function rarely<T>(usual: T, ...others: T[]): fc.Arbitrary<T> {
  return fc.oneof({ weight: 6, arbitrary: fc.constant(usual) }, fc.constantFrom(...others));
}

/**
 * Takes out of a case what would make its outcome depend on timing: on either wire, the faster side
 * would decide what comes.
 */
function certain(drawn: Script): Script {
  const leaves = drawn.leaves !== 'no';
  // Upstream has to get the request that its client leaves. Behind a head that was changed, nothing
  // is certain but that all has been sent.
  const changed = drawn.requests.findIndex((each) => each.mutations.length > 0);
  const until = changed < 0 ? drawn.requests.length : changed + 1;
  const kept = leaves ? drawn.requests.slice(-1) : drawn.requests.slice(0, until);
  return {
    ...drawn,
    requests: kept.map((each, at) => certainRequest(each, leaves, at === kept.length - 1)),
    pipelined: drawn.pipelined && !leaves,
    shutsDown: (drawn.shutsDown || changed >= 0) && !leaves,
  };
}

function certainRequest(drawn: Request, leaves: boolean, isLast: boolean): Request {
  const isChanged = drawn.mutations.length > 0;
  const answers = drawn.answers.map((each) => certainAnswer(each, isLast && !isChanged));
  const isOvertaken = answers.some(({ reads }) => reads === 'after');
  return {
    ...drawn,
    method: leaves && drawn.method === 'HEAD' ? 'GET' : drawn.method,
    // HTTP/1.0 has no chunks, and what is refused does not come to upstream.
    version: leaves && drawn.framing === 'chunked' ? '1.1' : drawn.version,
    mutations: leaves ? [] : drawn.mutations,
    fields: once(drawn.fields, 'X-Taskcluster-Authorized-Scopes'),
    // Of a body longer than what is kept, an early answer may find all that has come kept. One whose
    // length is not known may begin on a connection that upstream has just ended, this case's or the
    // last one's.
    size: isOvertaken || drawn.framing === 'chunked' ? drawn.size % 65_000 : drawn.size,
    answers,
  };
}

/**
 * A field that is refused where it is given twice: from the head alone, so that what had come of the
 * body decides whether the connection goes on.
 */
function once(fields: Fields, name: string): Fields {
  const first = fields.findIndex(([each]) => each === name);
  return fields.filter(([each], at) => each !== name || at === first);
}

function certainAnswer(drawn: Answer, overtakes: boolean): Answer {
  const isWhole = drawn.sent === 1000 && drawn.mutations.length === 0;
  const goesOn = isWhole && drawn.framing !== 'close';
  return {
    ...drawn,
    // hyper looks at a head that comes in parts once its end is there, so the cuts would decide
    // whether one that is malformed, and ends too early, is no HTTP or breaks off.
    // What comes unasked, and later than the answer, may meet the next request. A reset takes what has
    // not been read with it.
    cuts:
      drawn.mutations.length > 0 || drawn.extra !== '' || drawn.ends === 'reset' ? [] : drawn.cuts,
    // A digit more or less of it, and the proxy waits for minutes.
    retryAfter: drawn.mutations.length > 0 ? '' : drawn.retryAfter,
    size: drawn.ends === 'reset' || drawn.extra !== '' ? drawn.size % 100 : drawn.size,
    // An answer that overtakes the request's body may end the client's connection before what follows,
    // even if that is bytes which a changed head does not count.
    reads: overtakes ? drawn.reads : 'before',
    // A reader that waits for more than comes would wait for ever.
    ends: goesOn || drawn.ends !== 'keep' ? drawn.ends : 'end',
  };
}
