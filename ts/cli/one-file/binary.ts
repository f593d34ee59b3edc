/**
 * Loads the addon out of the one-file build. It replaces ../../binary.ts there, and leaves no file behind, but
 * on Windows until the next start.
 */
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { getRawAsset } from 'node:sea';

/** The addon's name in tools/one-file.mjs. */
const ASSET = 'addon.node';

/** `O_TMPFILE` of Linux: a file without a name, which vanishes when it is closed. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** The addon could not be loaded from the one file. */
export class MissingBinaryError extends Error {
  override readonly name = 'MissingBinaryError';
  readonly code = 'ERR_MISSING_BINARY';
}

/** Tries memory first: a directory may be full, read-only, or mounted without the right to execute. */
export function load(): unknown {
  const directories = [...new Set([...ownDirectories(), tmpdir(), path.dirname(process.execPath)])];
  const ways =
    process.platform === 'linux'
      ? ['/dev/shm', ...directories].map((directory) => () => loadNameless(directory))
      : [];
  ways.push(...directories.map((directory) => () => loadPrivate(directory)));
  try {
    removeLeftovers();
  } catch {
    // The directory is missing; the attempts below say so.
  }
  const failures: string[] = [];
  for (const way of ways) {
    try {
      return way();
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  throw new MissingBinaryError(
    `taskcluster-proxy cannot load the addon that it carries (${failures.join('; ')}); ` +
      `make ${directories.join(' or ')} a place to which it may write and from which libraries load`,
  );
}

function loadNameless(directory: string): unknown {
  const descriptor = openSync(directory, O_TMPFILE | constants.O_RDWR, 0o700);
  try {
    const binary = new Uint8Array(getRawAsset(ASSET) as ArrayBuffer);
    for (let written = 0; written < binary.length; ) {
      written += writeSync(descriptor, binary, written);
    }
    return open(`/proc/self/fd/${descriptor}`);
  } finally {
    closeSync(descriptor);
  }
}

/** On Windows a service's directory for temporary files is one that other users write to. */
function ownDirectories(): string[] {
  const { LOCALAPPDATA } = process.env;
  return process.platform === 'win32' && LOCALAPPDATA ? [LOCALAPPDATA] : [];
}

/** A private directory of this user. Windows does not delete a loaded library, so it stays there. */
function loadPrivate(parent: string): unknown {
  const directory = mkdtempSync(path.join(parent, `taskcluster-proxy-${process.pid}-`));
  try {
    const file = path.join(directory, ASSET);
    writeFileSync(file, new Uint8Array(getRawAsset(ASSET) as ArrayBuffer), { mode: 0o700 });
    return open(file);
  } finally {
    remove(directory);
  }
}

/**
 * Removes the directories of processes that no longer run, only where no other user can have made them.
 */
function removeLeftovers(): void {
  for (const parent of ownDirectories()) {
    for (const name of readdirSync(parent)) {
      const [, id] = /^taskcluster-proxy-(\d+)-.{6}$/.exec(name) ?? [];
      if (id !== undefined && !isRunning(Number(id))) {
        remove(path.join(parent, name));
      }
    }
  }
}

/** Whether another process has that id. */
function isRunning(id: number): boolean {
  try {
    return id !== process.pid && process.kill(id, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** Removes the addon and its directory, as far as the system allows it. */
function remove(directory: string): void {
  try {
    rmSync(path.join(directory, ASSET), { force: true });
    rmdirSync(directory);
  } catch {
    // A process has the library loaded.
  }
}

function open(file: string): unknown {
  const addon = { exports: {} };
  process.dlopen(addon, file);
  return addon.exports;
}
