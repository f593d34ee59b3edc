// Bodies that follow from a number, so that both ends of a transfer know every byte of it. A piece that
// is lost, repeated or moved shows where it stands, before the body has ended.
import { createCipheriv } from 'node:crypto';

/** A prime, so that no buffer of a usual size holds the same bytes twice in turn. */
const PERIOD = 1_048_573;

const BLOCK = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)).update(
  Buffer.alloc(PERIOD),
);

/** What is written at once. */
const PIECE = 64 * 1024;

/** A body that is not what it should be. */
export class Corrupt extends Error {
  override readonly name = 'Corrupt';
}

export class Payload {
  readonly length: number;
  readonly #offset: number;

  constructor(number: number, length: number) {
    this.#offset = (number * 7919) % PERIOD;
    this.length = length;
  }

  /** The bytes from `from` on, as many as lie together, at most `most`. */
  slice(from: number, most = PIECE): Buffer {
    const at = (this.#offset + from) % PERIOD;
    return BLOCK.subarray(at, Math.min(at + most, at + this.length - from, PERIOD));
  }

  *pieces(): Generator<Buffer> {
    for (let at = 0; at < this.length; ) {
      const piece = this.slice(at);
      yield piece;
      at += piece.length;
    }
  }

  whole(): Buffer {
    return Buffer.concat([...this.pieces()]);
  }

  /** A reader that is given what comes, piece by piece. */
  reader(): PayloadReader {
    return new PayloadReader(this);
  }

  /** Reads all of a stream, which has to be this. */
  async readAll(stream: AsyncIterable<Buffer>): Promise<void> {
    const reader = this.reader();
    for await (const piece of stream) {
      reader.take(piece);
    }
    reader.end();
  }
}

export class PayloadReader {
  readonly #payload: Payload;
  #at = 0;

  constructor(payload: Payload) {
    this.#payload = payload;
  }

  get isWhole(): boolean {
    return this.#at === this.#payload.length;
  }

  take(piece: Buffer): void {
    for (let read = 0; read < piece.length; ) {
      const expected = this.#payload.slice(this.#at, piece.length - read);
      if (this.#at >= this.#payload.length) {
        throw new Corrupt(`${piece.length - read} bytes more than the ${this.#payload.length}`);
      }
      if (!expected.equals(piece.subarray(read, read + expected.length))) {
        throw new Corrupt(`another byte behind byte ${this.#at} of ${this.#payload.length}`);
      }
      read += expected.length;
      this.#at += expected.length;
    }
  }

  /** The body has ended as if it were whole. */
  end(): void {
    if (!this.isWhole) {
      throw new Corrupt(`ended whole after ${this.#at} of ${this.#payload.length} bytes`);
    }
  }
}
