// The upstream of generated cases: it answers each try of a request as the script says, and keeps
// what it got.
//
// What it is not: it decides nothing by the signature, which may be of any time; it tells what it is.
import { once } from 'node:events';
import net from 'node:net';
import { type Gate, gate } from '../deadline.js';
import { accessTokenOf, type Signature, splitAuthority, verifySignature } from '../signature.js';
import { ByteReader, bodyOf, type Fields, framingOf, type Head, readHead, value } from '../wire.js';
import { answerBytes, interimSent, NAMES, parts } from './bytes.js';
import type { Answer, Leaving, Script } from './script.js';

/** A request as upstream got it. */
export interface Got {
  startLine: string;
  fields: Fields;
  signature: Signature | Error;
  framing: string;
  body: Buffer;
  trailers: Fields;
  /** The body came to its end. */
  isWhole: boolean;
  /** Upstream had answered before it read the body. */
  isOvertaken: boolean;
  /** The interim answers that upstream sent it; null where a byte of one was changed. */
  interim: number[] | null;
}

/** What upstream knows of a case while it is played. */
interface Played {
  script: Script;
  /** By request, its tries. */
  got: Got[][];
  /** The client may leave: upstream has got, or sent, what comes before that. */
  reached: Gate;
}

/** Answers behind the script's own. */
export const PLAIN: Answer = {
  reads: 'before',
  interim: [],
  version: '1.1',
  status: 200,
  reason: 'Last',
  fields: [],
  framing: 'length',
  size: 4,
  chunk: 1000,
  extension: '',
  trailers: [],
  announces: false,
  extra: '',
  challenge: 'none',
  retryAfter: '',
  mutations: [],
  sent: 1000,
  cuts: [],
  ends: 'keep',
};

const PATH = new RegExp(`^\\S+ /api/x/v1/(\\d+)-(${NAMES.join('|')})`);

export class ScriptedUpstream {
  readonly server = net.createServer({ allowHalfOpen: true });
  readonly #open = new Set<net.Socket>();
  readonly #played = new Map<number, Played>();
  #strays: string[] = [];

  constructor() {
    this.server.on('connection', (socket) => {
      socket.setNoDelay(true);
      socket.on('error', () => {});
      this.#open.add(socket);
      socket.once('close', () => this.#open.delete(socket));
      void this.#serve(socket).catch(() => socket.destroy());
    });
  }

  async listen(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as net.AddressInfo).port}`;
  }

  close(): void {
    this.server.close();
    this.letGo();
  }

  /** Ends all connections, so that the next case begins without any. */
  letGo(): void {
    for (const socket of this.#open) {
      socket.destroy();
    }
  }

  /** Answers case `number` as `script` says from now on. */
  begin(number: number, script: Script): Played {
    const played = { script, got: script.requests.map(() => []), reached: gate() };
    this.#played.set(number, played);
    return played;
  }

  end(number: number): void {
    this.#played.delete(number);
  }

  /** The requests of no case that have come since this was asked. */
  takeStrays(): string[] {
    const strays = this.#strays;
    this.#strays = [];
    return strays;
  }

  async #serve(socket: net.Socket): Promise<void> {
    const reader = new ByteReader(socket);
    for (;;) {
      const head = await readHead(reader);
      const [, number = '', name = ''] = PATH.exec(head?.startLine ?? '') ?? [];
      if (head === null) {
        socket.destroy();
        return;
      }
      const played = this.#played.get(Number(number));
      const at = NAMES.indexOf(name);
      if (played?.script.requests[at] === undefined) {
        await this.#stray(socket, reader, head);
        return;
      }
      const goesOn = await this.#answer(socket, reader, head, played, at);
      if (!goesOn) {
        return;
      }
    }
  }

  /** Answers a request of no script, and none behind it. */
  async #stray(socket: net.Socket, reader: ByteReader, head: Head): Promise<void> {
    this.#strays.push(head.startLine);
    for await (const _ of bodyOf(reader, head, 'request')) {
      // An early answer leaves it to timing whether the connection goes on.
    }
    socket.end('HTTP/1.1 200 Stray\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    await reader.rest();
  }

  /** Answers one try; whether another request may come on the connection. */
  async #answer(
    socket: net.Socket,
    reader: ByteReader,
    head: Head,
    { script, got, reached }: Played,
    at: number,
  ): Promise<boolean> {
    const request = script.requests[at];
    const tries = got[at];
    if (request === undefined || tries === undefined) {
      throw new Error(`no request ${at} was sent`);
    }
    const leaves = at === script.requests.length - 1 && script.leaves !== 'no' && script.leaves;
    const answer = (!leaves && request.answers[tries.length]) || PLAIN;
    const isOvertaken = answer.reads === 'after';
    const { startLine, fields } = head;
    const framing = framingOf(head, 'request');
    const signature = await judge(head);
    const come = { startLine, fields, signature, framing, isOvertaken };
    const one: Got = { ...come, body: Buffer.alloc(0), trailers: [], isWhole: false, interim: [] };
    tries.push(one);
    if (leaves) {
      // Half a body of one byte is none.
      if (request.framing === 'none' || request.size < 2) {
        reached.open();
      }
      await stay(socket, reader, head, one, leaves, reached);
      return false;
    }
    if (!isOvertaken) {
      await readInto(one, reader, head);
    }
    const [method = ''] = head.startLine.split(' ');
    const bytes = answerBytes(answer, method, {
      ts: signedAt(head),
      accessToken: accessTokenOf('tests/permanent'),
    });
    one.interim = interimSent(answer, bytes);
    await sendCut(socket, bytes, answer.cuts);
    if (isOvertaken) {
      await readInto(one, reader, head);
    }
    if (answer.ends === 'end') {
      socket.end();
      await reader.rest();
    } else if (answer.ends === 'reset') {
      // Bytes that have been sent go first.
      await pass(5);
      socket.resetAndDestroy();
    }
    return answer.ends === 'keep';
  }
}

/** The time of a request's signature, in seconds since 1970. */
function signedAt(head: Head): number {
  return Number(/ts="(\d+)"/.exec(value(head.fields, 'authorization') ?? '')?.[1]);
}

/** What the signature says, or why it does not verify at the time that it names. */
async function judge(head: Head): Promise<Signature | Error> {
  const [method = '', target = ''] = head.startLine.split(' ');
  const authority = splitAuthority(value(head.fields, 'host') ?? '', 80);
  const authorization = value(head.fields, 'authorization') ?? '';
  const offsetMs = signedAt(head) * 1000 - Date.now();
  try {
    return await verifySignature({ method, target, ...authority, authorization }, { offsetMs });
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** Waits for the end of a request after its client leaves, and tells the client when. */
async function stay(
  socket: net.Socket,
  reader: ByteReader,
  head: Head,
  got: Got,
  leaves: Leaving,
  reached: Gate,
): Promise<void> {
  const where = leaves.split(' ').at(-1);
  if (where === 'request') {
    await readInto(got, reader, head, () => reached.open());
    return;
  }
  await readInto(got, reader, head);
  if (where === 'answer') {
    await sendCut(socket, Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart'), []);
  } else {
    reached.open();
  }
  await reader.rest();
}

/** Reads a request's body, as far as it comes; `begun` is called when a part of it is there. */
async function readInto(
  got: Got,
  reader: ByteReader,
  head: Head,
  begun: () => void = () => {},
): Promise<void> {
  const all: Buffer[] = [];
  try {
    for await (const part of bodyOf(reader, head, 'request', got.trailers)) {
      all.push(part);
      begun();
    }
    got.isWhole = true;
  } finally {
    got.body = Buffer.concat(all);
  }
}

export async function sendCut(
  socket: net.Socket,
  bytes: Buffer,
  cuts: Answer['cuts'],
): Promise<void> {
  for (const { part, pauseMs } of parts(bytes, cuts)) {
    await pass(pauseMs);
    await new Promise<void>((resolve, reject) => {
      socket.write(part, (error) => (error ? reject(error) : resolve()));
    });
  }
}

/** Lets so much time pass, or one turn of the event loop. */
export function pass(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    if (milliseconds === 0) {
      setImmediate(resolve);
    } else {
      setTimeout(resolve, milliseconds);
    }
  });
}
