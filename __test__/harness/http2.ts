// HTTP/2 on both sides of the proxy: a prior-knowledge client, and an upstream over TLS that speaks
// nothing else. Both are Node's own.
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { ExecutionContext } from 'ava';
import type { Leaf } from './authority.js';
import { within } from './deadline.js';
import { type Signature, splitAuthority, verifySignature } from './signature.js';

export interface Http2Response {
  readonly status: number;
  readonly headers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly trailers: http2.IncomingHttpHeaders;
}

/** The stream was reset, or its connection broke. */
export class StreamBroken extends Error {
  override name = 'StreamBroken';
}

export class Http2Client {
  readonly session: http2.ClientHttp2Session;

  private constructor(session: http2.ClientHttp2Session) {
    this.session = session;
    // Streams tell the tests of an error; without a listener it would end the process.
    session.on('error', () => {});
  }

  static async connect(t: Pick<ExecutionContext, 'teardown'>, url: string): Promise<Http2Client> {
    const session = http2.connect(url);
    t.teardown(() => session.destroy());
    const client = new Http2Client(session);
    await within(once(session, 'connect'), `an HTTP/2 connection to ${url}`);
    return client;
  }

  /** A stream that is broken throws. */
  request(headers: http2.OutgoingHttpHeaders, body?: string | Buffer): Promise<Http2Response> {
    const stream = this.session.request(headers, { endStream: body === undefined });
    if (body !== undefined) {
      stream.end(body);
    }
    const answer = within(responseOf(stream), 'an answer');
    answer.catch(() => {});
    return answer;
  }

  /** The stream itself, where a test sends and reads piece by piece. */
  open(headers: http2.OutgoingHttpHeaders): http2.ClientHttp2Stream {
    return this.session.request(headers, { endStream: false });
  }
}

export function responseOf(stream: http2.ClientHttp2Stream): Promise<Http2Response> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let headers: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    let ended = false;
    stream.on('response', (each) => {
      headers = each;
    });
    stream.on('trailers', (each) => {
      trailers = each;
    });
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      ended = true;
    });
    stream.on('error', (error) => reject(new StreamBroken(error.message)));
    stream.on('close', () => {
      if (!ended || stream.rstCode !== http2.constants.NGHTTP2_NO_ERROR) {
        reject(new StreamBroken(`closed with code ${stream.rstCode}`));
      } else {
        const status = Number(headers[':status']);
        resolve({ status, headers, body: Buffer.concat(parts), trailers });
      }
    });
  });
}

/** One request that came to the HTTP/2 upstream. */
export interface Http2Exchange {
  readonly headers: http2.IncomingHttpHeaders;
  readonly stream: http2.ServerHttp2Stream;
  readonly signature: Signature | Error;
}

export type Http2Handler = (exchange: Http2Exchange) => void | Promise<void>;

export interface Http2Upstream {
  readonly url: string;
  readonly exchanges: Http2Exchange[];
  readonly sessions: http2.ServerHttp2Session[];
  handler: Http2Handler;
}

/** Judges the signature and reads the body: 200 and the body back, or 401 with hawk's reason. */
export async function echoOverHttp2({ stream, signature }: Http2Exchange): Promise<void> {
  const parts: Buffer[] = [];
  for await (const part of stream) {
    parts.push(part);
  }
  const failed = signature instanceof Error;
  stream.respond({ ':status': failed ? 401 : 200 });
  stream.end(failed ? signature.message : Buffer.concat(parts));
}

export async function startHttp2Upstream(
  t: Pick<ExecutionContext, 'teardown'>,
  leaf: Leaf,
  handler: Http2Handler = echoOverHttp2,
): Promise<Http2Upstream> {
  const server = http2.createSecureServer({ ...leaf, allowHTTP1: false });
  const exchanges: Http2Exchange[] = [];
  const sessions: http2.ServerHttp2Session[] = [];
  server.on('session', (session) => {
    session.on('error', () => {});
    sessions.push(session);
  });
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const upstream: Http2Upstream = { url, exchanges, sessions, handler };
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    void judge(headers).then((signature) => {
      const exchange = { headers, stream, signature };
      exchanges.push(exchange);
      return upstream.handler(exchange);
    });
  });
  t.teardown(() => {
    for (const session of sessions) {
      session.destroy();
    }
    server.close();
  });
  return upstream;
}

async function judge(headers: http2.IncomingHttpHeaders): Promise<Signature | Error> {
  try {
    return await verifySignature({
      method: headers[':method'] ?? '',
      target: headers[':path'] ?? '',
      ...splitAuthority(headers[':authority'] ?? '', 443),
      authorization: headers.authorization ?? '',
    });
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
