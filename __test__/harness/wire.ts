// HTTP/1.1 messages as bytes on a wire (RFC 9112): what was sent, in its order and spelling.
//
// Not a lenient parser: it takes apart what came and keeps all of it. Node's own parser stands
// between a test and the bytes (it joins repeated fields, refuses unknown methods), which is why
// the tests read for themselves where bytes are the subject.
import type { Readable } from 'node:stream';

/** Field lines in the order they came, names as they were spelled. */
export type Fields = [name: string, value: string][];

export interface Head {
  /** Request line or status line, without its line end. */
  readonly startLine: string;
  readonly fields: Fields;
  /** Everything up to and with the empty line. */
  readonly raw: string;
}

export type Framing = 'none' | 'length' | 'chunked' | 'close';

export interface Body {
  readonly framing: Framing;
  readonly bytes: Buffer;
  readonly trailers: Fields;
}

/** The stream ended before what was waited for had come. */
export class EndOfStream extends Error {
  override name = 'EndOfStream';
  readonly left: Buffer;

  constructor(left: Buffer) {
    super(`the connection ended with ${left.length} bytes of an unfinished message`);
    this.left = left;
  }
}

/** Reads from a socket on demand only, so that a test which does not read stops the sender. */
export class ByteReader {
  #chunks: AsyncIterator<Buffer>;
  #held: Buffer = Buffer.alloc(0);

  constructor(stream: Readable) {
    this.#chunks = stream.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  }

  /** What is held, or what comes next; null at the end. */
  async some(): Promise<Buffer | null> {
    if (this.#held.length > 0) {
      const held = this.#held;
      this.#held = Buffer.alloc(0);
      return held;
    }
    const next = await this.#chunks.next();
    return next.done ? null : next.value;
  }

  /** Up to and with the delimiter. */
  async until(delimiter: string): Promise<Buffer> {
    let searched = 0;
    for (;;) {
      const at = this.#held.indexOf(delimiter, searched, 'latin1');
      if (at >= 0) {
        return this.#take(at + delimiter.length);
      }
      searched = Math.max(0, this.#held.length - delimiter.length + 1);
      await this.#more();
    }
  }

  async exactly(length: number): Promise<Buffer> {
    while (this.#held.length < length) {
      await this.#more();
    }
    return this.#take(length);
  }

  /** At least one byte and at most `most`, as soon as there is any; throws at the end. */
  async upTo(most: number): Promise<Buffer> {
    while (this.#held.length === 0) {
      await this.#more();
    }
    return this.#take(Math.min(most, this.#held.length));
  }

  async rest(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let part = await this.some(); part !== null; part = await this.some()) {
      parts.push(part);
    }
    return Buffer.concat(parts);
  }

  #take(length: number): Buffer {
    const taken = this.#held.subarray(0, length);
    this.#held = this.#held.subarray(length);
    return taken;
  }

  async #more(): Promise<void> {
    const next = await this.#chunks.next();
    if (next.done) {
      throw new EndOfStream(this.#held);
    }
    this.#held = this.#held.length === 0 ? next.value : Buffer.concat([this.#held, next.value]);
  }
}

/** The next head; null where the stream ends before its first byte. */
export async function readHead(reader: ByteReader): Promise<Head | null> {
  try {
    const raw = (await reader.until('\r\n\r\n')).toString('latin1');
    const [startLine = '', ...lines] = raw.slice(0, -4).split('\r\n');
    return { startLine, fields: lines.map(fieldLine), raw };
  } catch (error) {
    if (error instanceof EndOfStream && error.left.length === 0) {
      return null;
    }
    throw error;
  }
}

export function values(fields: Fields, name: string): string[] {
  const wanted = name.toLowerCase();
  return fields.filter(([each]) => each.toLowerCase() === wanted).map(([, value]) => value);
}

export function value(fields: Fields, name: string): string | undefined {
  return values(fields, name)[0];
}

/** Names in lower case, each once, sorted. */
export function names(fields: Fields): string[] {
  return [...new Set(fields.map(([name]) => name.toLowerCase()))].sort();
}

/** How a body is framed; a response without either field ends with its connection. */
export function framingOf(head: Head, kind: 'request' | 'response'): Framing {
  if (value(head.fields, 'transfer-encoding')?.toLowerCase() === 'chunked') {
    return 'chunked';
  }
  if (value(head.fields, 'content-length') !== undefined) {
    return 'length';
  }
  return kind === 'request' ? 'none' : 'close';
}

/** The body's bytes as they come; trailers are pushed to `trailers` at its end. */
export async function* bodyOf(
  reader: ByteReader,
  head: Head,
  kind: 'request' | 'response',
  trailers: Fields = [],
): AsyncGenerator<Buffer> {
  const framing = framingOf(head, kind);
  if (framing === 'chunked') {
    yield* chunks(reader, trailers);
  } else if (framing === 'length') {
    yield* counted(reader, Number(value(head.fields, 'content-length')));
  } else if (framing === 'close') {
    for (let part = await reader.some(); part !== null; part = await reader.some()) {
      yield part;
    }
  }
}

export async function readBody(
  reader: ByteReader,
  head: Head,
  kind: 'request' | 'response',
): Promise<Body> {
  const trailers: Fields = [];
  const parts: Buffer[] = [];
  for await (const part of bodyOf(reader, head, kind, trailers)) {
    parts.push(part);
  }
  return { framing: framingOf(head, kind), bytes: Buffer.concat(parts), trailers };
}

async function* counted(reader: ByteReader, length: number): AsyncGenerator<Buffer> {
  for (let left = length; left > 0; ) {
    const part = await reader.upTo(left);
    left -= part.length;
    yield part;
  }
}

async function* chunks(reader: ByteReader, trailers: Fields): AsyncGenerator<Buffer> {
  for (;;) {
    const line = (await reader.until('\r\n')).toString('latin1');
    const size = Number.parseInt(line, 16);
    if (size === 0) {
      break;
    }
    yield* counted(reader, size);
    await reader.exactly(2);
  }
  for (;;) {
    const line = (await reader.until('\r\n')).toString('latin1').slice(0, -2);
    if (line === '') {
      return;
    }
    trailers.push(fieldLine(line));
  }
}

function fieldLine(line: string): [string, string] {
  const colon = line.indexOf(':');
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}
