// HTTP/1 requests that two parsers could read differently, in the publicly known classes: lengths,
// codings, chunks, line ends, folds, names, targets, versions, hosts, upgrades.
//
// Each is sent on both wires, with another request behind it on the same connection. Either it is
// refused: one answer, the end of the connection, and neither it nor the following request goes
// upstream. Or it has one meaning: then its table has the bytes that go upstream (RFC 9112, sections
// 2.2, 3, 5.1, 6.3, 7.1 and 11.2). `fuzz/` generates others.
import test, { type ExecutionContext } from 'ava';
import { type RunningProxy, startProxy } from '../harness/proxy.js';
import { type Exchange, startUpstream, type Upstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

const HOST = 'Host: taskcluster\r\n';
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const FIVE = 'Content-Length: 5\r\n';
const SMUGGLED = `GET /queue/v1/smuggled HTTP/1.1\r\n${HOST}\r\n`;
const NEXT = `GET /queue/v1/next HTTP/1.1\r\n${HOST}\r\n`;
const NEXT_GOES = 'GET /api/queue/v1/next HTTP/1.1\r\nhost: upstream\r\n\r\n';
const TEXT = '5\r\nhello\r\n0\r\n\r\n';

/** A POST with exactly these field lines and this body. */
const post = (fields: string, body = '') =>
  `POST /queue/v1/x HTTP/1.1\r\n${HOST}${fields}\r\n${body}`;
/** A GET with this request line and these fields beside Host. */
const get = (line: string, fields = '') => `${line}\r\n${HOST}${fields}\r\n`;
/** A POST as upstream gets it. */
const goes = (fields: string, body = '') =>
  `POST /api/queue/v1/x HTTP/1.1\r\nhost: upstream\r\n${fields}\r\n${body}`;
/** A GET of this target as upstream gets it. */
const goesTo = (target: string) => `GET ${target} HTTP/1.1\r\nhost: upstream\r\n\r\n`;

/** Heads that get 400, by class. */
const REFUSED: Record<string, Record<string, string>> = {
  lengths: {
    'Content-Length and Transfer-Encoding': post(FIVE + CHUNKED, '0\r\n\r\n'),
    'Transfer-Encoding and Content-Length': post(CHUNKED + FIVE, '0\r\n\r\n'),
    'a length of 0 and Transfer-Encoding': post(`Content-Length: 0\r\n${CHUNKED}`, TEXT),
    'two that differ': post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello'),
    '0 and another': post('Content-Length: 0\r\nContent-Length: 5\r\n', 'hello'),
    'a list that differs': post('Content-Length: 5, 6\r\n', 'hello'),
    'a list of equal ones': post('Content-Length: 5, 5\r\n', 'hello'),
    'a list with an empty element': post('Content-Length: 5,\r\n', 'hello'),
    'a plus': post('Content-Length: +5\r\n', 'hello'),
    'a minus': post('Content-Length: -5\r\n', 'hello'),
    'a minus before 0': post('Content-Length: -0\r\n'),
    hexadecimal: post('Content-Length: 0x5\r\n', 'hello'),
    octal: post('Content-Length: 0o5\r\n', 'hello'),
    'a letter behind it': post('Content-Length: 5a\r\n', 'hello'),
    'an underscore': post('Content-Length: 0_5\r\n', 'hello'),
    'a fraction': post('Content-Length: 5.0\r\n', 'hello'),
    'an exponent': post('Content-Length: 5e0\r\n', 'hello'),
    'a semicolon': post('Content-Length: 5;\r\n', 'hello'),
    'in quotes': post('Content-Length: "5"\r\n', 'hello'),
    'a space within': post('Content-Length: 1 5\r\n', 'hello'),
    empty: post('Content-Length:\r\n', 'hello'),
    'obs-text behind it': post('Content-Length: 5\xa0\r\n', 'hello'),
    'a vertical tab before it': post('Content-Length: \x0b5\r\n', 'hello'),
    'over 64 bits': post('Content-Length: 18446744073709551621\r\n', 'hello'),
    '2^63': post('Content-Length: 9223372036854775808\r\n', 'hello'),
  },
  codings: {
    'chunked twice': post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'),
    'chunked twice by two fields': post(`${CHUNKED}${CHUNKED}`, '0\r\n\r\n'),
    'chunked and another field': post(`${CHUNKED}Transfer-Encoding: x\r\n`, '0\r\n\r\n'),
    'another field and chunked': post(`Transfer-Encoding: x\r\n${CHUNKED}`, '0\r\n\r\n'),
    'chunked and an empty field': post(`${CHUNKED}Transfer-Encoding:\r\n`, '0\r\n\r\n'),
    'chunked not last': post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n'),
    'a coding before chunked': post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'),
    'identity before chunked': post('Transfer-Encoding: identity, chunked\r\n', '0\r\n\r\n'),
    'an empty element before chunked': post('Transfer-Encoding: , chunked\r\n', '0\r\n\r\n'),
    'an empty element behind chunked': post('Transfer-Encoding: chunked,\r\n', '0\r\n\r\n'),
    identity: post('Transfer-Encoding: identity\r\n', 'hello'),
    'identity and a length': post(`Transfer-Encoding: identity\r\n${FIVE}`, 'hello'),
    'a letter before it': post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
    'a letter behind it': post('Transfer-Encoding: chunkedx\r\n', '0\r\n\r\n'),
    'a parameter': post('Transfer-Encoding: chunked;q=1\r\n', '0\r\n\r\n'),
    'in quotes': post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'),
    'a vertical tab before it': post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'),
    'a form feed behind it': post('Transfer-Encoding: chunked\x0c\r\n', '0\r\n\r\n'),
    'a NUL behind it': post('Transfer-Encoding: chunked\0\r\n', '0\r\n\r\n'),
    'obs-text behind it': post('Transfer-Encoding: chunked\xa0\r\n', '0\r\n\r\n'),
    'a name with a letter above 0x7F': post('Transfer-Encod\xb9ng: chunked\r\n', '0\r\n\r\n'),
    empty: post('Transfer-Encoding:\r\n', 'hello'),
    'in HTTP/1.0': `POST /queue/v1/x HTTP/1.0\r\n${HOST}${CHUNKED}\r\n0\r\n\r\n`,
  },
  'line ends': {
    'a bare LF after a field': post('X-A: b\nContent-Length: 5\r\n', 'hello'),
    'bare LFs only': 'GET /queue/v1/x HTTP/1.1\nHost: taskcluster\n\n',
    'a bare LF at the end of the head': `GET /queue/v1/x HTTP/1.1\r\n${HOST}\n`,
    'a bare LF after the request line': `GET /queue/v1/x HTTP/1.1\n${HOST}\r\n`,
    'a bare LF before the request line': `\n${get('GET /queue/v1/x HTTP/1.1')}`,
    'a bare CR before the request line': `\r${get('GET /queue/v1/x HTTP/1.1')}`,
    'a bare CR after the request line': `GET /queue/v1/x HTTP/1.1\r${HOST}\r\n`,
    'a bare CR in the request line': get('GET /queue/v1/x\r HTTP/1.1'),
    'a bare CR in a value': post('X-A: b\rContent-Length: 5\r\n', 'hello'),
    'a bare CR in a name': post('X\rA: b\r\n'),
    'a CR before the line end': post('X-A: b\r\r\n'),
    'a CR before the last line end': `GET /queue/v1/x HTTP/1.1\r\n${HOST}\r\r\n`,
    'a NUL in a value': post('X-A: b\0c\r\n'),
    'DEL in a value': post('X-A: b\x7fc\r\n'),
    'a form feed in a value': post('X-A: b\x0cc\r\n'),
    'a NUL for a line': `GET /queue/v1/x HTTP/1.1\r\n${HOST}\0\r\n\r\n`,
  },
  folds: {
    'a space': post('X-A: b\r\n c\r\n'),
    'a tab': post('X-A: b\r\n\tc\r\n'),
    'a length behind it': post('X-A: b\r\n Content-Length: 5\r\n', 'hello'),
    'white space alone': post('X-A: b\r\n \r\n'),
    'within Transfer-Encoding': post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'),
    'within Content-Length': post('Content-Length:\r\n 5\r\n', 'hello'),
    'within Host': 'GET /queue/v1/x HTTP/1.1\r\nHost:\r\n taskcluster\r\n\r\n',
    'before the first field': `GET /queue/v1/x HTTP/1.1\r\n ${HOST}\r\n`,
    'a tab before the first field': `GET /queue/v1/x HTTP/1.1\r\n\t${HOST}\r\n`,
  },
  names: {
    'a space before the colon': post('Content-Length : 5\r\n', 'hello'),
    'a tab before the colon': post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n'),
    'a space within': post('Content Length: 5\r\n', 'hello'),
    'no colon': post('Content-Length\r\n', 'hello'),
    'an equals sign for the colon': post('Content-Length= 5\r\n', 'hello'),
    empty: post(': 5\r\n', 'hello'),
    'above 0x7F': post('Content-Length\xa0: 5\r\n', 'hello'),
    'a NUL': post('Content-Length\0: 5\r\n', 'hello'),
    'a quote': post('"Content-Length": 5\r\n', 'hello'),
    'a slash': post('X/A: 5\r\n'),
    'a colon before it': post(':Content-Length: 5\r\n', 'hello'),
    'a pseudo-field of HTTP/2': post(':path: /queue/v1/y\r\n'),
  },
  'request lines': {
    'two spaces after the method': get('GET  /queue/v1/x HTTP/1.1'),
    'two spaces before the version': get('GET /queue/v1/x  HTTP/1.1'),
    'a tab': get('GET\t/queue/v1/x HTTP/1.1'),
    'a space in the target': get('GET /queue/v1/x y HTTP/1.1'),
    'a space before the method': get(' GET /queue/v1/x HTTP/1.1'),
    'a space behind the version': get('GET /queue/v1/x HTTP/1.1 '),
    'a space before the first line': ` \r\n${get('GET /queue/v1/x HTTP/1.1')}`,
    'no target': get('GET HTTP/1.1'),
    'an empty target': get('GET  HTTP/1.1'),
    'a method that is no token': get('G(T /queue/v1/x HTTP/1.1'),
    'a method in quotes': get('"GET" /queue/v1/x HTTP/1.1'),
    'a method above 0x7F': get('G\xc9T /queue/v1/x HTTP/1.1'),
    'no method': get('/queue/v1/x HTTP/1.1'),
    'a NUL in the target': get('GET /queue/v1/x\0 HTTP/1.1'),
    'a fragment': get('GET /queue/v1/x#y HTTP/1.1'),
    'a byte above 0x7F': get('GET /queue/v1/\xe9 HTTP/1.1'),
    'angle brackets': get('GET /queue/v1/<x> HTTP/1.1'),
  },
  versions: {
    none: get('GET /queue/v1/x'),
    'none, and no fields': 'GET /queue/v1/x\r\n\r\n',
    'lower case': get('GET /queue/v1/x http/1.1'),
    '0.9': get('GET /queue/v1/x HTTP/0.9'),
    '1.2': get('GET /queue/v1/x HTTP/1.2'),
    '2': get('GET /queue/v1/x HTTP/2'),
    '2.0': get('GET /queue/v1/x HTTP/2.0'),
    '1.10': get('GET /queue/v1/x HTTP/1.10'),
    '01.1': get('GET /queue/v1/x HTTP/01.1'),
    '1.01': get('GET /queue/v1/x HTTP/1.01'),
    '1': get('GET /queue/v1/x HTTP/1'),
    '1.': get('GET /queue/v1/x HTTP/1.'),
    '1,1': get('GET /queue/v1/x HTTP/1,1'),
    '-1.1': get('GET /queue/v1/x HTTP/-1.1'),
    'a space within': get('GET /queue/v1/x HTTP/ 1.1'),
    'another protocol': get('GET /queue/v1/x ICAP/1.1'),
  },
  hosts: {
    none: 'GET /queue/v1/x HTTP/1.1\r\nX-A: b\r\n\r\n',
    two: get('GET /queue/v1/x HTTP/1.1', HOST),
    'two that differ': get('GET /queue/v1/x HTTP/1.1', 'Host: other\r\n'),
    'a list': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster, other\r\n\r\n',
    'a path': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster/x\r\n\r\n',
    'a user': 'GET /queue/v1/x HTTP/1.1\r\nHost: me@taskcluster\r\n\r\n',
    'a space': 'GET /queue/v1/x HTTP/1.1\r\nHost: task cluster\r\n\r\n',
    'two ports': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster:80:81\r\n\r\n',
    'a port that is none': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster:x\r\n\r\n',
    'a fragment': 'GET /queue/v1/x HTTP/1.1\r\nHost: taskcluster#x\r\n\r\n',
    'a scheme': 'GET /queue/v1/x HTTP/1.1\r\nHost: http://taskcluster\r\n\r\n',
  },
  upgrades: {
    'both lengths': post(`Connection: Upgrade\r\nUpgrade: x\r\n${FIVE}${CHUNKED}`, '0\r\n\r\n'),
    'another coding': post('Connection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: gzip\r\n', 'h'),
  },
};

/** Bodies that end a message too early, behind a valid head. */
const REFUSED_CHUNKS: Record<string, string> = {
  'no size': '\r\nhello\r\n0\r\n\r\n',
  'a size that is no number': 'g\r\nhello\r\n0\r\n\r\n',
  'a size with a letter behind it': '5g\r\nhello\r\n0\r\n\r\n',
  'a negative size': '-5\r\nhello\r\n0\r\n\r\n',
  'a size with a plus': '+5\r\nhello\r\n0\r\n\r\n',
  'a size with 0x': '0x5\r\nhello\r\n0\r\n\r\n',
  'a size with an underscore': '0_5\r\nhello\r\n0\r\n\r\n',
  'a size in quotes': '"5"\r\nhello\r\n0\r\n\r\n',
  'a space before the size': ' 5\r\nhello\r\n0\r\n\r\n',
  'a space behind the size': '5 \r\nhello\r\n0\r\n\r\n',
  'a tab behind the size': '5\t\r\nhello\r\n0\r\n\r\n',
  'a second number': '5 6\r\nhello\r\n0\r\n\r\n',
  'a NUL behind the size': '5\0\r\nhello\r\n0\r\n\r\n',
  'a size over 64 bits': '10000000000000005\r\nhello\r\n0\r\n\r\n',
  'a size over 16 digits': '00000000000000005\r\nhello\r\n0\r\n\r\n',
  'a bare LF after the size': '5\nhello\r\n0\r\n\r\n',
  'a bare CR after the size': '5\rhello\r\n0\r\n\r\n',
  'a CR before the line end': '5\r\r\nhello\r\n0\r\n\r\n',
  'a bare LF after the data': '5\r\nhello\n0\r\n\r\n',
  'a bare CR after the data': '5\r\nhello\r0\r\n\r\n',
  'nothing after the data': '5\r\nhello0\r\n\r\n',
  'two line ends after the data': '5\r\nhello\r\n\r\n0\r\n\r\n',
  'data longer than its size': '5\r\nhello!\r\n0\r\n\r\n',
  'two bytes too many': '5\r\nhelloXX0\r\n\r\n',
  'a bare LF in an extension': '5;a=b\nc\r\nhello\r\n0\r\n\r\n',
  'a bare LF that ends an extension': '5;a\nhello\r\n0\r\n\r\n',
  'a bare CR in an extension': '5;a=b\rc\r\nhello\r\n0\r\n\r\n',
  'a bare LF in a quoted extension': '5;a="b\nc"\r\nhello\r\n0\r\n\r\n',
  'a NUL in an extension': '5;a=\0\r\nhello\r\n0\r\n\r\n',
  'extensions over 64 KiB': `5;${'a'.repeat(70_000)}\r\nhello\r\n0\r\n\r\n`,
  'a bare LF after the last size': '5\r\nhello\r\n0\n\n',
  'a bare LF at the end': '5\r\nhello\r\n0\r\n\n',
  'a bare CR at the end': '5\r\nhello\r\n0\r\n\r\r\n',
  'a minus before the last size': '5\r\nhello\r\n-0\r\n\r\n',
  'a bare LF after a trailer': '5\r\nhello\r\n0\r\nX-A: b\n\n',
  'a bare CR in a trailer': '5\r\nhello\r\n0\r\nX-A: b\rc\r\n\r\n',
  'a NUL in a trailer': '5\r\nhello\r\n0\r\nX-A: \0\r\n\r\n',
  'a trailer without a colon': '5\r\nhello\r\n0\r\nX-A\r\n\r\n',
  'a trailer with a space before its colon': '5\r\nhello\r\n0\r\nX-A : b\r\n\r\n',
  'a folded trailer': '5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n',
  'trailers over 64 KiB': `5\r\nhello\r\n0\r\nX-A: ${'a'.repeat(70_000)}\r\n\r\n`,
};

interface Passed {
  sent: string;
  /** What upstream gets, without `Authorization`. */
  goes: string;
  /** The connection ends with it. */
  closes?: true;
}

const LENGTH_GOES = goes('content-length: 5\r\n', 'hello');
const CHUNKS_GO = goes('transfer-encoding: chunked\r\n', TEXT);
const length = (fields: string): Passed => ({ sent: post(fields, 'hello'), goes: LENGTH_GOES });
const chunks = (body: string): Passed => ({ sent: post(CHUNKED, body), goes: CHUNKS_GO });

/** Requests with one meaning, by class. */
const PASSED: Record<string, Record<string, Passed>> = {
  lengths: {
    one: length(FIVE),
    'another case': length('cOnTeNt-LENGTH: 5\r\n'),
    'no space before it': length('Content-Length:5\r\n'),
    'white space around it': length('Content-Length: \t 5 \t\r\n'),
    'leading zeros': length('Content-Length: 005\r\n'),
    'two equal ones': length(FIVE + FIVE),
    'two that are equal as numbers': length('Content-Length: 5\r\nContent-Length: 05\r\n'),
    'named by Connection': length(`Connection: content-length, Host\r\n${FIVE}`),
    'none on a POST': { sent: post(''), goes: goes('content-length: 0\r\n') },
    '0 on a POST': { sent: post('Content-Length: 0\r\n'), goes: goes('content-length: 0\r\n') },
    '00 on a POST': { sent: post('Content-Length: 00\r\n'), goes: goes('content-length: 0\r\n') },
    '0 on a GET': {
      sent: get('GET /queue/v1/x HTTP/1.1', 'Content-Length: 0\r\n'),
      goes: 'GET /api/queue/v1/x HTTP/1.1\r\nhost: upstream\r\ncontent-length: 0\r\n\r\n',
    },
    'a GET with a body': {
      sent: `${get('GET /queue/v1/x HTTP/1.1', FIVE)}hello`,
      goes: 'GET /api/queue/v1/x HTTP/1.1\r\nhost: upstream\r\ncontent-length: 5\r\n\r\nhello',
    },
    'a method of its own with a body': {
      sent: `${get('CATS /queue/v1/x HTTP/1.1', FIVE)}hello`,
      goes: 'CATS /api/queue/v1/x HTTP/1.1\r\nhost: upstream\r\ncontent-length: 5\r\n\r\nhello',
    },
    'a method in lower case': {
      sent: get('get /queue/v1/x HTTP/1.1'),
      goes: 'get /api/queue/v1/x HTTP/1.1\r\nhost: upstream\r\n\r\n',
    },
    'a body that looks like a request': {
      sent: post(`Content-Length: ${SMUGGLED.length}\r\n`, SMUGGLED),
      goes: goes(`content-length: ${SMUGGLED.length}\r\n`, SMUGGLED),
    },
    'a body that looks like chunks': {
      sent: post('Content-Length: 15\r\n', TEXT),
      goes: goes('content-length: 15\r\n', TEXT),
    },
    'an underscore in another name': {
      sent: post(`Content_Length: 9\r\n${FIVE}`, 'hello'),
      goes: goes('content_length: 9\r\ncontent-length: 5\r\n', 'hello'),
    },
  },
  codings: {
    chunked: chunks(TEXT),
    'another case': { sent: post('TRANSFER-encoding: ChUnKeD\r\n', TEXT), goes: CHUNKS_GO },
    'white space around it': {
      sent: post('Transfer-Encoding:\t chunked \t\r\n', TEXT),
      goes: CHUNKS_GO,
    },
    'named by Connection': {
      sent: post(`Connection: transfer-encoding\r\n${CHUNKED}`, TEXT),
      goes: CHUNKS_GO,
    },
    'TE names it': { sent: post(`TE: chunked\r\n${FIVE}`, 'hello'), goes: LENGTH_GOES },
    'an underscore in another name': {
      sent: post(`Transfer_Encoding: chunked\r\n${FIVE}`, 'hello'),
      goes: goes('transfer_encoding: chunked\r\ncontent-length: 5\r\n', 'hello'),
    },
    'a GET with chunks': {
      sent: get('GET /queue/v1/x HTTP/1.1', CHUNKED) + TEXT,
      goes: `GET /api/queue/v1/x HTTP/1.1\r\nhost: upstream\r\ntransfer-encoding: chunked\r\n\r\n${TEXT}`,
    },
  },
  chunks: {
    'leading zeros': chunks('0005\r\nhello\r\n000\r\n\r\n'),
    '16 digits': chunks('0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n'),
    'capital digits': {
      sent: post(CHUNKED, 'B\r\nhello, you!\r\n0\r\n\r\n'),
      goes: goes('transfer-encoding: chunked\r\n', 'B\r\nhello, you!\r\n0\r\n\r\n'),
    },
    extensions: chunks('5;a\r\nhello\r\n0;b=c\r\n\r\n'),
    'an extension in quotes': chunks('5;a="b;c"\r\nhello\r\n0\r\n\r\n'),
    'a quote that the line ends': chunks('5;a="\r\nhello\r\n0\r\n\r\n'),
    'an empty body': {
      sent: post(CHUNKED, '0\r\n\r\n'),
      goes: goes('transfer-encoding: chunked\r\n', '0\r\n\r\n'),
    },
    'data that looks like an end': {
      sent: post(CHUNKED, '5\r\n0\r\n\r\n\r\n0\r\n\r\n'),
      goes: goes('transfer-encoding: chunked\r\n', '5\r\n0\r\n\r\n\r\n0\r\n\r\n'),
    },
    'a trailer that was not announced': chunks('5\r\nhello\r\n0\r\nX-A: b\r\n\r\n'),
    'a trailer that would frame': chunks('5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n'),
    'a coding as a trailer': chunks(`5\r\nhello\r\n0\r\n${CHUNKED}\r\n`),
  },
  'line ends': {
    'an empty line before it': { sent: `\r\n${post(FIVE, 'hello')}`, goes: LENGTH_GOES },
    'more of them': { sent: `\r\n\r\n\r\n${post(FIVE, 'hello')}`, goes: LENGTH_GOES },
    'one behind a body': { sent: `${post(FIVE, 'hello')}\r\n`, goes: LENGTH_GOES },
    'NEL in a value': {
      sent: post(`X-A: b\x85c\r\n${FIVE}`, 'hello'),
      goes: goes('x-a: b\x85c\r\ncontent-length: 5\r\n', 'hello'),
    },
    'an empty value': {
      sent: post(`X-A:\r\n${FIVE}`, 'hello'),
      goes: goes('x-a: \r\ncontent-length: 5\r\n', 'hello'),
    },
  },
  targets: {
    'origin form': { sent: get('GET /queue/v1/x HTTP/1.1'), goes: goesTo('/api/queue/v1/x') },
    'absolute form': {
      sent: get('GET http://taskcluster/queue/v1/x?y HTTP/1.1'),
      goes: goesTo('/api/queue/v1/x?y'),
    },
    'absolute form, another case': {
      sent: get('GET HTTP://TASKCLUSTER/queue/v1/x HTTP/1.1'),
      goes: goesTo('/api/queue/v1/x'),
    },
    'absolute form, another Host': {
      sent: 'GET http://taskcluster/queue/v1/x HTTP/1.1\r\nHost: other\r\n\r\n',
      goes: goesTo('/api/queue/v1/x'),
    },
    'absolute form of https, with a port': {
      sent: get('GET https://taskcluster:443/queue/v1/x HTTP/1.1'),
      goes: goesTo('/api/queue/v1/x'),
    },
    'a URL in the path': {
      sent: get('GET /queue/v1/http://evil.example.com/ HTTP/1.1'),
      goes: goesTo('/api/queue/v1/http://evil.example.com/'),
    },
    'dots, slashes, encodings': {
      sent: get('GET /queue/v1//a/../%2e%2e/%2F/%00%0d%0a/\\;b?c=/../?&%23 HTTP/1.1'),
      goes: goesTo('/api/queue/v1//a/../%2e%2e/%2F/%00%0d%0a/\\;b?c=/../?&%23'),
    },
  },
  versions: {
    '1.0': {
      sent: get('GET /queue/v1/x HTTP/1.0'),
      goes: goesTo('/api/queue/v1/x'),
      closes: true,
    },
    '1.0 without Host': {
      sent: 'GET /queue/v1/x HTTP/1.0\r\n\r\n',
      goes: goesTo('/api/queue/v1/x'),
      closes: true,
    },
    '1.0 that stays': {
      sent: get('GET /queue/v1/x HTTP/1.0', 'Connection: keep-alive\r\n'),
      goes: goesTo('/api/queue/v1/x'),
    },
    '1.1 that closes': {
      sent: get('GET /queue/v1/x HTTP/1.1', 'Connection: close\r\n'),
      goes: goesTo('/api/queue/v1/x'),
      closes: true,
    },
  },
  upgrades: {
    'with a body, which upstream does not make': {
      sent: post(`Connection: Upgrade\r\nUpgrade: websocket\r\n${FIVE}`, 'hello'),
      goes: goes('connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n', 'hello'),
    },
    'with chunks': {
      sent: post(`Connection: Upgrade\r\nUpgrade: websocket\r\n${CHUNKED}`, TEXT),
      goes: goes(
        'connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n',
        TEXT,
      ),
    },
    'to HTTP/2, with a body': length(
      `Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n${FIVE}`,
    ),
    'that Connection does not name': length(`Upgrade: websocket\r\n${FIVE}`),
    'to TLS': length(`Connection: Upgrade\r\nUpgrade: h2c, TLS/1.0\r\n${FIVE}`),
  },
};

/**
 * Without the flag, requests go by bare sockets, except those that the proxy leaves to hyper; with
 * it, all go by hyper.
 */
const WIRES = { 'a bare socket': [], hyper: ['--upstream-http2'] };

async function start(t: ExecutionContext, flags: string[]) {
  const upstream = await startUpstream(t);
  const proxy = await startProxy(t, {
    rootUrl: upstream.url,
    flags: ['--retry-for', '0', ...flags],
  });
  return { upstream, proxy };
}

for (const [wire, flags] of Object.entries(WIRES)) {
  test(`by ${wire}: an ambiguous head gets 400 and the end of its connection`, async (t) => {
    const { upstream, proxy } = await start(t, flags);
    const failures = await tried(rowsOf(REFUSED), async (head) => {
      const answer = await conversation(proxy, head + SMUGGLED);
      const [first, ...others] = answer.match(/HTTP\/1\.[01] \d+/g) ?? [answer];
      return first === 'HTTP/1.1 400' && others.length === 0 ? [] : [`${first} ${others}`];
    });
    t.deepEqual(failures, []);
    t.deepEqual(
      upstream.exchanges.map(({ head }) => head.startLine),
      [],
    );
  });

  test(`by ${wire}: an ambiguous body never becomes a whole request`, async (t) => {
    const { upstream, proxy } = await start(t, flags);
    const whole: string[] = [];
    upstream.handler = async (exchange) => {
      whole.push(await received(exchange, upstream));
      await exchange.respond(200);
    };
    const rows = Object.entries(REFUSED_CHUNKS);
    const failures = await tried(rows, async (body) => {
      const answer = await conversation(proxy, post(CHUNKED, body) + SMUGGLED);
      const [first = '', ...others] = answer.match(/HTTP\/1\.[01] \d+/g) ?? [];
      const isRefused = ['', 'HTTP/1.1 400'].includes(first) && others.length === 0;
      return isRefused ? [] : [answer.slice(0, 20)];
    });
    t.deepEqual(failures, []);
    t.deepEqual(whole, []);
  });

  test(`by ${wire}: a request with one meaning goes upstream as its table says`, async (t) => {
    const { upstream, proxy } = await start(t, flags);
    let got: string[] = [];
    upstream.handler = async (exchange) => {
      got.push(await received(exchange, upstream));
      await exchange.respond(200);
    };
    const failures = await tried(rowsOf(PASSED), async (row) => {
      got = [];
      const bytes = row.sent + (row.closes ? SMUGGLED : NEXT);
      const answer = await conversation(proxy, bytes, !row.closes);
      const expected = row.closes ? [row.goes] : [row.goes, NEXT_GOES];
      const statuses = answer.match(/HTTP\/1\.[01] \d+/g) ?? [];
      const isAnswered =
        statuses.length === expected.length && statuses.every((each) => each.endsWith(' 200'));
      const isSame = got.join('\n') === expected.map(inOrder).join('\n');
      return isAnswered && isSame ? [] : [`${statuses.join(', ')}: ${JSON.stringify(got)}`];
    });
    t.deepEqual(failures, []);
    upstream.assertAllSigned(t);
  });
}

test('a target that is no path of this proxy is refused', async (t) => {
  const rows: Record<string, [line: string, status: number]> = {
    'absolute form of a public name': ['GET http://evil.example.com/queue/v1/x HTTP/1.1', 421],
    'absolute form without a path': ['GET http://taskcluster HTTP/1.1', 404],
    'absolute form, a query for the path': ['GET http://taskcluster?/queue/v1/x HTTP/1.1', 404],
    'a host that is told from the path': ['GET //taskcluster/queue/v1/x HTTP/1.1', 404],
    'absolute form with a user': ['GET http://me@taskcluster/queue/v1/x HTTP/1.1', 400],
    'absolute form of another scheme': ['GET ftp://taskcluster/queue/v1/x HTTP/1.1', 400],
    'authority form': ['GET taskcluster:80 HTTP/1.1', 400],
    CONNECT: ['CONNECT taskcluster:80 HTTP/1.1', 405],
    'the server as a whole': ['OPTIONS * HTTP/1.1', 400],
    'no slash': ['GET queue/v1/x HTTP/1.1', 400],
  };
  for (const flags of Object.values(WIRES)) {
    const { upstream, proxy } = await start(t, flags);
    const failures = await tried(Object.entries(rows), async ([line, status]) => {
      const answer = await conversation(proxy, get(line), true);
      const statuses = answer.match(/HTTP\/1\.[01] \d+/g) ?? [];
      return statuses.join() === `HTTP/1.1 ${status}` ? [] : [statuses.join()];
    });
    t.deepEqual(failures, []);
    t.is(upstream.exchanges.length, 0);
  }
});

function rowsOf<T>(table: Record<string, Record<string, T>>): [string, T][] {
  return Object.entries(table).flatMap(([kind, rows]) =>
    Object.entries(rows).map(([what, row]): [string, T] => [`${kind}: ${what}`, row]),
  );
}

/** Tries all rows, and gives the failures, each with the name of its row. */
async function tried<T>(rows: [string, T][], row: (each: T) => Promise<string[]>) {
  const failures: string[] = [];
  for (const [what, each] of rows) {
    failures.push(...(await row(each)).map((failure) => `${what}: ${failure}`));
  }
  return failures;
}

/** All that comes back until the proxy ends the connection; of itself where not `shutsDown`. */
async function conversation(proxy: RunningProxy, bytes: string, shutsDown = false) {
  const connection = await proxy.connect();
  try {
    // The proxy may end it while this is still being sent.
    await connection.send(bytes).catch(() => {});
    if (shutsDown) {
      connection.end();
    }
    return (await connection.closed()).toString('latin1');
  } catch (error) {
    return String(error);
  } finally {
    connection.destroy();
  }
}

/** A request as it came, but for `Authorization` and the port in `Host`. */
async function received(exchange: Exchange, upstream: Upstream): Promise<string> {
  // Its body is read here, as it is on the wire.
  exchange.bodyChunks();
  const { reader } = exchange.connection;
  const head = exchange.head.raw
    .replace(/authorization: [^\r\n]*\r\n/, '')
    .replace(`127.0.0.1:${upstream.port}`, 'upstream');
  const parts = [inOrder(head)];
  if (exchange.framing === 'length') {
    const length = Number(value(exchange.fields, 'content-length'));
    parts.push((await reader.exactly(length)).toString('latin1'));
  }
  while (exchange.framing === 'chunked') {
    const line = (await reader.until('\r\n')).toString('latin1');
    const size = Number.parseInt(line, 16);
    const rest = size === 0 ? await reader.until('\r\n') : await reader.exactly(size + 2);
    parts.push(line, rest.toString('latin1'));
    if (size === 0) {
      break;
    }
  }
  return parts.join('');
}

/** A message with its field lines sorted: those of different names may change places. */
function inOrder(message: string): string {
  const end = message.indexOf('\r\n\r\n');
  const [start = '', ...lines] = message.slice(0, end).split('\r\n');
  return [start, ...lines.sort()].join('\r\n') + message.slice(end);
}
