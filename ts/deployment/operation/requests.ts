/**
 * What there is to tell of each request when it has ended: for the log and for metrics. It also gives
 * each its id, which the answer has as `x-for-request-id`, and a fault as its incident.
 *
 * Of the target the path alone is told: queries have signatures, bewits and codes in them.
 */
import { randomUUID } from 'node:crypto';
import type { Request, RequestHandler, Response } from 'express';

/** A request that has ended. */
export interface EndedRequest {
  readonly requestId: string;
  /** What the caller says that it belongs to, or one of its own. */
  readonly traceId: string;
  readonly method: string;
  readonly path: string;
  /** `queue.claimWork`; absent where no endpoint of the API was called. */
  readonly endpoint?: string;
  /** Who called, where the signature has been looked at and is good. */
  readonly clientId?: string;
  /** Absent where the client left before there was an answer. */
  readonly status?: number;
  /** Of the answer with its head, as far as it was sent. */
  readonly bytes: number;
  readonly milliseconds: number;
  readonly address: string;
}

/** What the parts that answer a request know of it. */
interface Known {
  endpoint?: string;
  caller?: { readonly knownClientId: string | undefined };
}

const known = new WeakMap<Response, Known>();

/** Says what is known of a request that is being answered. */
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

/** To be used before anything that answers. */
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
