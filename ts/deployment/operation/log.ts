/**
 * The log on stderr: one line for each entry, as text or as JSON, with the formats and levels of
 * `taskcluster-proxy`. It does not wait for its reader: it counts the lines that are lost when its queue is
 * full.
 */
import { write } from 'node:fs';
import { inspect } from 'node:util';
import type { EndedRequest } from './requests.js';

export const LOG_FORMATS = ['text', 'json'] as const;
export const LOG_LEVELS = ['error', 'warn', 'info', 'debug'] as const;

export type LogFormat = (typeof LOG_FORMATS)[number];
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LogOptions {
  /** Format; `text` when absent. */
  readonly format?: LogFormat;
  /** Least level that is logged; `info` when absent. */
  readonly level?: LogLevel;
  /** Receives the lines; stderr when absent. */
  readonly output?: LogOutput;
}

/** Writes some lines, and resolves when it takes more. */
export type LogOutput = (lines: string, done: () => void) => void;

/** Longest queue, in UTF-16 units. */
const ROOM = 512 * 1024;

/** Longest wait for the reader at the end of the process, in milliseconds. */
const LAST_LINES = 1_000;

/** Routine requests, of services to auth and of load balancers, which the log shows at level `debug`. */
const ROUTINE =
  /^\/(?:__(?:lb)?heartbeat__|__version__|api\/auth\/v1\/authenticate-(?:hawk|anonymous))$/;

/** The log shows no query, the place of a bewit; a mistyped one may be in the path. */
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

  /** Number of lost lines. */
  get lost(): number {
    return this.#lost;
  }

  /** Logs a warning for the operator, in a sentence. */
  notice(sentence: string): void {
    this.#add('warn', sentence, {}, sentence);
  }

  /** Logs normal operation, in a sentence. */
  inform(sentence: string): void {
    this.#add('info', sentence, {}, sentence);
  }

  /** Logs a fault; the client learns only `incidentId`, the request's id if there is one. */
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

  /** Resolves when all lines are written, or the wait for the reader is over. */
  async flush(): Promise<void> {
    const end = performance.now() + LAST_LINES;
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

/** The level `info` has no prefix. */
const PREFIXES = { error: 'error: ', warn: 'warning: ', info: '', debug: 'debug: ' } as const;

function inText(level: LogLevel, text: string): string {
  return `${stamp(new Date())} ${PREFIXES[level]}${escaped(text)}`;
}

/** The time stamp of the proxy's log, in local time. */
function stamp(time: Date): string {
  const two = (number: number) => String(number).padStart(2, '0');
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join('/');
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(':')}`;
}

/** Escapes control characters, so that a caller cannot forge a line or a terminal sequence. */
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

/** Avoids `process.stderr`, which waits for the reader of a pipe. */
function toStderr(lines: string, done: () => void): void {
  writeAll(Buffer.from(lines), done);
}

/** Pause after a write to a full pipe, in milliseconds. */
const AGAIN = 20;

function writeAll(bytes: Buffer, done: () => void): void {
  write(STDERR, bytes, (error, written) => {
    if (error?.code === 'EAGAIN') {
      setTimeout(() => writeAll(bytes, done), AGAIN).unref();
    } else if (error !== null || written === bytes.length) {
      // A failed write cannot be reported anywhere.
      done();
    } else {
      writeAll(bytes.subarray(written), done);
    }
  });
}
