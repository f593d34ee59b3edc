/**
 * Answers with lists of any length: it serialises and writes them a slice at a time, no faster than the
 * client reads. Serialised at once, a list of ten thousand roles stalls all other requests.
 */
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Response } from 'express';
import { Slice } from '../turns.js';

/** Number of entries from which a list is long. */
const MANY = 100;

/** Whether the answer is or contains a long list. */
export function isLong(answer: object): boolean {
  return [answer, ...Object.values(answer)].some((value) => isMany(value));
}

/** Answers with the same text as `response.json`, but without an ETag. */
export async function sendLong(response: Response, answer: object): Promise<void> {
  response.type('application/json');
  await pipeline(Readable.from(texts(answer)), response);
}

function isMany(value: unknown): value is readonly unknown[] {
  return Array.isArray(value) && value.length > MANY;
}

/** Size of one write. */
const PIECE = 64 * 1024;

async function* texts(answer: object): AsyncGenerator<string> {
  const slice = new Slice();
  let piece = '';
  for (const text of Array.isArray(answer) ? listed(answer, '') : fields(answer)) {
    piece += text;
    if (piece.length > PIECE) {
      yield piece;
      piece = '';
    }
    if (slice.isOver) {
      await slice.next();
    }
  }
  yield piece;
}

const INDENT = '  ';

function* fields(answer: object): Generator<string> {
  let before = '{\n';
  for (const [key, value] of Object.entries(answer)) {
    if (value !== undefined) {
      yield `${before}${INDENT}${JSON.stringify(key)}: `;
      yield* isMany(value) ? listed(value, INDENT) : [pretty(value, INDENT)];
      before = ',\n';
    }
  }
  yield '\n}';
}

function* listed(list: readonly unknown[], indent: string): Generator<string> {
  let before = '[\n';
  for (const entry of list) {
    yield `${before}${indent}${INDENT}${pretty(entry, indent + INDENT)}`;
    before = ',\n';
  }
  yield `\n${indent}]`;
}

/** JSON writes a line feed in a string as two letters, so a raw one only separates lines. */
function pretty(value: unknown, indent: string): string {
  return (JSON.stringify(value, null, 2) ?? 'null').replaceAll('\n', `\n${indent}`);
}
