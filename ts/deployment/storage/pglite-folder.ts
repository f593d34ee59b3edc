/**
 * PGlite's folder on disk: it appears in one rename once it is whole, and an fsync(2) in it is one.
 *
 * What it is not: it keeps no other process out, which `folder-lock.ts` does.
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
  // A name of its own: what fills an older one may be ending only now.
  const unfinished = `${begunOf(folder)}.${randomUUID()}`;
  await fill(unfinished);
  await syncAll(unfinished);
  await rename(unfinished, folder);
  syncDirectory(dirname(folder));
}

/**
 * Removes what processes have begun that were killed before the folder was there. What cannot be
 * removed yet, since a child of such a process still writes, is removed the next time.
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

/** What Emscripten hands to the file operations of NODEFS. */
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
 * PGlite's folder with an fsync(2) that is one. After a crash PostgreSQL syncs every file it has,
 * of which all but a few have been synced before: those are left out while it starts.
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

  /** From now on every fsync(2) counts. */
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

/** So many files at once: a process may have few descriptors. */
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

/** The names in it. Windows has no such thing. */
function syncDirectory(path: string): void {
  if (process.platform !== 'win32') {
    const directory = openSync(path, 'r');
    fsyncSync(directory);
    closeSync(directory);
  }
}
