// What must be the same on both wires, and what need not be, with the reason.
//
// What it is not: it plays nothing.
import crypto from 'node:crypto';
import { type Fields, type Head, value, values } from '../wire.js';
import { bodyOfSize, interimPassed, isOrdinary } from './bytes.js';
import type { Answered, Seen, Stage } from './play.js';
import type { Request, Script } from './script.js';
import type { Got } from './upstream.js';

/**
 * Differences that are intended or depend on timing, each with its reason. The scripts leave out
 * whatever would make more than these depend on timing (`certain` in `script.ts`).
 */
const LEFT_OUT = {
  /** Each signature differs. Whether it verifies, and for which scopes, is compared. */
  requestFields: ['authorization'],
  /** The framing is compared apart: a body that only its end ends has chunks on its way here. */
  answerFields: ['content-length', 'transfer-encoding'],
  /** hyper joins what is repeated of it (RFC 9110 5.3), and keeps it before chunks alone. */
  trailer: 'trailer',
  /**
   * How many connections are opened depends on whether upstream's end has been seen by then, and so does
   * whether a try that meets it comes after a pause. Which tries upstream got is compared.
   */
  always: ['taskcluster_proxy_upstream_connections_total', 'taskcluster_proxy_retries_total'],
  /** How much has come of an answer that breaks off is a matter of time. */
  broken: ['taskcluster_proxy_response_body_bytes_total'],
  /**
   * So is how much of a request is taken behind its answer, upstream's or one made here from the head
   * alone, and whether another request may follow.
   */
  overtaken: ['taskcluster_proxy_request_body_bytes_total'],
  overtakenFields: ['connection'],
  /** So is how much of a request has come when its client leaves, or ends before what a changed head says. */
  torn: ['taskcluster_proxy_request_body_bytes_total'],
  /**
   * So is what is seen first: that such a client has left, or that its body is torn, which is 400.
   */
  left: [
    'taskcluster_proxy_requests_total{class="none"}',
    'taskcluster_proxy_requests_total{class="4xx"}',
  ],
  leftStatus: / (400)?$/,
};

/** A request with more fields than this goes by hyper (`HELD_FIELDS` in the proxy's `limits.rs`). */
const MOST_FIELDS = 100;

/** The proxy of each wire. */
export const WIRES = ['socket', 'hyper'] as const;

export type Wire = (typeof WIRES)[number];

/**
 * The differences between the wires in what was seen of `script`, and those from what the script
 * says.
 */
export function differences(
  script: Script,
  stages: Record<Wire, Stage>,
  seen: Record<Wire, Seen>,
): string[] {
  const [one, other] = WIRES;
  const most = Math.min(...WIRES.map((wire) => seen[wire].answers.length));
  const texts = WIRES.map((wire) =>
    told(script, seen[wire], most).map((line) => stages[wire].neutral(line)),
  );
  const [first = [], second = []] = texts;
  const differ =
    first.join('\n') === second.join('\n')
      ? []
      : [
          ...first.filter((line) => !second.includes(line)).map((line) => `${one}: ${line}`),
          ...second.filter((line) => !first.includes(line)).map((line) => `${other}: ${line}`),
          `${one} tells ${first.length} things, ${other} ${second.length}`,
        ];
  const faults = WIRES.flatMap((wire) =>
    faultsOf(script, wire, seen[wire]).map((fault) => `${wire}: ${fault}`),
  );
  return [...differ, ...faults];
}

/**
 * All of a sight that is compared, a line for each part. Of an answer that breaks off at once, hyper
 * may not even send the head: what is behind the first `most` answers counts where it is whole.
 */
function told(script: Script, seen: Seen, most: number): string[] {
  const { answers: all, end, strays, log, counters } = seen;
  const isLeft = script.leaves.endsWith('in the request');
  const isTorn = isLeft || isChanged(script);
  const got = certainTries(script, seen);
  const answers = all.filter(({ isWhole }, at) => isWhole || at < most);
  const isBroken =
    all.some(({ isWhole }) => !isWhole) ||
    all.length < seen.got.filter((tries) => tries.length > 0).length;
  const isEarly = (at: number) => got[at]?.at(-1)?.isOvertaken ?? strays.length === 0;
  // Of an answer that overtook its request and broke off at once, the client may have got nothing.
  const isOvertaken =
    answers.some((_, at) => isEarly(at)) || seen.got.some((tries) => tries.at(-1)?.isOvertaken);
  const without = [
    ...LEFT_OUT.always,
    ...(isBroken ? LEFT_OUT.broken : []),
    ...(isOvertaken ? LEFT_OUT.overtaken : []),
    ...(isTorn ? LEFT_OUT.torn : []),
    ...(isLeft ? LEFT_OUT.left : []),
  ];
  const counted = Object.entries(counters).filter(([name]) => !without.includes(name));
  return [
    ...answers.flatMap((answer, at) => answerLines(answer, `answer ${at}`, isEarly(at))),
    ...(isOvertaken || isBroken ? [] : [`the connection: ${end}`]),
    ...got.flatMap((tries, at) =>
      tries.map((each, number) => `request ${at}, try ${number}: ${requestLine(each)}`),
    ),
    ...strays.map((line) => `a request of no script: ${line}`),
    ...log.map((line) => `log: ${logLine(line, isBroken, isLeft)}`),
    ...counted.map(([name, number]) => `${name}: ${number}`),
  ];
}

function isChanged({ requests }: Script): boolean {
  return requests.some(({ mutations }) => mutations.length > 0);
}

/**
 * The tries of each request. Where a changed head says more than comes, it is a matter of time whether
 * any of that request goes to upstream.
 */
function certainTries(script: Script, { got }: Seen): Got[][] {
  return isChanged(script) ? got.map((tries) => tries.filter(({ isWhole }) => isWhole)) : got;
}

function logLine(line: string, isBroken: boolean, isLeft: boolean): string {
  const without = isBroken ? line.replace(/ \d+$/, '') : line;
  return isLeft ? without.replace(LEFT_OUT.leftStatus, '') : without;
}

function answerLines(answer: Answered, what: string, isOvertaken: boolean): string[] {
  const { status, reason, fields, framing, body, trailers, isWhole } = answer;
  const came = isWhole ? `${body.length} bytes ${digest(body)}` : 'broken off';
  const length = framing === 'length' ? value(fields, 'content-length') : framing;
  const without = [
    ...LEFT_OUT.answerFields,
    ...(isOvertaken ? LEFT_OUT.overtakenFields : []),
    ...(framing === 'chunked' ? [] : [LEFT_OUT.trailer]),
  ];
  return [
    `${what}: ${status} ${reason}`,
    `${what}: ${sorted(fields, without)}`,
    `${what}: ${length}, ${came}, trailers ${sorted(trailers, [])}`,
  ];
}

function requestLine(got: Got): string {
  const { startLine, fields, signature, framing, body, trailers, isWhole, isOvertaken } = got;
  const came = isWhole ? `${body.length} bytes ${digest(body)}` : 'broken off';
  const signed =
    signature instanceof Error
      ? signature.message
      : `${signature.clientId} ${signature.authorizedScopes}`;
  return [
    startLine,
    sorted(fields, LEFT_OUT.requestFields),
    signed,
    framing,
    sorted(trailers, []),
    isOvertaken ? '' : came,
  ].join(' | ');
}

/** The faults of an observation that do not depend on the other wire. */
function faultsOf(script: Script, wire: Wire, seen: Seen): string[] {
  return [
    ...requestFaults(script, seen),
    ...answerFaults(script, seen),
    ...interimFaults(script, wire, seen),
  ];
}

function requestFaults(script: Script, { got }: Seen): string[] {
  const bodies = got.flatMap((tries, at) => {
    const request = script.requests[at];
    if (request === undefined || request.mutations.length > 0) {
      return [];
    }
    const size = request.framing === 'none' ? 0 : request.size;
    return tries
      .filter(({ body, isWhole }) => !isOf(body, size, isWhole))
      .map(() => `upstream got another body than request ${at} had`);
  });
  const signatures = got.flat().map(({ signature }) => signature);
  const nonces = signatures.flatMap((each) => (each instanceof Error ? [] : [each.nonce]));
  return [
    ...bodies,
    ...signatures.flatMap((each) => (each instanceof Error ? [`not signed: ${each.message}`] : [])),
    ...(new Set(nonces).size < nonces.length ? ['a nonce was used twice'] : []),
  ];
}

function answerFaults(script: Script, { answers, got }: Seen): string[] {
  return answers.flatMap(({ body, isWhole, status }, at) => {
    const tries = script.requests[at]?.answers.slice(0, got[at]?.length ?? 0) ?? [];
    const last = tries.at(-1);
    if (last === undefined || !tries.every(isOrdinary) || last.status !== status) {
      return [];
    }
    const isEmpty = isWhole && body.length === 0;
    return isEmpty || isOf(body, last.size, isWhole) ? [] : [`answer ${at} has another body`];
  });
}

/**
 * The bare wire passes upstream's interim answers before the final one, in their order; hyper's passes
 * none.
 */
function interimFaults(script: Script, wire: Wire, { answers, got }: Seen): string[] {
  return answers.flatMap(({ interim }, at) => {
    const sent = wire === 'hyper' ? [] : interimDue(script.requests[at], got[at] ?? []);
    const [came, due] = [interim, sent?.map(interimPassed)].map((all) => all?.map(interimText));
    return due === undefined || due.join() === came?.join()
      ? []
      : [`answer ${at} has other interim answers: ${came?.join() || 'none'}`];
  });
}

/** The statuses of the interim answers that a bare socket passes; null where a changed byte decides. */
function interimDue(request: Request | undefined, tries: Got[]): number[] | null {
  if (request === undefined || request.mutations.length > 0) {
    return null;
  }
  const { version, framing, fields } = request;
  const lines = 1 + fields.length + (framing === 'length' ? 1 : 0);
  if (version !== '1.1' || framing === 'chunked' || lines > MOST_FIELDS) {
    return [];
  }
  const sent = tries.map(({ interim }) => interim);
  return sent.includes(null) ? null : sent.flatMap((each) => each ?? []);
}

/** Names in lower case, in the order of the lines. */
function interimText({ startLine, fields }: Pick<Head, 'startLine' | 'fields'>): string {
  return JSON.stringify([startLine, ...fields.map(([name, each]) => [name.toLowerCase(), each])]);
}

/** Whether `body` is a body of this size, or, where it broke off, the beginning of one. */
function isOf(body: Buffer, size: number, isWhole: boolean): boolean {
  return (
    body.equals(bodyOfSize(size).subarray(0, body.length)) && (!isWhole || body.length === size)
  );
}

/** Names in lower case, fields of one name in their order. */
function sorted(fields: Fields, without: string[]): string {
  const kept = fields
    .map(([name, each]): [string, string] => [name.toLowerCase(), each])
    .filter(([name]) => !without.includes(name));
  const joined = values(kept, LEFT_OUT.trailer).join(', ');
  const all = kept.filter(([name]) => name !== LEFT_OUT.trailer);
  all.push([LEFT_OUT.trailer, joined]);
  all.sort(([first], [second]) => (first < second ? -1 : first > second ? 1 : 0));
  return JSON.stringify(all);
}

/** A short body as it is: it may be a sentence of the proxy's own. */
function digest(body: Buffer): string {
  if (body.length < 200) {
    return JSON.stringify(body.toString('latin1'));
  }
  return crypto.createHash('sha1').update(body).digest('hex');
}
