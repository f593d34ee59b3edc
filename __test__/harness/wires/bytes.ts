// The bytes of a script's messages.
import crypto from 'node:crypto';
import { Random } from '../random.js';
import type { Fields, Head } from '../wire.js';
import type { Answer, Cuts, Mutation, Request } from './script.js';

/** No message is cut behind this many bytes: heads and the beginnings of bodies matter. */
const CUT_LENGTH = 2_000;
const EVERYWHERE = Array.from({ length: 1000 }, (_, at) => ({ at, pauseMs: 0 }));

const random = new Random(1);
/** Longer than what is read or written at once, so that a part in another's place shows. */
const PATTERN = Buffer.from(Array.from({ length: 70_000 }, () => random.below(256)));

/** The clock by which a challenge is made. */
export interface Challenged {
  /** Seconds since 1970 that the request was signed with. */
  ts: number;
  accessToken: string;
}

/** The body of a request or an answer, which begins in another way than that of a size near it. */
export function bodyOfSize(size: number): Buffer {
  return Buffer.alloc(size, PATTERN.subarray(size % 256));
}

/**
 * The names of a script's requests, in their targets. No two changed bytes turn one name into
 * another.
 */
export const NAMES = ['one', 'two', 'six'];

export function requestBytes(request: Request, target: string): Buffer {
  const { method, version, framing, size } = request;
  const body = framing === 'none' ? Buffer.alloc(0) : bodyOfSize(size);
  const framed: Fields =
    framing === 'length'
      ? [['Content-Length', String(size)]]
      : framing === 'chunked'
        ? [['Transfer-Encoding', 'chunked']]
        : [];
  const fields: Fields = [['Host', 'taskcluster'], ...request.fields, ...framed];
  const text = `${method} ${target} HTTP/${version}\r\n${lines(fields)}\r\n`;
  const head = request.mutations.reduce(mutated, Buffer.from(text, 'latin1'));
  const end = framing === 'chunked' ? chunks(body, 10_000, '', []) : body;
  return Buffer.concat([head, end]);
}

/** An answer as upstream sends it, before it is cut. */
export function answerBytes(answer: Answer, method: string, challenged: Challenged): Buffer {
  const fields: Fields = [
    ...answer.fields,
    ...framingFields(answer),
    ...challenge(answer, challenged),
    ...(answer.retryAfter === '' ? [] : ([['Retry-After', answer.retryAfter]] as Fields)),
  ];
  const { version, status, reason } = answer;
  const head = `HTTP/${version} ${status} ${reason}\r\n${lines(fields)}\r\n`;
  const hasBody = method !== 'HEAD' && status !== 204 && status !== 304;
  const bytes = Buffer.concat([
    Buffer.from(answer.interim.map(interimHead).join('') + head, 'latin1'),
    hasBody ? framedBody(answer) : Buffer.alloc(0),
    Buffer.from(answer.extra, 'latin1'),
  ]);
  const changed = answer.mutations.reduce(mutated, bytes);
  return changed.subarray(0, Math.ceil((changed.length * answer.sent) / 1000));
}

/**
 * The statuses of the interim answers that are whole in `bytes`, an answer as upstream sends it; null where a
 * changed byte makes one of them, or of what follows, another one.
 */
export function interimSent({ interim, version, status }: Answer, bytes: Buffer): number[] | null {
  const sent: number[] = [];
  let at = 0;
  for (const text of [...interim.map(interimHead), `HTTP/${version} ${status} `]) {
    const came = bytes.toString('latin1', at, at + text.length);
    if (!text.startsWith(came)) {
      return null;
    }
    at += text.length;
    const whole = came === text ? interim[sent.length] : undefined;
    if (whole === undefined) {
      break;
    }
    sent.push(whole);
  }
  return sent;
}

/** An interim answer as the client gets it, by name in lower case. */
export function interimPassed(status: number): Pick<Head, 'startLine' | 'fields'> {
  const fields: Fields = [
    ['x-interim', String(status)],
    ['link', '</a>'],
    ['link', '</b>'],
  ];
  return { startLine: `HTTP/1.1 ${status} Interim`, fields };
}

/** An interim head with fields that stop at the proxy, and fields that pass. */
function interimHead(status: number): string {
  const fields: Fields = [
    ['X-Interim', String(status)],
    ['Connection', 'x-hop'],
    ['X-Hop', 'named by Connection'],
    ['Keep-Alive', 'timeout=5'],
    ['Link', '</a>'],
    ['Content-Length', '5'],
    ['link', '</b>'],
    ['X-Taskcluster-Endpoint', 'http://evil.example.com/'],
  ];
  return `HTTP/1.1 ${status} Interim\r\n${lines(fields)}\r\n`;
}

/** Whether nothing of the answer is odd: the script alone then tells what the client gets. */
export function isOrdinary(answer: Answer): boolean {
  return (
    answer.mutations.length === 0 &&
    answer.sent === 1000 &&
    !(answer.framing === 'close' && answer.ends === 'reset') &&
    !(answer.version === '1.0' && (answer.framing === 'chunked' || answer.framing === 'both')) &&
    !(answer.framing === 'close' && answer.extra !== '')
  );
}

/** The parts of `bytes` between the cuts, and the pause before each. */
export function parts(bytes: Buffer, cuts: Cuts): { part: Buffer; pauseMs: number }[] {
  const all = cuts === 'everywhere' ? EVERYWHERE : cuts;
  const length = Math.min(bytes.length, CUT_LENGTH);
  const places = all
    .map(({ at, pauseMs }) => ({ at: Math.floor((length * at) / 1000), pauseMs }))
    .sort((one, other) => one.at - other.at);
  let begin = 0;
  let pause = 0;
  const cut: { part: Buffer; pauseMs: number }[] = [];
  for (const { at, pauseMs } of [...places, { at: bytes.length, pauseMs: 0 }]) {
    if (at > begin) {
      cut.push({ part: bytes.subarray(begin, at), pauseMs: pause });
      begin = at;
    }
    pause = pauseMs;
  }
  return cut;
}

function lines(fields: Fields): string {
  return fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
}

function framingFields({ framing, size, trailers, announces }: Answer): Fields {
  const length: [string, string] = ['Content-Length', String(size)];
  const chunked: Fields = [
    ...(announces && trailers.length > 0 ? ([['Trailer', 'X-Sum']] as Fields) : []),
    ['Transfer-Encoding', 'chunked'],
  ];
  return {
    length: [length],
    chunked,
    close: [],
    both: [length, ...chunked],
    twice: [length, length],
    padded: [['content-length', `${size}, 0${size}`]] as Fields,
  }[framing];
}

function framedBody({ framing, size, chunk, extension, trailers }: Answer): Buffer {
  const body = bodyOfSize(size);
  const isChunked = framing === 'chunked' || framing === 'both';
  // A megabyte in chunks of one byte tests no more than a few such chunks do.
  const least = Math.max(chunk, Math.ceil(size / 500));
  return isChunked ? chunks(body, least, extension, trailers) : body;
}

function chunks(body: Buffer, most: number, extension: string, trailers: Fields): Buffer {
  const all: Buffer[] = [];
  for (let at = 0; at < body.length; at += most) {
    const data = body.subarray(at, at + most);
    all.push(Buffer.from(`${data.length.toString(16)}${extension}\r\n`), data, Buffer.from('\r\n'));
  }
  all.push(Buffer.from(`0\r\n${lines(trailers)}\r\n`, 'latin1'));
  return Buffer.concat(all);
}

function challenge({ challenge: kind }: Answer, { ts, accessToken }: Challenged): Fields {
  // The text is the same for two requests that are signed a second apart.
  const time = ts - (ts % 100) + 1_000;
  if (kind === 'none') {
    return [];
  }
  if (kind === 'date') {
    return [['Date', new Date(time * 1_000).toUTCString()]];
  }
  const key = kind === 'forged' ? 'another key' : accessToken;
  const mac = crypto.createHmac('sha256', key).update(`hawk.1.ts\n${time}\n`).digest('base64');
  return [['WWW-Authenticate', `Hawk ts="${time}", tsm="${mac}", error="Stale timestamp"`]];
}

function mutated(bytes: Buffer, { at, how, byte }: Mutation): Buffer {
  const place = at % Math.max(1, bytes.length);
  const before = bytes.subarray(0, place);
  const after = bytes.subarray(how === 'insert' ? place : place + 1);
  const put = how === 'remove' ? '' : byte;
  return Buffer.concat([before, Buffer.from(put, 'latin1'), after]);
}
