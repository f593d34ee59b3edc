/**
 * The bytes of objects, one file each in a folder. A file appears in one rename once the upload is
 * whole, and is never written again; an upload that breaks off leaves nothing.
 *
 * What it is not: it knows nothing of names, types or who may read. That is in the store.
 */
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, opendir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

/** A file that an upload has become. */
export interface StoredFile {
  readonly file: string;
  readonly size: number;
}

/** As much of an upload as is held in memory while the disk is busy. */
const WRITE_BUFFER = 256 * 1024;

/** After how long without a byte an upload counts as given up, in milliseconds. */
const ABANDONED = 24 * 60 * 60 * 1000;

export class ObjectFolder {
  /** Where finished files are, each under its own name. */
  readonly root: string;
  readonly #incoming: string;

  private constructor(folder: string) {
    this.root = join(folder, 'objects');
    this.#incoming = join(folder, 'incoming');
  }

  /**
   * Opens or makes a folder. What an earlier process left half uploaded is removed; where other
   * processes may be uploading into the same folder now, only what none of them can be at still.
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

  /** Finished files that are older than that many milliseconds. */
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

/** Names of the files that were last written before that time. */
async function* filesBefore(folder: string, time: number): AsyncGenerator<string> {
  for await (const { name } of await opendir(folder)) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found !== undefined && found.mtimeMs <= time) {
      yield name;
    }
  }
}
