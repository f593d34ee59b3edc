/**
 * Reads audit logs of `taskcluster-proxy` line by line, in bounded memory: they may be gigabytes long, and are written
 * and rotated meanwhile. `least-scopes.ts` tells what the calls in them need.
 */
import type { Stats } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ReviewError } from './subject.js';

/** The fields of a line that a review uses. */
export interface AuditLine {
  readonly time: string;
  readonly method: string;
  readonly upstream?: string;
  /** The URL that a call of `/bewit` has signed. */
  readonly signedUrl?: string;
  readonly clientId?: string;
  readonly verdict: string;
  readonly status: number | null;
  readonly tries?: number;
  readonly scopes?: readonly string[];
  readonly authorizedScopes?: readonly string[];
}

/** The next lines of a log, and the number of lines between them that are not of an audit log. */
export interface Piece {
  readonly lines: readonly AuditLine[];
  readonly unreadable: number;
}

/** Tells the paths of the files to read; it is asked again when they have been read. */
export type FileList = () => Promise<readonly string[]>;

/**
 * Reads each file once, as far as it reaches when it is opened. Rotation may rename a file at any moment: a file is
 * known by its inode, and the list is asked again until all of its files have been read.
 *
 * @throws ReviewError
 */
export async function* auditPieces(list: FileList): AsyncGenerator<Piece> {
  const read = new Set<string>();
  for (let before = -1; before < read.size; ) {
    before = read.size;
    for (const name of await list()) {
      yield* ifNew(name, read);
    }
  }
}

async function* ifNew(name: string, read: Set<string>): AsyncGenerator<Piece> {
  const file = await openUnlessGone(name);
  try {
    if (file !== undefined) {
      const { dev, ino, size } = await file.stat({ bigint: true });
      const identity = `${dev}:${ino}`;
      if (!read.has(identity)) {
        read.add(identity);
        yield* piecesOf(file, name, Number(size));
      }
    }
  } catch (error) {
    throw unreadable(name, error);
  } finally {
    await file?.close();
  }
}

async function openUnlessGone(name: string): Promise<FileHandle | undefined> {
  try {
    return await open(name);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') {
      return undefined;
    }
    throw unreadable(name, error);
  }
}

const CHUNK = 64 * 1024;
const NEWLINE = 0x0a;
/**
 * Longest line, in bytes: the head of a request has at most 64 KiB, so an audit log has no longer one.
 */
const LONGEST_LINE = 1024 * 1024;

async function* piecesOf(file: FileHandle, name: string, size: number): AsyncGenerator<Piece> {
  if (size === 0) {
    return;
  }
  let rest = NOTHING;
  let isTooLong = false;
  for await (const chunk of bytesOf(file, name, size)) {
    const lines: AuditLine[] = [];
    let bad = 0;
    let from = 0;
    for (let to = chunk.indexOf(NEWLINE); to >= 0; to = chunk.indexOf(NEWLINE, from)) {
      const line = isTooLong ? undefined : lineOf(joined(rest, chunk, from, to));
      if (line === undefined) {
        bad += 1;
      } else {
        lines.push(line);
      }
      rest = NOTHING;
      isTooLong = false;
      from = to + 1;
    }
    // Text behind the last newline is not written to its end yet, or never will be.
    rest = Buffer.concat([rest, chunk.subarray(from)]);
    if (rest.length > LONGEST_LINE) {
      rest = NOTHING;
      isTooLong = true;
    }
    yield { lines, unreadable: bad };
  }
}

const NOTHING = Buffer.alloc(0);

/** The text of `rest` and a part of the chunk behind it; most lines lie in one chunk and are not copied. */
function joined(rest: Buffer, chunk: Buffer, from: number, to: number): string {
  return rest.length === 0
    ? chunk.toString('utf8', from, to)
    : Buffer.concat([rest, chunk.subarray(from, to)]).toString();
}

function bytesOf(file: FileHandle, name: string, size: number): AsyncIterable<Buffer> {
  const plain = file.createReadStream({ end: size - 1, highWaterMark: CHUNK, autoClose: false });
  const isPacked = name.endsWith('.gz');
  return isPacked ? pipeline(plain, createGunzip(), () => undefined) : (plain as Readable);
}

function lineOf(text: string): AuditLine | undefined {
  try {
    const line = JSON.parse(text) as Partial<AuditLine> | null;
    return isLine(line) ? line : undefined;
  } catch {
    return undefined;
  }
}

function isLine(line: Partial<AuditLine> | null): line is AuditLine {
  const { time = '', method, verdict, scopes = [], authorizedScopes = [] } = line ?? {};
  const texts = [method, verdict].every((each) => typeof each === 'string');
  return (
    texts && !Number.isNaN(Date.parse(time)) && [scopes, authorizedScopes].every(Array.isArray)
  );
}

/** A file with those that rotation has put beside it, or all files of a folder. */
export function logFiles(places: readonly string[]): FileList {
  return async () => (await Promise.all(places.map(filesAt))).flat();
}

async function filesAt(place: string): Promise<string[]> {
  // While a log is being rotated, there may be no file of its name.
  const isFolder = (await stat(place).catch(() => undefined))?.isDirectory() ?? false;
  const folder = isFolder ? place : path.dirname(place);
  const name = path.basename(place);
  const isOfIt = (other: string) =>
    isFolder
      ? !other.startsWith('.')
      : other === name || [`${name}.`, `${name}-`].some((start) => other.startsWith(start));
  const all = await readdir(folder).catch((error) => {
    throw unreadable(folder, error);
  });
  const names = all.filter(isOfIt).sort();
  const paths = names.map((each) => path.join(folder, each));
  const kinds = await Promise.all(paths.map((each) => stat(each).catch(() => undefined)));
  return paths.filter((_, index) => kinds[index]?.isFile());
}

/**
 * Refuses a place that is missing or cannot be read, and a file that does not begin as an audit log.
 *
 * @throws ReviewError
 */
export async function checkAuditLogs(places: readonly string[]): Promise<void> {
  for (const place of places) {
    const found = await statOf(place);
    if (found.isDirectory()) {
      for (const file of await filesAt(place)) {
        await (await openUnlessGone(file))?.close();
      }
    } else if (found.isFile()) {
      await checkBeginning(place);
    } else {
      throw new ReviewError(`${place} is neither a file nor a folder: name an audit log`);
    }
  }
}

async function statOf(place: string): Promise<Stats> {
  try {
    return await stat(place);
  } catch (error) {
    throw codeOf(error) === 'ENOENT'
      ? new ReviewError(
          `there is no audit log ${place}: name the file that taskcluster-proxy --audit-log writes, or its folder`,
        )
      : unreadable(place, error);
  }
}

async function checkBeginning(name: string): Promise<void> {
  for await (const { lines, unreadable: bad } of auditPieces(async () => [name])) {
    if (lines.length === 0 && bad > 0) {
      throw new ReviewError(
        `${name} has no line of an audit log at its start: name a file that taskcluster-proxy --audit-log writes`,
      );
    }
    return;
  }
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}

function unreadable(name: string, error: unknown): ReviewError {
  return error instanceof ReviewError
    ? error
    : new ReviewError(`cannot read ${name}: ${(error as Error).message}`);
}
