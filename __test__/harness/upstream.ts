// The upstream of the proxy in these tests: a server that records the bytes of every request, verifies its
// signature with npm `hawk`, and answers as the test says.
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import type { ExecutionContext } from 'ava';
import { Connection } from './connection.js';
import { type Gate, gate, within } from './deadline.js';
import { type Signature, splitAuthority, verifySignature } from './signature.js';
import {
  type Body,
  bodyOf,
  type Fields,
  type Framing,
  framingOf,
  type Head,
  readBody,
  readHead,
  value,
} from './wire.js';

export type Handler = (exchange: Exchange) => void | Promise<void>;

export interface UpstreamOptions {
  /** Answers 200 with `ok` where it is absent, and 401 where the signature does not verify. */
  handler?: Handler;
  /** Serves TLS with these; the protocol is HTTP/1.1. */
  tls?: tls.TlsOptions;
  /** How far the server's clock is ahead of this machine's. */
  clockOffsetMs?: number;
  /** Address to listen on. */
  host?: string;
}

export interface ResponseParts {
  reason?: string;
  fields?: Fields;
  body?: string | Buffer;
}

/** One request that upstream has got the head of, and the way to answer it. */
export class Exchange {
  readonly head: Head;
  readonly method: string;
  readonly target: string;
  readonly fields: Fields;
  readonly connection: Connection;
  /** Which connection it came by, counted from 1. */
  readonly connectionNumber: number;
  readonly at = Date.now();
  /** What the signature says, or why it does not verify. */
  readonly signature: Signature | Error;
  #body: Promise<Body> | undefined;
  #streamed = false;
  #answered = gate();
  #closed: Promise<void>;

  constructor(
    head: Head,
    connection: Connection,
    connectionNumber: number,
    signature: Signature | Error,
    closed: Promise<void>,
  ) {
    this.head = head;
    this.connection = connection;
    this.connectionNumber = connectionNumber;
    const [method = '', target = ''] = head.startLine.split(' ');
    this.method = method;
    this.target = target;
    this.fields = head.fields;
    this.signature = signature;
    this.#closed = closed;
  }

  /**
   * Whether it was signed between `began` and now, by a clock that is so far ahead. Times of signatures and
   * of `Date` are whole seconds.
   */
  wasSignedSince(began: number, aheadMs: number): boolean {
    const at = this.signed().ts * 1000 - aheadMs;
    return at > began - 2_000 && at <= Date.now() + 1_000;
  }

  get framing(): Framing {
    return framingOf(this.head, 'request');
  }

  /** Resolves once the first bytes of an answer are on their way. */
  get answered(): Promise<void> {
    return this.#answered.opened;
  }

  /** The signature, or its error thrown. */
  signed(): Signature {
    if (this.signature instanceof Error) {
      throw this.signature;
    }
    return this.signature;
  }

  body(): Promise<Body> {
    this.#body ??= readBody(this.connection.reader, this.head, 'request');
    return this.#body;
  }

  bodyChunks(trailers?: Fields): AsyncGenerator<Buffer> {
    this.#streamed = true;
    return bodyOf(this.connection.reader, this.head, 'request', trailers);
  }

  /** A whole answer with its Content-Length, unless `fields` frames it otherwise. */
  async respond(status: number, { reason = 'Test', fields = [], body = '' }: ResponseParts = {}) {
    const bytes = typeof body === 'string' ? Buffer.from(body, 'latin1') : body;
    const framed = value(fields, 'transfer-encoding') ?? value(fields, 'content-length');
    const lengthless = framed !== undefined || status === 204 || status === 304;
    const all: Fields = lengthless ? fields : [...fields, ['Content-Length', String(bytes.length)]];
    await this.sendHead(status, { reason, fields: all });
    await this.send(this.method === 'HEAD' ? '' : bytes);
  }

  /** Head only; what follows is sent by `send`. */
  async sendHead(status: number, { reason = 'Test', fields = [] }: ResponseParts = {}) {
    const lines = fields.map(([name, each]) => `${name}: ${each}\r\n`).join('');
    await this.send(`HTTP/1.1 ${status} ${reason}\r\n${lines}\r\n`);
  }

  /** These bytes as they are. */
  async send(bytes: string | Buffer): Promise<void> {
    await this.connection.send(bytes);
    this.#answered.open();
  }

  chunk(bytes: string): Promise<void> {
    return this.send(`${bytes.length.toString(16)}\r\n${bytes}\r\n`);
  }

  /** Resolves when the proxy closes the connection or breaks it; reads the body to notice. */
  async gone(): Promise<void> {
    const ended = this.body()
      .then(() => this.connection.reader.rest())
      .then(() => {})
      .catch(() => {});
    await Promise.race([this.#closed, ended]);
  }

  async finishBody(): Promise<void> {
    if (!this.#streamed) {
      await this.body();
    }
  }
}

export class Upstream {
  readonly server: net.Server;
  readonly options: UpstreamOptions;
  /** Every request in the order its head came. */
  readonly exchanges: Exchange[] = [];
  connections = 0;
  open = new Set<net.Socket>();
  handler: Handler;
  #waiting: { count: number; arrived: Gate<Exchange> }[] = [];

  constructor(server: net.Server, options: UpstreamOptions) {
    this.server = server;
    this.options = options;
    this.handler = options.handler ?? answerOk;
    server.on(options.tls ? 'secureConnection' : 'connection', (socket: net.Socket) => {
      this.open.add(socket);
      socket.once('close', () => this.open.delete(socket));
      void this.#serve(socket);
    });
    server.on('tlsClientError', () => {});
  }

  get port(): number {
    return (this.server.address() as net.AddressInfo).port;
  }

  /** `http://127.0.0.1:port`, or `https://localhost:port` where it serves TLS. */
  get url(): string {
    const host = this.options.host?.includes(':') ? `[${this.options.host}]` : '127.0.0.1';
    return this.options.tls ? `https://localhost:${this.port}` : `http://${host}:${this.port}`;
  }

  get last(): Exchange {
    const last = this.exchanges.at(-1);
    if (last === undefined) {
      throw new Error('no request has come to upstream');
    }
    return last;
  }

  /** The request with this number, counted from 1, as soon as its head has come. */
  nth(count: number): Promise<Exchange> {
    const there = this.exchanges[count - 1];
    if (there) {
      return Promise.resolve(there);
    }
    const arrived = gate<Exchange>();
    this.#waiting.push({ count, arrived });
    return within(arrived.opened, `request ${count} at upstream`);
  }

  /** The request that comes next after those that are here. */
  next(): Promise<Exchange> {
    return this.nth(this.exchanges.length + 1);
  }

  /** Fails unless every request bore a signature that verified, and no nonce came twice. */
  assertAllSigned(t: ExecutionContext): void {
    const nonces = this.exchanges.map((exchange) => exchange.signed().nonce);
    t.is(new Set(nonces).size, nonces.length, 'a nonce was used twice');
  }

  async #serve(socket: net.Socket): Promise<void> {
    socket.setNoDelay(true);
    this.connections += 1;
    const number = this.connections;
    const connection = Connection.over(socket);
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    try {
      for (;;) {
        const head = await readHead(connection.reader);
        if (head === null) {
          socket.end();
          return;
        }
        const exchange = new Exchange(head, connection, number, await this.#judge(head), closed);
        this.exchanges.push(exchange);
        this.#announce();
        await this.handler(exchange);
        await exchange.finishBody();
      }
    } catch {
      // The proxy broke the connection, or the handler did: tests look at what the client saw.
      socket.destroy();
    }
  }

  #announce(): void {
    for (const waiting of this.#waiting) {
      const exchange = this.exchanges[waiting.count - 1];
      if (exchange) {
        waiting.arrived.open(exchange);
      }
    }
  }

  async #judge(head: Head): Promise<Signature | Error> {
    const [method = '', target = ''] = head.startLine.split(' ');
    const authority = splitAuthority(value(head.fields, 'host') ?? '', this.options.tls ? 443 : 80);
    const authorization = value(head.fields, 'authorization') ?? '';
    try {
      return await verifySignature(
        { method, target, ...authority, authorization },
        { offsetMs: this.options.clockOffsetMs ?? 0 },
      );
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }
}

export async function startUpstream(
  t: Pick<ExecutionContext, 'teardown'>,
  options: UpstreamOptions | Handler = {},
): Promise<Upstream> {
  const settings = typeof options === 'function' ? { handler: options } : options;
  const server = settings.tls
    ? tls.createServer({ ALPNProtocols: ['http/1.1'], allowHalfOpen: true, ...settings.tls })
    : net.createServer({ allowHalfOpen: true });
  const upstream = new Upstream(server, settings);
  server.listen(0, settings.host ?? '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of upstream.open) {
      socket.destroy();
    }
  });
  return upstream;
}

/** Judges the signature and reads the body: 200, or 401 with hawk's reason and challenge. */
export async function answerOk(exchange: Exchange): Promise<void> {
  await exchange.body();
  if (exchange.signature instanceof Error) {
    await refuse(exchange, exchange.signature);
  } else {
    await exchange.respond(200, { body: 'ok' });
  }
}

/** 401 as a Hawk server gives it, with the timestamp challenge where hawk made one. */
export async function refuse(exchange: Exchange, reason: Error): Promise<void> {
  const { output } = reason as Error & {
    output?: { headers: Record<string, string | undefined> };
  };
  const challenge = output?.headers['WWW-Authenticate'] ?? 'Hawk';
  await exchange.respond(401, {
    fields: [['WWW-Authenticate', challenge]],
    body: reason.message,
  });
}
