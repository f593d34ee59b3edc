/**
 * Answers bytes that are no HTTP request: what the parser refuses reaches no route. The answer has the shape of every
 * other error, and the connection ends, since no reader can tell where the next request begins.
 */
import { maxHeaderSize, type Server, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { ApiError, errorBody } from './api/errors.js';

/** To be called once for a server. */
export function answerMalformed(server: Server): void {
  const answers = new WeakMap<Duplex, ServerResponse>();
  server.on('request', ({ socket }, response) => answers.set(socket, response));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    const answer = answers.get(socket);
    const isAnswering = answer?.headersSent === true && !answer.writableFinished;
    const refusal = refusalOf(error.code ?? '');
    if (refusal !== undefined && socket.writable && !isAnswering) {
      socket.end(messageOf(refusal), () => socket.destroy());
    } else {
      socket.destroy();
    }
  });
}

/** Undefined for a connection that was lost, or on which nothing came. */
function refusalOf(code: string): ApiError | undefined {
  if (code === 'HPE_HEADER_OVERFLOW') {
    const most = `${maxHeaderSize / 1024} KiB`;
    return new ApiError('InputTooLarge', `The head of the request is larger than ${most}`);
  }
  return code.startsWith('HPE_')
    ? new ApiError('InvalidRequestArguments', 'The request is not valid HTTP/1.1')
    : undefined;
}

function messageOf(error: ApiError): string {
  const body = JSON.stringify(errorBody(error, { method: 'unknown', params: {}, payload: {} }));
  return [
    `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
