// The smallest cases on which the wires once differed, or seemed to.
//
// What it is not: a generator (`script.ts`).
import type { Answer, Mutation, Request, Script } from './script.js';
import { PLAIN } from './upstream.js';

const ANSWER: Answer = { ...PLAIN, reason: 'OK', size: 0 };

function request(method: string, answer: Partial<Answer>): Request {
  return {
    method,
    version: '1.1',
    suffix: '',
    fields: [],
    framing: 'none',
    size: 0,
    mutations: [],
    answers: [{ ...ANSWER, ...answer }],
  };
}

/** The size of the only chunk becomes none. */
const BROKEN_CHUNK: Mutation = {
  at: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'.length,
  how: 'replace',
  byte: 'Z',
};

/** Each answer is read before the next request, and the client's end comes behind the last. */
const IN_TURN: Omit<Script, 'requests'> = {
  pipelined: false,
  cuts: [],
  readsAfterMs: 0,
  shutsDown: false,
  leaves: 'no',
};

const PIPELINED: Omit<Script, 'requests'> = { ...IN_TURN, pipelined: true, shutsDown: true };

/** A malformed answer: this byte of its head is another one. */
function malformed(at: number, byte: string): Script {
  const mutations: Mutation[] = [{ at, how: 'replace', byte }];
  return { ...IN_TURN, requests: [request('GET', { mutations, ends: 'end' })] };
}

export const FOUND: Script[] = [
  // Only the connection's end ends the answer, though the client asked to keep the connection.
  {
    ...IN_TURN,
    requests: [
      {
        ...request('GET', { framing: 'close', size: 1, ends: 'end' }),
        version: '1.0',
        fields: [['Connection', 'keep-alive']],
      },
    ],
  },
  // Both wires name the malformed part in the same sentence: the version, the status, the name of a field,
  // the length.
  malformed('HTTP/'.length, '2'),
  malformed('HTTP/1.1 '.length, 'Z'),
  malformed('HTTP/1.1 200 OK\r\n'.length, ' '),
  malformed('HTTP/1.1 200 OK\r\nContent-Length: '.length, 'Z'),
  // And so is an answer of HTTP/1.0 with a transfer coding.
  {
    ...IN_TURN,
    requests: [request('GET', { version: '1.0', framing: 'chunked', size: 1, ends: 'end' })],
  },
  // A changed byte turns the final answer into an interim one: no other wire passes it on.
  {
    ...IN_TURN,
    requests: [
      request('GET', {
        mutations: [{ at: 'HTTP/1.1 '.length, how: 'replace', byte: '1' }],
        ends: 'end',
      }),
    ],
  },
  // The first answer has no body, so that the connection's end does not tell its end: it is whole,
  // though the next one breaks off, of which hyper passes on nothing.
  {
    ...PIPELINED,
    requests: [
      request('HEAD', { framing: 'close', ends: 'end' }),
      request('GET', { framing: 'chunked', size: 1, mutations: [BROKEN_CHUNK], ends: 'end' }),
    ],
  },
  // Upstream gets another method, and its answer has a body, which is not chunked in the same way.
  {
    ...PIPELINED,
    requests: [
      {
        ...request('HEAD', { framing: 'close', size: 8_174, ends: 'end' }),
        mutations: [{ at: 0, how: 'replace', byte: '+' }],
      },
    ],
  },
];
