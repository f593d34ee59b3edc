/**
 * A lock of a folder by one process, like PostgreSQL's postmaster.pid: a file that names the process. The
 * lock of a process that has ended in any way is void.
 *
 * It sees processes of this machine and this PID namespace only: the operator must not let two containers
 * share a folder.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { link, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** A process, with its start time to recognise a reused process id. */
interface Process {
  readonly pid: number;
  /** Its start, in clock ticks since boot, on Linux. */
  readonly started?: string;
}

interface Owner extends Process {
  /** All that was written before this time is on disk, in milliseconds since the epoch. */
  readonly since: number;
}

/** The locked resource, such as a folder, is in use. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
  readonly pid: number;

  constructor(pid: number) {
    super(`in use by process ${pid}`);
    this.pid = pid;
  }
}

export interface FolderLock {
  /**
   * All that was written before this time is on disk, even if an earlier process ended without releasing
   * the lock, in milliseconds since the epoch; 0 if unknown.
   */
  readonly syncedUntil: number;
  /** Records that all that was written before this time is on disk. */
  setSyncedUntil(time: number): Promise<void>;
  release(): Promise<void>;
}

/** Takes the lock by creating `file`. @throws LockedError */
export async function lockFolder(file: string): Promise<FolderLock> {
  let syncedUntil = 0;
  while (!(await claim(file, syncedUntil))) {
    const owner = await readOwner(file);
    if (owner !== undefined && isAlive(owner)) {
      throw new LockedError(owner.pid);
    }
    await discard(file, owner);
    syncedUntil = owner?.since ?? 0;
  }
  await removeLeft(file);
  return {
    syncedUntil,
    setSyncedUntil: async (time) => rename(await writeBeside(file, time), file),
    release: () => rm(file, { force: true }),
  };
}

/** Creates the file in one step, so that no process sees a lock without an owner. */
async function claim(file: string, since: number): Promise<boolean> {
  const written = await writeBeside(file, since);
  try {
    await link(written, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      return false;
    }
    throw error;
  } finally {
    await rm(written, { force: true });
  }
}

async function writeBeside(file: string, since: number): Promise<string> {
  const owner: Owner = { ...thisProcess(), since };
  const beside = nameBeside(file);
  await writeFile(beside, JSON.stringify(owner), { flag: 'wx', mode: 0o600 });
  return beside;
}

/** The name contains the process id, for `removeLeft`. */
function nameBeside(file: string): string {
  return `${file}.${process.pid}.${randomUUID()}`;
}

/** Removes the files of processes that were killed between two steps. */
async function removeLeft(file: string): Promise<void> {
  const beside = `${basename(file)}.`;
  for (const name of await readdir(dirname(file))) {
    const [pid = ''] = name.startsWith(beside) ? name.slice(beside.length).split('.') : [];
    if (/^\d+$/.test(pid) && !isAlive({ pid: Number(pid) })) {
      await rm(join(dirname(file), name), { force: true });
    }
  }
}

/** The owner in the file; undefined for a missing or malformed file. */
async function readOwner(file: string): Promise<Owner | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Owner;
  } catch {
    return undefined;
  }
}

/** Removes a void lock by a rename, which only one process wins; the winner checks the file again. */
async function discard(file: string, expected: Owner | undefined): Promise<void> {
  const aside = nameBeside(file);
  try {
    await rename(file, aside);
  } catch {
    return;
  }
  const got = await readOwner(aside);
  if (got !== undefined && got.pid !== expected?.pid && isAlive(got)) {
    await rename(aside, file);
    throw new LockedError(got.pid);
  }
  await rm(aside, { force: true });
}

/** This process, as `isAlive` recognises it. */
export function thisProcess(): Process {
  const started = startTime(process.pid);
  return { pid: process.pid, ...(started === undefined ? {} : { started }) };
}

/** Whether a process is still running. */
export function isAlive({ pid, started }: Process): boolean {
  if (pid === process.pid) {
    return started === undefined || started === startTime(pid);
  }
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') {
      return false;
    }
  }
  return started === undefined || startTime(pid) === started;
}

/** Field 22 of proc_pid_stat(5), counted behind the name, which may hold spaces and brackets. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}
