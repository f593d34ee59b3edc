// One request to the proxy by HTTP/1.1, and what has to be true of its answer.
import { once } from 'node:events';
import http from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Payload } from './payload.js';
import type { Site } from './site.js';
import { ABOUT, bodyDown, bodyUp, type Plan, targetOf } from './upstream.js';

/** A fault that no bad weather excuses. */
export class Wrong extends Error {
  override readonly name = 'Wrong';
}

/**
 * A failure that bad weather excuses: there is no answer, or the proxy itself answers that there is
 * none.
 */
export class Failed extends Error {
  override readonly name = 'Failed';
}

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

export interface Request {
  readonly method: string;
  readonly number: number;
  readonly plan: Partial<Plan>;
  /** Whether the body goes out without its length. */
  readonly chunked?: boolean;
  readonly headers?: Record<string, string>;
  /** Whether it has a connection of its own, since the proxy may end that with the answer. */
  readonly isAlone?: boolean;
}

/** Sends it and reads all of its answer. */
export async function call(site: Site, request: Request): Promise<void> {
  const { number, plan } = request;
  const sent = open(site, request);
  const [response] = (await once(sent, 'response')) as [http.IncomingMessage];
  try {
    const has = checkHead(site, request, response.statusCode ?? 0, response.headers);
    await bodyDown(number, has ? (plan.down ?? 0) : 0).readAll(response);
  } catch (error) {
    // An answer that is not read keeps the connection from the agent for ever.
    response.resume();
    throw error;
  }
}

/** A request that is on its way. */
export function open(site: Site, request: Request): http.ClientRequest {
  const { method, number, plan, chunked = false, headers = {}, isAlone = false } = request;
  const body = bodyUp(number, plan.up ?? 0);
  // Node would leave both out for a DELETE.
  const length = chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': body.length };
  const sent = http.request({
    host: '127.0.0.1',
    port: site.subject.port,
    agent: isAlone ? false : site.agent,
    method,
    path: targetOf(number, plan),
    headers: { ...headers, ...length },
  });
  // A break shows where the answer is read.
  sent.on('error', () => {});
  void feed(sent, body);
  return sent;
}

async function feed(sent: http.ClientRequest, body: Payload): Promise<void> {
  // An answer that comes early ends it.
  await pipeline(Readable.from(body.pieces(), { objectMode: false }), sent).catch(() => {});
}

/**
 * Judges an answer by its head; tells whether it has the body that was asked for. A refusal that was
 * asked for has none.
 */
export function checkHead(
  { upstream, retries }: Site,
  { number, plan, method }: Pick<Request, 'number' | 'plan' | 'method'>,
  status: number,
  headers: Headers,
): boolean {
  const came = headers[ABOUT.number];
  if (came === undefined) {
    if (![502, 503, 504].includes(status)) {
      throw new Wrong(`${status}, and upstream has not answered`);
    }
    throw new Failed(`the proxy answered ${status}`);
  }
  if (came !== `${number}`) {
    throw new Wrong(`it is the answer to request ${came}`);
  }
  if (signerNamedBy(headers) !== headers[ABOUT.signer]) {
    throw new Wrong(`signed by ${headers[ABOUT.signer]}, which is not ${signerNamedBy(headers)}`);
  }
  const arrivals = upstream.arrivals(number);
  if (!retries && method === 'POST' && arrivals !== 1) {
    throw new Wrong(`a POST came to upstream ${arrivals} times without retries`);
  }
  const fails = plan.fails ?? 0;
  const expected = plan.refuse ? 413 : fails > 0 && !retries ? 503 : 200;
  if (status === 503 && expected === 200) {
    throw new Failed('no time was left for another try');
  }
  if (status !== expected) {
    throw new Wrong(`${status}, not ${expected}`);
  }
  return status === 200;
}

/** The client id that the proxy says has signed. */
export function signerNamedBy(headers: Headers): string | undefined {
  const [perm, temp] = ['perm', 'temp'].map(
    (kind) => headers[`x-taskcluster-proxy-${kind}-clientid`],
  );
  return [perm ?? temp].flat()[0];
}
