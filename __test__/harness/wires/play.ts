// Plays a script before a proxy, and tells what it made of it: what the client got, what upstream
// got, the log and the counters.
//
// What it is not: it judges nothing (`compare.ts`), and knows no wire (`run.ts`).
import net from 'node:net';
import { gate, within } from '../deadline.js';
import { type RunningProxy, startProxy } from '../proxy.js';
import { ByteReader, bodyOf, type Fields, framingOf, type Head, readHead } from '../wire.js';
import { NAMES, requestBytes } from './bytes.js';
import type { Script } from './script.js';
import { type Got, pass, ScriptedUpstream, sendCut } from './upstream.js';

const FLAGS = [
  ...['--log-format', 'json', '--retry-first', '2ms', '--retry-cap', '4ms'],
  // Some bodies have to be longer than what is kept for another try.
  ...['--replay-limit', '64KiB'],
];

/** What a client got for a request. */
export interface Answered {
  status: number;
  reason: string;
  fields: Fields;
  framing: string;
  body: Buffer;
  trailers: Fields;
  /** The interim answers before it. */
  interim: Head[];
  /** It came to its end. */
  isWhole: boolean;
}

/** All that is seen of a case on one wire. */
export interface Seen {
  answers: Answered[];
  /** How the client's connection ended, and what came unasked before that. */
  end: string;
  got: Got[][];
  /** Requests that upstream got and the script does not have, as a changed byte may make one. */
  strays: string[];
  /** The lines of the log: target, status, bytes. */
  log: string[];
  counters: Record<string, number>;
}

interface Teardown {
  teardown(end: () => unknown): void;
}

/** One proxy, its upstream, and what has been read of its log and counters. */
export class Stage {
  readonly #upstream: ScriptedUpstream;
  readonly #proxy: RunningProxy;
  readonly #operator: ByteReader;
  readonly #asks: net.Socket;
  #asked = 0;
  /** Bytes of the answers to that. */
  #told = 0;
  #counters: Record<string, number> = {};

  private constructor(upstream: ScriptedUpstream, proxy: RunningProxy, asks: net.Socket) {
    this.#upstream = upstream;
    this.#proxy = proxy;
    this.#asks = asks;
    this.#operator = new ByteReader(asks);
  }

  /** A proxy with these flags. */
  static async open(t: Teardown, own: string[]): Promise<Stage> {
    const upstream = new ScriptedUpstream();
    await upstream.listen();
    t.teardown(() => upstream.close());
    const flags = [...FLAGS, ...own];
    const proxy = await startProxy(t as Parameters<typeof startProxy>[0], {
      rootUrl: upstream.url,
      flags,
    });
    const asks = net.connect(proxy.port, '127.0.0.1');
    t.teardown(() => asks.destroy());
    const stage = new Stage(upstream, proxy, asks);
    await stage.#settled();
    return stage;
  }

  /** Plays `script` as case `number`, which no case before has had. */
  async play(script: Script, number: number): Promise<Seen> {
    this.#proxy.log = '';
    const before = this.#counters;
    const played = this.#upstream.begin(number, script);
    try {
      const client = await within(
        clientOf(this.#proxy.port, script, number, played.reached.opened),
        'the end of the client',
      );
      await within(this.#settled(), 'the end of the requests');
      return {
        ...this.#judged(client),
        got: played.got,
        strays: this.#upstream.takeStrays(),
        log: this.#lines(),
        counters: changes(before, this.#counters),
      };
    } finally {
      this.#upstream.end(number);
      this.#upstream.letGo();
    }
  }

  /**
   * Node takes a reset that comes with the last bytes for an end. Where only the connection's end
   * tells that of an answer, the log says whether upstream broke off; `wires.test.ts` looks at the
   * reset itself.
   */
  #judged(client: Pick<Seen, 'answers' | 'end'>): Pick<Seen, 'answers' | 'end'> {
    const last = client.answers.at(-1);
    if (last?.framing !== 'close') {
      return client;
    }
    last.isWhole = !BROKE_OFF.test(this.#proxy.log);
    return { answers: client.answers, end: last.isWhole ? 'an end' : 'a break' };
  }

  /** A text of this stage without the parts that differ between stages. */
  neutral(text: string): string {
    return text
      .replaceAll(this.#upstream.url, 'http://upstream')
      .replaceAll(this.#upstream.url.slice('http://'.length), 'upstream');
  }

  /** Waits until no request runs and the log tells of all, and reads the counters. */
  async #settled(): Promise<void> {
    for (let pauseMs = 0; ; pauseMs = Math.min(50, pauseMs * 2 + 1)) {
      const counters = await this.#ask();
      this.#counters = counters;
      if (counters[RUNNING] === 1) {
        break;
      }
      await pass(pauseMs);
    }
    const mine = `"/__metrics__?${this.#asked}"`;
    while (!this.#proxy.log.includes(mine)) {
      await pass(1);
    }
  }

  async #ask(): Promise<Record<string, number>> {
    this.#asked += 1;
    this.#asks.write(`GET /__metrics__?${this.#asked} HTTP/1.1\r\nHost: taskcluster\r\n\r\n`);
    const head = await readHead(this.#operator);
    const text: Buffer[] = [];
    if (head !== null) {
      for await (const part of bodyOf(this.#operator, head, 'response')) {
        text.push(part);
      }
    }
    const lines = Buffer.concat(text).toString().split('\n');
    const numbers = lines.filter((line) => line !== '' && !line.startsWith('#'));
    const counters = Object.fromEntries(
      numbers.map((line) => {
        const [name = '', number = ''] = line.split(' ');
        return [name, Number(number)];
      }),
    );
    counters[OWN] = this.#asked;
    counters[OWN_BYTES] = this.#told;
    this.#told += Buffer.concat(text).length;
    return counters;
  }

  #lines(): string[] {
    // The last may not have come whole: it is one of the questions for the counters.
    const lines = this.#proxy.log.split('\n').slice(0, -1);
    return lines
      .map((line) => JSON.parse(line) as Record<string, unknown>)
      .filter(({ message }) => message === 'Proxying' || message === 'Answering')
      .filter(({ target }) => !String(target).startsWith('/__metrics__'))
      .map(({ message, target, method, status, bytes }) =>
        [message, method, target, status, bytes].join(' '),
      );
  }
}

/** Names for the number of requests for the counters so far, and for the bytes of their answers. */
const OWN = 'own requests';
const OWN_BYTES = 'own bytes';
const RUNNING = 'taskcluster_proxy_running_requests';
const BROKE_OFF = / broke off in the middle of its answer/;
const TOTAL = /_total(\{|$)/;

/** The counts between two readings, without the questions for the counters themselves. */
function changes(before: Record<string, number>, after: Record<string, number>) {
  const change = (name: string) => (after[name] ?? 0) - (before[name] ?? 0);
  const counted = Object.keys(after).filter((name) => TOTAL.test(name));
  const all = Object.fromEntries(counted.map((name) => [name, change(name)]));
  const ok = 'taskcluster_proxy_requests_total{class="2xx"}';
  const bytes = 'taskcluster_proxy_response_body_bytes_total';
  return {
    ...all,
    [ok]: (all[ok] ?? 0) - change(OWN),
    [bytes]: (all[bytes] ?? 0) - change(OWN_BYTES),
  };
}

async function clientOf(
  port: number,
  script: Script,
  number: number,
  reached: Promise<void>,
): Promise<Pick<Seen, 'answers' | 'end'>> {
  // It takes no more than is asked for: a reset would throw away what Node has taken and the client has not read.
  const options = { port, host: '127.0.0.1', allowHalfOpen: true, readableHighWaterMark: 1 };
  const socket = net.connect(options);
  socket.setNoDelay(true);
  const ended = gate<string>();
  socket.once('end', () => ended.open('an end'));
  socket.on('error', (error: NodeJS.ErrnoException) => ended.open(error.code ?? 'an error'));
  socket.once('close', () => ended.open('a close'));
  const reader = new ByteReader(socket);
  try {
    const answers: Answered[] = [];
    const isWhole = await converse(socket, reader, script, number, reached, answers);
    if (script.leaves !== 'no') {
      return { answers, end: 'the client left' };
    }
    const rest = await reader.rest().catch(() => Buffer.alloc(0));
    const more = isWhole && rest.length > 0 ? `, ${rest.length} bytes more` : '';
    return { answers, end: `${await ended.opened}${more}` };
  } finally {
    socket.destroy();
  }
}

/** Sends the requests and reads the answers into `answers`; whether the last came to its end. */
async function converse(
  socket: net.Socket,
  reader: ByteReader,
  script: Script,
  number: number,
  reached: Promise<void>,
  answers: Answered[],
): Promise<boolean> {
  const { requests, pipelined, readsAfterMs, leaves } = script;
  const bytes = requests.map((each, at) =>
    requestBytes(each, `/x/v1/${number}-${NAMES[at]}${each.suffix}`),
  );
  let sent: Promise<unknown> = Promise.resolve();
  const send = (some: Buffer, isLast: boolean) => {
    // Where the proxy ends the connection before, that shows where the client reads.
    sent = sendCut(socket, some, script.cuts).catch(() => {});
    if (isLast && script.shutsDown) {
      sent = sent.then(() => socket.end());
    }
  };
  if (pipelined) {
    send(Buffer.concat(bytes), true);
  }
  for (const [at, some] of bytes.entries()) {
    const isLast = at === requests.length - 1;
    if (isLast && leaves !== 'no') {
      await leave(socket, reader, leaves, some, reached);
      return false;
    }
    if (!pipelined) {
      send(some, isLast);
    }
    await pass(readsAfterMs);
    // The method as it was sent: a changed head may have another one.
    const [method = ''] = some.toString('latin1').split(' ');
    const answer = await readAnswer(reader, method);
    if (answer === null) {
      break;
    }
    answers.push(answer);
    if (!answer.isWhole) {
      return false;
    }
  }
  void sent.then(() => socket.end());
  return true;
}

/** Ends in the middle of a request. */
async function leave(
  socket: net.Socket,
  reader: ByteReader,
  leaves: string,
  request: Buffer,
  reached: Promise<void>,
): Promise<void> {
  const head = request.indexOf('\r\n\r\n') + 4;
  const half = head + Math.floor((request.length - head) / 2);
  const isWhole = !leaves.endsWith('request');
  await sendCut(socket, isWhole ? request : request.subarray(0, half), []);
  if (leaves.endsWith('answer')) {
    await reader.until('part');
  } else {
    await reached;
  }
  if (leaves.startsWith('resetting')) {
    socket.resetAndDestroy();
  } else {
    socket.destroy();
  }
}

/** The next answer as far as it comes; null where nothing of one does. */
async function readAnswer(reader: ByteReader, method: string): Promise<Answered | null> {
  const interim: Head[] = [];
  for (;;) {
    const head = await readHead(reader).catch(() => null);
    if (head === null) {
      return null;
    }
    const [, code = '', reason = ''] = /^HTTP\/1\.[01] (\d{3}) ?(.*)$/.exec(head.startLine) ?? [];
    const status = Number(code);
    if (status >= 100 && status < 200 && status !== 101) {
      interim.push(head);
      continue;
    }
    const trailers: Fields = [];
    const parts: Buffer[] = [];
    let isWhole = true;
    const hasBody = method !== 'HEAD' && status !== 204 && status !== 304;
    const stated = framingOf(head, 'response');
    // Without a body nothing ends with the connection (RFC 9112 6.3).
    const framing = stated === 'close' && !hasBody ? 'none' : stated;
    try {
      if (hasBody) {
        for await (const part of bodyOf(reader, head, 'response', trailers)) {
          parts.push(part);
        }
      }
    } catch {
      isWhole = false;
    }
    const body = Buffer.concat(parts);
    return { status, reason, fields: head.fields, framing, body, trailers, interim, isWhole };
  }
}
