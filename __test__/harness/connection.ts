// A client's TCP connection to the proxy that sends exactly the bytes it is given.
import { once } from 'node:events';
import net from 'node:net';
import { within } from './deadline.js';
import { ByteReader, type Fields, type Head, readBody, readHead } from './wire.js';

export interface RawResponse {
  readonly status: number;
  readonly reason: string;
  readonly fields: Fields;
  readonly body: Buffer;
  readonly trailers: Fields;
  /** Heads of the 1xx answers before it. */
  readonly interim: Head[];
}

export class Connection {
  readonly socket: net.Socket;
  readonly reader: ByteReader;
  #failure: Error | undefined;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    this.reader = new ByteReader(socket);
    // A reset shows where the test reads or writes; without a listener it would end the process.
    socket.on('error', (error) => {
      this.#failure = error;
    });
  }

  /** Stays half open when the other side ends: the tests decide who closes when. */
  static async open(port: number, host = '127.0.0.1'): Promise<Connection> {
    const socket = net.connect({ port, host, allowHalfOpen: true });
    socket.setNoDelay(true);
    await within(once(socket, 'connect'), `a connection to ${host}:${port}`);
    return new Connection(socket);
  }

  static over(socket: net.Socket): Connection {
    return new Connection(socket);
  }

  /** Text is sent as Latin-1, one byte a character. */
  send(bytes: string | Buffer): Promise<void> {
    const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes;
    return new Promise((resolve, reject) => {
      this.socket.write(buffer, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** The next final answer. `method` HEAD means that it has no body. */
  async response(method = 'GET', milliseconds?: number): Promise<RawResponse> {
    return within(this.#response(method), 'an answer', milliseconds);
  }

  async exchange(bytes: string | Buffer): Promise<RawResponse> {
    await this.send(bytes);
    const method = bytes.toString('latin1').split(' ', 1)[0];
    return this.response(method);
  }

  /** Resolves once the other side has closed, by FIN or RST, and gives what came before it. */
  async closed(milliseconds?: number): Promise<Buffer> {
    const rest = this.reader.rest().catch(() => Buffer.alloc(0));
    return within(rest, 'the end of the connection', milliseconds);
  }

  /** Shuts down writing and keeps reading. */
  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }

  /** Closes with RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  async #response(method: string): Promise<RawResponse> {
    const interim: Head[] = [];
    for (;;) {
      const head = await readHead(this.reader);
      if (head === null) {
        throw this.#failure ?? new Error('the connection was closed without an answer');
      }
      const [, status = '', reason = ''] =
        /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(head.startLine) ?? [];
      if (status.startsWith('1') && status !== '101') {
        interim.push(head);
        continue;
      }
      const bodiless = method === 'HEAD' || ['101', '204', '304'].includes(status);
      const { bytes, trailers } = bodiless
        ? { bytes: Buffer.alloc(0), trailers: [] }
        : await readBody(this.reader, head, 'response');
      return {
        status: Number(status),
        reason,
        fields: head.fields,
        body: bytes,
        trailers,
        interim,
      };
    }
  }
}
