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

const PIPELINED: Omit<Script, 'requests'> = {
  pipelined: true,
  cuts: [],
  readsAfterMs: 0,
  shutsDown: true,
  leaves: 'no',
};

export const FOUND: Script[] = [
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
