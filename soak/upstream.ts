// The upstream of a soak: a server of Node's that judges every signature by npm `hawk`, compares every
// byte of a body with what it has to be, and answers as the request's target asks.
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Leaf } from '../__test__/harness/authority.js';
import { type Signature, splitAuthority, verifySignature } from '../__test__/harness/signature.js';
import type { Ledger } from './ledger.js';
import { Corrupt, Payload } from './payload.js';

/** What an upstream speaks. */
export const KINDS = ['plain', 'tls', 'http2'] as const;

export type Kind = (typeof KINDS)[number];

/** What a request asks of the upstream, in its target. */
export interface Plan {
  /** Bytes of the request's body, all of which have to come. */
  readonly up: number;
  /** Bytes of the answer's body. */
  readonly down: number;
  /** Whether the answer has no length. */
  readonly chunked: boolean;
  /** The number of requests that are answered 503 first. */
  readonly fails: number;
  /** Milliseconds before the answer. */
  readonly wait: number;
  /** Whether it is refused with 413, and its body not read. */
  readonly refuse: boolean;
}

/** What each answer says of its request. */
export const ABOUT = { number: 'x-soak-number', signer: 'x-soak-signer' } as const;

const NOTHING: Plan = { up: 0, down: 0, chunked: false, fails: 0, wait: 0, refuse: false };

/** The target of the request with this number. */
export function targetOf(number: number, plan: Partial<Plan> = {}): string {
  const { up, down, chunked, fails, wait, refuse } = { ...NOTHING, ...plan };
  const flags = `${chunked ? '&chunked' : ''}${refuse ? '&refuse' : ''}`;
  return `/soak/v1/${number}?up=${up}&down=${down}&fails=${fails}&wait=${wait}${flags}`;
}

/** The body that a request with this number has, and the one that answers it. */
export function bodyUp(number: number, length: number): Payload {
  return new Payload(2 * number, length);
}

export function bodyDown(number: number, length: number): Payload {
  return new Payload(2 * number + 1, length);
}

export class Upstream {
  readonly port: number;
  readonly #kind: Kind;
  readonly #server: Server;
  readonly #ledger: Ledger;
  readonly #sockets = new Set<Socket>();
  readonly #nonces = new Set<string>();
  /** How often the head of each request has come. */
  readonly #arrivals = new Map<number, number>();

  private constructor(kind: Kind, server: Server, ledger: Ledger) {
    this.#kind = kind;
    this.#server = server;
    this.#ledger = ledger;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on('upgrade', (request: http.IncomingMessage, socket: Socket) => {
      void this.#tunnel(request, socket);
    });
    server.on('request', (request: http.IncomingMessage, response: http.ServerResponse) => {
      void this.#serve(request, response);
    });
    for (const event of ['tlsClientError', 'clientError', 'sessionError', 'error']) {
      server.on(event, (_error: Error, socket?: { destroy?: () => void }) => socket?.destroy?.());
    }
  }

  static async start(kind: Kind, leaf: Leaf, ledger: Ledger): Promise<Upstream> {
    const server = makeServer(kind, leaf);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new Upstream(kind, server, ledger);
  }

  arrivals(number: number): number {
    return this.#arrivals.get(number) ?? 0;
  }

  stop(): void {
    this.#server.close();
    for (const socket of this.#sockets) {
      socket.destroy();
    }
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    request.on('error', () => {});
    response.on('error', () => {});
    try {
      await this.#answer(request, response);
    } catch (error) {
      if (error instanceof Corrupt) {
        this.#ledger.fault(`${this.#kind}: ${request.url}, at upstream: ${error.message}`);
      }
      // The connection has broken, or is to.
      response.destroy();
    }
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const asked = readTarget(request.url ?? '');
    const signature = await this.#judge(request);
    if (asked === undefined || signature === undefined) {
      this.#ledger.fault(`${this.#kind}: ${request.method} ${request.url} was never sent`);
      response.writeHead(400).end();
      return;
    }
    const { number, plan } = asked;
    const arrivals = this.arrivals(number) + 1;
    this.#arrivals.set(number, arrivals);
    const about = { [ABOUT.number]: `${number}`, [ABOUT.signer]: signature.clientId };
    if (plan.refuse) {
      response.writeHead(413, { ...about, 'content-length': '0' }).end();
      return;
    }
    await this.#readBody(request, bodyUp(number, plan.up));
    await sleep(plan.wait);
    if (arrivals <= plan.fails) {
      response.writeHead(503, { ...about, 'content-length': '0' }).end();
      return;
    }
    const length = plan.chunked ? {} : { 'content-length': `${plan.down}` };
    response.writeHead(200, { ...about, ...length });
    const body = Readable.from(bodyDown(number, plan.down).pieces(), { objectMode: false });
    await pipeline(body, response);
    this.#ledger.add('bytes down, at upstream', plan.down);
  }

  async #readBody(request: http.IncomingMessage, body: Payload): Promise<void> {
    const reader = body.reader();
    for await (const piece of request) {
      reader.take(piece);
      this.#ledger.add('bytes up, at upstream', piece.length);
    }
    // HTTP/2's compatibility API ends a body that was given up as one that is whole.
    if (!request.aborted) {
      reader.end();
    }
  }

  /** Sends everything back, once the connection is a tunnel. */
  async #tunnel(request: http.IncomingMessage, socket: Socket): Promise<void> {
    socket.on('error', () => {});
    const signature = await this.#judge(request);
    const lines = [
      'HTTP/1.1 101 Switching Protocols',
      'Connection: Upgrade',
      'Upgrade: echo',
      `${ABOUT.signer}: ${signature?.clientId}`,
    ];
    socket.write(`${lines.join('\r\n')}\r\n\r\n`);
    socket.pipe(socket);
  }

  /** The signature of a request. Without one that verifies and is new, the run has failed. */
  async #judge(request: http.IncomingMessage): Promise<Signature | undefined> {
    const { method = '', url: target = '', headers } = request;
    const authority = headers.host ?? String(headers[':authority'] ?? '');
    const { authorization = '' } = headers;
    const where = splitAuthority(authority, this.#kind === 'plain' ? 80 : 443);
    try {
      const signature = await verifySignature({ method, target, ...where, authorization });
      if (this.#nonces.has(signature.nonce)) {
        this.#ledger.fault(`${this.#kind}: the nonce of ${target} came twice`);
      }
      this.#nonces.add(signature.nonce);
      this.#ledger.add('signatures verified');
      return signature;
    } catch (error) {
      this.#ledger.fault(`${this.#kind}: ${method} ${target} does not verify: ${error}`);
      return undefined;
    }
  }
}

function makeServer(kind: Kind, leaf: Leaf): Server {
  switch (kind) {
    case 'plain':
      return http.createServer();
    case 'tls':
      // It never closes a connection that a request without another try may be about to take.
      return https.createServer({ ...leaf, keepAliveTimeout: 0 });
    case 'http2':
      return http2.createSecureServer({ ...leaf, allowHTTP1: true });
  }
}

function readTarget(target: string): { number: number; plan: Plan } | undefined {
  const [, number, query] = /^\/api\/soak\/v1\/(\d+)\?(.*)$/.exec(target) ?? [];
  if (number === undefined) {
    return undefined;
  }
  const asked = new URLSearchParams(query);
  const value = (name: string) => Number(asked.get(name) ?? 0);
  return {
    number: Number(number),
    plan: {
      up: value('up'),
      down: value('down'),
      fails: value('fails'),
      wait: value('wait'),
      chunked: asked.has('chunked'),
      refuse: asked.has('refuse'),
    },
  };
}
