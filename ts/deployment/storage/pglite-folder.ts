/**
 * PGlite's folder on disk: it appears in one rename once it is complete, and an fsync(2) in it really syncs.
 *
 * It does not keep other processes out; `folder-lock.ts` does.
 */
import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, fsyncSync, openSync } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NodeFS } from '@electric-sql/pglite/nodefs';

/** File times and clock may differ by the granularity of either. */
const CLOCK_MARGIN = 2000;

/**
 * Creates a folder in one step: it appears with all that `fill` writes into it, on disk, or not at all. The
 * caller holds the lock that keeps other processes from doing so.
 */
export async function makeFolder(
  folder: string,
  fill: (unfinished: string) => Promise<void>,
): Promise<void> {
  // A unique name: a process that fills an older folder may still be ending.
  const unfinished = `${begunOf(folder)}.${randomUUID()}`;
  await fill(unfinished);
  await syncAll(unfinished);
  await rename(unfinished, folder);
  syncDirectory(dirname(folder));
}

/**
 * Removes the unfinished folders of killed processes. If a child of such a process still writes into one,
 * the next start removes it.
 */
export async function removeBegun(folder: string): Promise<void> {
  const parent = dirname(folder);
  for (const name of await readdir(parent)) {
    const path = join(parent, name);
    if (path.startsWith(begunOf(folder))) {
      await rm(path, { recursive: true, force: true }).catch(() => undefined);
    }
  }
}

function begunOf(folder: string): string {
  return `${folder}.unfinished`;
}

/** The argument of Emscripten's file operations in NODEFS. */
interface Stream {
  readonly nfd?: number;
  readonly node: object;
}

interface NodeFsModule {
  readonly NODEFS: {
    readonly stream_ops: { fsync?: (stream: Stream) => number };
    realPath(node: object): string;
  };
}

/**
 * PGlite's folder with an fsync(2) that really syncs. After a crash PostgreSQL syncs all its files; the start
 * skips those that were synced before, which are all but a few.
 */
export class DurableFolder extends NodeFS {
  /** Files older than this were synced, in milliseconds since the epoch. */
  #syncedUntil: number;

  constructor(data: string, syncedUntil: number) {
    super(data);
    this.#syncedUntil = syncedUntil - CLOCK_MARGIN;
  }

  override async init(...parameters: Parameters<NodeFS['init']>): ReturnType<NodeFS['init']> {
    const { emscriptenOpts } = await super.init(...parameters);
    const preRun = [emscriptenOpts.preRun ?? []].flat();
    const addFsync = (module: unknown) => {
      const { NODEFS } = module as NodeFsModule;
      NODEFS.stream_ops.fsync = ({ nfd, node }) => {
        this.#sync(nfd, () => NODEFS.realPath(node));
        return 0;
      };
    };
    return { emscriptenOpts: { ...emscriptenOpts, preRun: [...preRun, addFsync] } };
  }

  /** Ends the start: from now on no fsync(2) is skipped. */
  hasStarted(): void {
    this.#syncedUntil = 0;
  }

  /** NODEFS opens no descriptor for directories. */
  #sync(descriptor: number | undefined, path: () => string): void {
    if (descriptor === undefined) {
      syncDirectory(path());
    } else if (fstatSync(descriptor).mtimeMs >= this.#syncedUntil) {
      fsyncSync(descriptor);
    }
  }
}

/** Files that are synced at once: a process may have few descriptors. */
const LANES = 8;

async function syncAll(folder: string): Promise<void> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const left = entries.values();
  const lanes = Array.from({ length: LANES }, async () => {
    for (const entry of left) {
      const path = join(entry.parentPath, entry.name);
      await (entry.isDirectory() ? syncDirectory(path) : syncFile(path));
    }
  });
  await Promise.all(lanes);
  syncDirectory(folder);
}

async function syncFile(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.sync();
  await file.close();
}

/** Syncs the entries of a directory. Windows has no such operation. */
function syncDirectory(path: string): void {
  if (process.platform !== 'win32') {
    const directory = openSync(path, 'r');
    fsyncSync(directory);
    closeSync(directory);
  }
}
