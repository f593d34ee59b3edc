/**
 * The bytes of objects, one file each in a folder. A file appears in one rename once the upload is complete,
 * and is never written again; an upload that breaks off leaves nothing.
 *
 * The store has the names, the types and the access rules.
 */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, opendir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** The file of a finished upload. */
export interface StoredFile {
  readonly file: string;
  readonly size: number;
}

/** Bytes of an upload that are buffered in memory while the disk is busy. */
const WRITE_BUFFER = 256 * 1024;

/** Time without a byte after which an upload is abandoned, in milliseconds. */
const ABANDONED = 24 * 60 * 60 * 1000;

export class ObjectFolder {
  /** The folder of finished files. */
  readonly root: string;
  readonly #incoming: string;

  private constructor(folder: string) {
    this.root = join(folder, 'objects');
    this.#incoming = join(folder, 'incoming');
  }

  /**
   * Opens or creates a folder. It removes unfinished uploads of earlier processes; if other processes may
   * use the same folder now, only uploads that are too old to be running.
   */
  static async open(
    folder: string,
    { isShared = false }: { readonly isShared?: boolean } = {},
  ): Promise<ObjectFolder> {
    const objects = new ObjectFolder(folder);
    await mkdir(objects.#incoming, { recursive: true });
    await mkdir(objects.root, { recursive: true });
    const before = Date.now() - (isShared ? ABANDONED : 0);
    for await (const unfinished of filesBefore(objects.#incoming, before)) {
      await rm(join(objects.#incoming, unfinished), { force: true });
    }
    return objects;
  }

  /** Finished files older than this, in milliseconds. */
  olderThan(age: number): AsyncGenerator<string> {
    return filesBefore(this.root, Date.now() - age);
  }

  /** Streams an upload to disk. */
  async add(upload: Readable): Promise<StoredFile> {
    const file = randomUUID();
    const unfinished = join(this.#incoming, file);
    try {
      const sink = createWriteStream(unfinished, { flags: 'wx', highWaterMark: WRITE_BUFFER });
      await pipeline(upload, sink);
      await rename(unfinished, join(this.root, file));
      return { file, size: sink.bytesWritten };
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
  }

  /** Removes a file. A running download still gets all of it. */
  async remove(file: string): Promise<void> {
    await rm(join(this.root, file), { force: true });
  }
}

/** Names of the files last written before this time. */
async function* filesBefore(folder: string, time: number): AsyncGenerator<string> {
  for await (const { name } of await opendir(folder)) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found !== undefined && found.mtimeMs <= time) {
      yield name;
    }
  }
}
