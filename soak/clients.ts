// What the soak's clients do, each again and again: one exchange with the proxy, or a few, and whether
// they went as they should. What breaks in bad weather is counted; what breaks in fair weather, comes
// twice, or comes otherwise than it was sent, is a fault in any.
import { once } from 'node:events';
import http2 from 'node:http2';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '../__test__/harness/connection.js';
import type { Random } from '../__test__/harness/random.js';
import { verifyBewit } from '../__test__/harness/signature.js';
import { readHead } from '../__test__/harness/wire.js';
import { call, checkHead, Failed, open, type Request, signerNamedBy, Wrong } from './call.js';
import { Corrupt } from './payload.js';
import type { Site } from './site.js';
import { ABOUT, bodyDown, bodyUp, targetOf } from './upstream.js';

/** In seconds; longer than all the times together that the proxy waits. */
const PATIENCE = 60;
const PATIENCE_MS = PATIENCE * 1_000;

const MIB = 2 ** 20;
const METHODS = ['GET', 'PUT', 'POST', 'DELETE', 'PATCH'] as const;

type Exchange = (site: Site, random: Random) => Promise<void>;

/** Each with how often it is done beside the others. */
const EXCHANGES: readonly (readonly [often: number, exchange: Exchange])[] = [
  [10, small],
  [3, retried],
  [3, upload],
  [3, download],
  [2, refused],
  [4, pipelined],
  [3, streams],
  [4, cancelled],
  [2, tunnel],
  [1, bewit],
];

const ALL = EXCHANGES.flatMap(([often, exchange]) => Array.from({ length: often }, () => exchange));

/** One client, until `signal`. */
export async function work(site: Site, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await random.pick(ALL)(site, random);
    await sleep(random.below(site.pause), undefined, { signal }).catch(() => undefined);
  }
}

async function small(site: Site, random: Random): Promise<void> {
  const plan = { down: random.below(2_000), wait: random.chance(4) ? random.below(200) : 0 };
  const up = random.chance(2) ? random.between(1, 2_000) : 0;
  const method = up > 0 ? random.pick(METHODS.slice(1)) : random.pick(METHODS);
  const chunked = up > 0 && random.chance(4);
  await attempt(site, 'small', [{ number: site.next(), method, plan: { ...plan, up }, chunked }]);
}

/** Upstream answers 503 first. */
async function retried(site: Site, random: Random): Promise<void> {
  const plan = { up: random.pick([0, 500, 100_000]), down: 100, fails: random.between(1, 2) };
  await attempt(site, 'retried', [{ number: site.next(), method: 'POST', plan }]);
}

async function upload(site: Site, random: Random): Promise<void> {
  const plan = { up: random.between(100_000, 8 * MIB), down: 10 };
  const chunked = random.chance(2);
  const headers = random.chance(4) ? { expect: '100-continue' } : {};
  const method = random.pick(['PUT', 'POST']);
  await attempt(site, 'upload', [{ number: site.next(), method, plan, chunked, headers }]);
}

async function download(site: Site, random: Random): Promise<void> {
  const plan = { down: random.between(100_000, 8 * MIB), chunked: random.chance(2) };
  await attempt(site, 'download', [{ number: site.next(), method: 'GET', plan }]);
}

/** An upload that upstream does not want. */
async function refused(site: Site, random: Random): Promise<void> {
  const plan = { up: random.between(1_000, 4 * MIB), refuse: true };
  await attempt(site, 'refused', [{ number: site.next(), method: 'PUT', plan, isAlone: true }]);
}

/** Several requests at once on one connection, which the client may shut down for writing. */
async function pipelined(site: Site, random: Random): Promise<void> {
  const requests = Array.from({ length: random.between(2, 6) }, () => {
    const up = random.chance(3) ? random.below(1_000) : 0;
    const plan = { up, down: random.below(3_000), chunked: random.chance(3) };
    return { number: site.next(), method: random.pick(METHODS), plan };
  });
  const ends = random.chance(2);
  await attempt(site, 'pipelined', requests, async () => {
    const connection = await Connection.open(site.subject.port);
    try {
      await connection.send(Buffer.concat(requests.map(bytesOf)));
      if (ends) {
        connection.end();
      }
      for (const request of requests) {
        const { status, fields, body } = await connection.response(request.method, PATIENCE_MS);
        const headers = Object.fromEntries(
          fields.map(([name, each]) => [name.toLowerCase(), each]),
        );
        if (checkHead(site, request, status, headers)) {
          await bodyDown(request.number, request.plan.down).readAll(Readable.from([body]));
        }
      }
      if (ends && (await connection.closed(PATIENCE_MS)).length > 0) {
        throw new Wrong('more came than was asked for');
      }
    } finally {
      connection.destroy();
    }
  });
}

function bytesOf({ method, number, plan }: Request): Buffer {
  const body = bodyUp(number, plan.up ?? 0).whole();
  const lines = [
    `${method} ${targetOf(number, plan)} HTTP/1.1`,
    'Host: taskcluster',
    `Content-Length: ${body.length}`,
  ];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body]);
}

/** Streams of one HTTP/2 connection, some of which are given up. */
async function streams(site: Site, random: Random): Promise<void> {
  const requests = Array.from({ length: random.between(1, 12) }, () => {
    const up = random.chance(2) ? random.below(MIB) : 0;
    const plan = { up, down: random.below(MIB), chunked: random.chance(2) };
    return { number: site.next(), method: up > 0 ? 'PUT' : 'GET', plan };
  });
  const session = http2.connect(`http://127.0.0.1:${site.subject.port}`);
  let failure: Error | undefined;
  session.on('error', (error) => {
    failure = error;
  });
  await Promise.all(
    requests.map((request) => {
      const sent = stream(session, request);
      if (random.chance(4)) {
        site.ledger.add('stream given up');
        // With the code CANCEL.
        const abort = new DOMException('given up', 'AbortError');
        return sleep(random.below(100)).then(() => void sent.destroy(abort));
      }
      return attempt(site, 'stream', [request], () => readStream(site, request, sent));
    }),
  );
  if (failure !== undefined || session.destroyed) {
    site.ledger.fault(`${site.kind}: an HTTP/2 connection ended by itself: ${failure}`);
  }
  session.destroy();
}

function stream(session: http2.ClientHttp2Session, request: Request): http2.ClientHttp2Stream {
  const { method, number, plan } = request;
  const path = targetOf(number, plan);
  const body = bodyUp(number, plan.up ?? 0);
  const sent = session.request({ ':method': method, ':path': path }, { endStream: false });
  sent.on('error', () => {});
  Readable.from(body.pieces(), { objectMode: false }).pipe(sent);
  return sent;
}

async function readStream(
  site: Site,
  request: Request,
  sent: http2.ClientHttp2Stream,
): Promise<void> {
  const closed = once(sent, 'close');
  const [headers] = await Promise.race([
    once(sent, 'response') as Promise<[http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader]>,
    closed.then(() => Promise.reject(new Error(`reset with ${sent.rstCode}`))),
  ]);
  const has = checkHead(site, request, headers[':status'] ?? 0, headers);
  const reader = bodyDown(request.number, has ? (request.plan.down ?? 0) : 0).reader();
  for await (const piece of sent) {
    if (has) {
      reader.take(piece);
    }
  }
  await closed;
  if (sent.rstCode !== http2.constants.NGHTTP2_NO_ERROR) {
    throw new Error(`reset with ${sent.rstCode}`);
  }
  reader.end();
}

/** A client that leaves, while it sends, waits or reads. */
async function cancelled(site: Site, random: Random): Promise<void> {
  const plan = random.pick([
    { up: 2 * MIB, down: 10 },
    { up: 0, down: 4 * MIB },
    { up: 100, down: 100, wait: 300 },
    { up: 100, down: 100, fails: 2 },
  ]);
  const chunked = random.chance(2);
  const sent = open(site, { number: site.next(), method: 'PUT', plan, chunked });
  sent.on('response', (response) => {
    response.on('error', () => {});
    response.resume();
  });
  await sleep(random.below(150));
  sent.destroy();
  site.ledger.add('cancelled');
}

/** A tunnel to an echo, through which bytes pass both ways. */
async function tunnel(site: Site, random: Random): Promise<void> {
  const number = site.next();
  const body = bodyUp(number, random.between(1, 2 * MIB));
  await attempt(site, 'tunnel', [], async () => {
    const connection = await Connection.open(site.subject.port);
    try {
      const lines = ['Host: taskcluster', 'Connection: Upgrade', 'Upgrade: echo'];
      const head = [`GET ${targetOf(number)} HTTP/1.1`, ...lines].join('\r\n');
      await connection.send(`${head}\r\n\r\n`);
      await readSwitch(connection);
      const sending = pour(connection, body.pieces());
      const reader = body.reader();
      while (!reader.isWhole) {
        const piece = await connection.reader.some();
        if (piece === null) {
          throw new Failed('the tunnel ended');
        }
        reader.take(piece);
      }
      await sending;
      connection.end();
      if ((await connection.closed(PATIENCE_MS)).length > 0) {
        throw new Wrong('more came out of the tunnel than went in');
      }
    } finally {
      connection.destroy();
    }
  });
}

async function readSwitch(connection: Connection): Promise<void> {
  const head = await readHead(connection.reader);
  if (head === null) {
    throw new Failed('closed without an answer');
  }
  const headers = Object.fromEntries(head.fields.map(([name, each]) => [name.toLowerCase(), each]));
  if (!head.startLine.startsWith('HTTP/1.1 101 ')) {
    throw new Failed(head.startLine);
  }
  if (signerNamedBy(headers) !== headers[ABOUT.signer]) {
    throw new Wrong(`signed by ${headers[ABOUT.signer]}, which is not ${signerNamedBy(headers)}`);
  }
}

async function pour(connection: Connection, pieces: Iterable<Buffer>): Promise<void> {
  try {
    for (const piece of pieces) {
      await connection.send(piece);
    }
  } catch {
    // The reader gets the same error.
  }
}

async function bewit(site: Site): Promise<void> {
  await attempt(site, 'bewit', [], async () => {
    const answer = await fetch(`http://127.0.0.1:${site.subject.port}/bewit`, {
      method: 'POST',
      body: 'https://tc.example.com/x?y=z',
      redirect: 'manual',
    });
    const { clientId } = await verifyBewit(await answer.text());
    if (clientId !== signerNamedBy(Object.fromEntries(answer.headers))) {
      throw new Wrong(`signed by ${clientId}, which is not whom the answer names`);
    }
  });
}

/** Makes an exchange, by HTTP/1.1 where nothing else is said, and judges how it went. */
async function attempt(
  site: Site,
  what: string,
  requests: readonly Request[],
  exchange: () => Promise<void> = async () => {
    await Promise.all(requests.map((request) => call(site, request)));
  },
): Promise<void> {
  const { kind, ledger, weather } = site;
  const since = Date.now();
  const isFair = () => site.judgesFair && weather.wasFairSince(since);
  const tell = (sentence: string) =>
    ledger.fault(`${kind}: ${what} ${requests.map(({ number }) => number)}: ${sentence}`);
  try {
    await inTime(exchange());
    ledger.add(`${what} as it should`);
    if (isFair()) {
      checkArrivals(site, requests);
    }
  } catch (error) {
    const isFault = [Wrong, Corrupt, Late].some((each) => error instanceof each);
    if (isFault) {
      tell(`${error}`);
    } else if (isFair()) {
      tell(`failed in fair weather: ${error}`);
    } else {
      ledger.add(`${what} failed`);
    }
  }
  ledger.most(`longest ${what} in ms`, Date.now() - since);
}

/** In fair weather each request comes to upstream as often as it asked to be refused, and once more. */
function checkArrivals({ upstream, retries }: Site, requests: readonly Request[]): void {
  for (const { number, plan } of requests) {
    const expected = 1 + (retries ? (plan.fails ?? 0) : 0);
    const arrivals = upstream.arrivals(number);
    if (arrivals !== expected) {
      throw new Wrong(`request ${number} came to upstream ${arrivals} times, not ${expected}`);
    }
  }
}

class Late extends Error {
  override readonly name = 'Late';
}

/**
 * Counted in seconds that this process has run, so that no second counts in which the machine stood
 * still.
 */
async function inTime(exchange: Promise<void>): Promise<void> {
  const over = new AbortController();
  const late = async () => {
    for (let seconds = 0; seconds < PATIENCE; seconds += 1) {
      await sleep(1_000, undefined, { signal: over.signal });
    }
    throw new Late(`not over after ${PATIENCE} s`);
  };
  exchange.catch(() => {});
  try {
    await Promise.race([exchange, late()]);
  } finally {
    over.abort();
  }
}
