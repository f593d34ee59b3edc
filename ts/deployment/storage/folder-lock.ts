/**
 * A claim on a folder by one process, as PostgreSQL's postmaster.pid is: a file that names the
 * process. A claim whose process has ended, by whatever signal, is void.
 *
 * What it is not: it sees processes of this machine only, and of this PID namespace. A folder that
 * two containers share is for them to keep apart.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';

/** A process, so that its number used again is not taken for it. */
interface Owner {
  readonly pid: number;
  /** When it started, in clock ticks since boot, where the system tells (Linux). */
  readonly started?: string;
  /** When it made its claim, in milliseconds since the epoch. */
  readonly since: number;
}

/** A folder, or whatever else the file stands for, is in use. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
  readonly pid: number;

  constructor(pid: number) {
    super(`in use by process ${pid}`);
    this.pid = pid;
  }
}

export interface FolderLock {
  /** When the process that held it last and ended without releasing it had taken it. */
  readonly abandonedSince: number | undefined;
  release(): Promise<void>;
}

/** Claims by making `file`. @throws LockedError */
export async function lockFolder(file: string): Promise<FolderLock> {
  let abandonedSince: number | undefined;
  while (!(await claim(file))) {
    const owner = await readOwner(file);
    if (owner !== undefined && isAlive(owner)) {
      throw new LockedError(owner.pid);
    }
    abandonedSince = owner?.since ?? abandonedSince ?? 0;
    await discard(file, owner);
  }
  return { abandonedSince, release: () => rm(file, { force: true }) };
}

async function claim(file: string): Promise<boolean> {
  const owner: Owner = { ...thisProcess(), since: Date.now() };
  try {
    const handle = await open(file, 'wx', 0o600);
    await handle.writeFile(JSON.stringify(owner));
    await handle.close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      return false;
    }
    throw error;
  }
}

/** Undefined where the process was killed between making the file and writing it. */
async function readOwner(file: string): Promise<Owner | undefined> {
  for (let attempt = 0; attempt < 10; attempt += 1) {
    try {
      return JSON.parse(await readFile(file, 'utf8')) as Owner;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        return undefined;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  return undefined;
}

/** By a rename, which one of several processes gets; it looks again at what it has got. */
async function discard(file: string, expected: Owner | undefined): Promise<void> {
  const aside = `${file}.${randomUUID()}`;
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
export function thisProcess(): Pick<Owner, 'pid' | 'started'> {
  const started = startTime(process.pid);
  return { pid: process.pid, ...(started === undefined ? {} : { started }) };
}

/** Whether a process is still running. */
export function isAlive({ pid, started }: Pick<Owner, 'pid' | 'started'>): boolean {
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
