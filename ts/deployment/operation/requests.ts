/**
 * Records each ended request for the log and the metrics. It also gives each request its id, which is the
 * answer's `x-for-request-id`, and the incident id of a fault.
 *
 * It records only the path of the target: queries contain signatures, bewits and codes.
 */
import { randomUUID } from 'node:crypto';
import type { Request, RequestHandler, Response } from 'express';

/** A request that has ended. */
export interface EndedRequest {
  readonly requestId: string;
  /** The caller's trace id, or a new one. */
  readonly traceId: string;
  readonly method: string;
  readonly path: string;
  /** `queue.claimWork`; absent for a request to no endpoint of the API. */
  readonly endpoint?: string;
  /** The client id, once a good signature has been checked. */
  readonly clientId?: string;
  /** Absent if the client left before the answer. */
  readonly status?: number;
  /** Bytes of the answer with its head, as far as sent. */
  readonly bytes: number;
  readonly milliseconds: number;
  readonly address: string;
}

/** Facts that the handlers of a request add to its record. */
interface Known {
  endpoint?: string;
  caller?: { readonly knownClientId: string | undefined };
}

const known = new WeakMap<Response, Known>();

/** Adds facts to the record of a request. */
export function note(response: Response, what: Known): void {
  const before = known.get(response);
  if (before !== undefined) {
    Object.assign(before, what);
  }
}

export interface RequestListener {
  onBegin(): void;
  onEnd(request: EndedRequest): void;
}

/** The middleware that observes requests; it must come before every handler. */
export function observe(listener: RequestListener): RequestHandler {
  return (request, response, next) => {
    const began = performance.now();
    const { 'x-taskcluster-trace-id': trace } = request.headers;
    const ids = {
      requestId: randomUUID(),
      traceId: typeof trace === 'string' ? trace : randomUUID(),
    };
    response.set({ 'x-for-trace-id': ids.traceId, 'x-for-request-id': ids.requestId });
    const { socket, ip: address = '' } = request;
    const sentBefore = socket.bytesWritten;
    const noted: Known = {};
    known.set(response, noted);
    listener.onBegin();
    response.once('close', () => {
      const clientId = noted.caller?.knownClientId;
      listener.onEnd({
        ...ids,
        method: request.method,
        path: pathOf(request),
        address,
        ...(noted.endpoint !== undefined && { endpoint: noted.endpoint }),
        ...(clientId !== undefined && { clientId }),
        ...(response.headersSent && { status: response.statusCode }),
        bytes: socket.bytesWritten - sentBefore,
        milliseconds: Math.round(performance.now() - began),
      });
    });
    next();
  };
}

function pathOf({ originalUrl }: Request): string {
  return originalUrl.split('?', 1)[0] ?? '';
}

/** The id that `observe` gave a request. */
export function requestIdOf(response: Response): string {
  return String(response.getHeader('x-for-request-id') ?? randomUUID());
}
