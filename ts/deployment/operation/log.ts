/**
 * The log on stderr: a line for each entry, as text or as JSON, with the names of formats and levels
 * that `taskcluster-proxy` has. Its reader is not waited for: lines that find no room are counted.
 */
import { write } from 'node:fs';
import { inspect } from 'node:util';
import type { EndedRequest } from './requests.js';

export const LOG_FORMATS = ['text', 'json'] as const;
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export type LogFormat = (typeof LOG_FORMATS)[number];
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogOptions {
  /** `text` when absent. */
  readonly format?: LogFormat;
  /** Least level that is logged; `info` when absent. */
  readonly level?: LogLevel;
  /** Where lines go; stderr when absent. */
  readonly output?: LogOutput;
}

/** Takes some lines, and says when there is room for more. */
export type LogOutput = (lines: string, done: () => void) => void;

/** What waits for a reader at most, in UTF-16 units. */
const ROOM = 512 * 1024;

/** How long the end of the process waits for a reader, in milliseconds. */
const LAST_WORDS = 1_000;

/** What services ask of auth for a request of their own, and balancers of a process: of no interest. */
const ROUTINE =
  /^\/(?:__(?:lb)?heartbeat__|__version__|api\/auth\/v1\/authenticate-(?:hawk|anonymous))$/;

/** A bewit belongs into a query, of which nothing is told; one in a path was mistyped. */
const BEWIT = /(bewit(?:=|%3d))[^/]*/gi;

export class Log {
  readonly #format: LogFormat;
  readonly #level: number;
  readonly #output: LogOutput;
  #waiting = '';
  #lost = 0;
  #isWriting = false;

  constructor({ format = 'text', level = 'info', output = toStderr }: LogOptions = {}) {
    this.#format = format;
    this.#level = LOG_LEVELS.indexOf(level);
    this.#output = output;
  }

  /** How many lines found no room. */
  get lost(): number {
    return this.#lost;
  }

  /** Something that an operator ought to know, in a sentence. */
  notice(sentence: string): void {
    this.#add('warn', sentence, {}, sentence);
  }

  /** What is as it should be, in a sentence. */
  inform(sentence: string): void {
    this.#add('info', sentence, {}, sentence);
  }

  /** Why a client was told no more than `incidentId`, which is the request's id where there is one. */
  fault(fault: unknown, incidentId: string): void {
    const stack = fault instanceof Error ? inspect(fault) : String(fault);
    this.#add(
      'error',
      `incident ${incidentId}`,
      { incidentId, fault: stack },
      `incident ${incidentId}: ${stack}`,
    );
  }

  request(request: EndedRequest): void {
    const { method, path, endpoint, clientId, requestId, traceId, address } = request;
    const { status = null, bytes, milliseconds: ms } = request;
    const isRoutine = ROUTINE.test(path) && status !== null && status < 400;
    const target = path.replace(BEWIT, '$1<redacted>');
    const who = { endpoint, clientId, requestId, traceId, address };
    const columns = [method, endpoint ?? '-', status ?? '-', `${bytes} bytes`, `${ms} ms`];
    this.#add(
      isRoutine ? 'debug' : 'info',
      'Answering',
      { target, method, status, bytes, ms, ...who },
      [`Answering ${target}`, ...columns, clientId ?? '-', requestId].join(' | '),
    );
  }

  /** Resolves when all has been written, or its reader has been waited for. */
  async flush(): Promise<void> {
    const end = performance.now() + LAST_WORDS;
    while (this.#isWriting && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  #add(level: LogLevel, message: string, fields: object, text: string): void {
    if (LOG_LEVELS.indexOf(level) > this.#level) {
      return;
    }
    const line =
      this.#format === 'json'
        ? JSON.stringify({ time: new Date().toJSON(), level, message, ...fields })
        : inText(level, text);
    if (this.#waiting.length + line.length > ROOM) {
      this.#lost += 1;
      return;
    }
    this.#waiting += `${line}\n`;
    this.#write();
  }

  #write(): void {
    if (this.#isWriting || this.#waiting === '') {
      return;
    }
    this.#isWriting = true;
    const lines = this.#waiting;
    this.#waiting = '';
    this.#output(lines, () => {
      this.#isWriting = false;
      this.#write();
    });
  }
}

/** Above what a person reads at once no prefix stands. */
const PREFIXES = { error: 'error: ', warn: 'warning: ', info: '', debug: 'debug: ' } as const;

function inText(level: LogLevel, text: string): string {
  return `${stamp(new Date())} ${PREFIXES[level]}${escaped(text)}`;
}

/** As the proxy has it, in local time. */
function stamp(time: Date): string {
  const two = (number: number) => String(number).padStart(2, '0');
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('/');
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')}`;
}

/** So that what a caller sends forges no line and no order on a terminal; a stack has its lines. */
function escaped(text: string): string {
  return text.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]|\n(?! {2,})/g,
    (letter) => JSON.stringify(letter).slice(1, -1).replace(letter, unicode(letter)),
  );
}

function unicode(letter: string): string {
  return `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

const STDERR = 2;

/** Not by `process.stderr`, which waits for the reader of a pipe. */
function toStderr(lines: string, done: () => void): void {
  writeAll(Buffer.from(lines), done);
}

/** After a reader that takes nothing for the moment, in milliseconds. */
const AGAIN = 20;

function writeAll(bytes: Buffer, done: () => void): void {
  write(STDERR, bytes, (error, written) => {
    if (error?.code === 'EAGAIN') {
      setTimeout(() => writeAll(bytes, done), AGAIN).unref();
    } else if (error !== null || written === bytes.length) {
      // Where it cannot be written there is nobody to be told.
      done();
    } else {
      writeAll(bytes.subarray(written), done);
    }
  });
}
