// What a program and its children cost, as the kernel counts it: CPU time, memory and descriptors of a
// process tree, from /proc. Nothing here knows what the program does meanwhile.
//
// CPU time of a thread is read from `schedstat`, in nanoseconds. Once a thread has ended, its `schedstat`
// is gone, and `stat` of the whole process counts, in ticks of 10 ms.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';

/** `sysconf(_SC_CLK_TCK)` of every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** CPU time that the processes under `root` have used so far. */
export interface CpuReading {
  readonly processes: ReadonlyMap<number, ProcessReading>;
}

interface ProcessReading {
  /** Seconds, of all its threads, past ones too. */
  readonly seconds: number;
  /** Seconds of each thread that lives. */
  readonly threads: ReadonlyMap<string, number>;
}

/** `root` and its descendants. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc').filter((each) => /^\d+$/.test(each))) {
    const parent = parentOf(name);
    if (parent !== undefined) {
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    }
  }
  const found = [root];
  for (const each of found) {
    found.push(...(children.get(each) ?? []));
  }
  return found;
}

export function readCpu(root: number): CpuReading {
  return { processes: new Map(processTree(root).map((pid) => [pid, readProcess(pid)])) };
}

/** CPU seconds that the tree has used since `before`; its processes are those of then, or newer. */
export function cpuSince(root: number, before: CpuReading): number {
  let seconds = 0;
  for (const [pid, now] of readCpu(root).processes) {
    const then = before.processes.get(pid) ?? { seconds: 0, threads: new Map<string, number>() };
    seconds += processSince(then, now);
  }
  return seconds;
}

/** The share of that time that the busiest thread has had, of those that live. */
export function busiestSince(root: number, before: CpuReading): number {
  const used: number[] = [];
  for (const [pid, { threads }] of readCpu(root).processes) {
    const then = before.processes.get(pid)?.threads;
    for (const [thread, seconds] of threads) {
      used.push(seconds - (then?.get(thread) ?? 0));
    }
  }
  return Math.max(...used) / used.reduce((sum, each) => sum + each, 0);
}

export interface Memory {
  /** Resident, in bytes; pages that processes share count in each. */
  readonly resident: number;
  /** The highest resident so far, since the start or since {@link resetPeak}. */
  readonly peak: number;
}

/** The memory of the tree; the peaks of several processes may have been at different times. */
export function readMemory(root: number): Memory {
  let [resident, peak] = [0, 0];
  for (const pid of processTree(root)) {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    resident += kibibytes(status, 'VmRSS') * 1024;
    peak += kibibytes(status, 'VmHWM') * 1024;
  }
  return { resident, peak };
}

/** Makes the peak of every process in the tree what is resident now (Linux 4.0). */
export function resetPeak(root: number): void {
  for (const pid of processTree(root)) {
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
  }
}

/** The number of descriptors that the tree has open. */
export function countDescriptors(root: number): number {
  return processTree(root).reduce((sum, pid) => sum + list(`/proc/${pid}/fd`).length, 0);
}

function kibibytes(status: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0);
}

/** Undefined where the process has ended meanwhile. */
function parentOf(pid: string): number | undefined {
  const fields = read(`/proc/${pid}/stat`);
  return fields === undefined ? undefined : Number(afterName(fields)[1]);
}

function readProcess(pid: number): ProcessReading {
  const fields = afterName(read(`/proc/${pid}/stat`) ?? '');
  const seconds = (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND;
  const threads = new Map<string, number>();
  for (const thread of list(`/proc/${pid}/task`)) {
    const nanoseconds = read(`/proc/${pid}/task/${thread}/schedstat`)?.split(' ')[0];
    if (nanoseconds !== undefined) {
      threads.set(thread, Number(nanoseconds) / 1e9);
    }
  }
  return { seconds, threads };
}

function processSince(then: ProcessReading, now: ProcessReading): number {
  const isWhole = [...then.threads.keys()].every((thread) => now.threads.has(thread));
  if (!isWhole || now.threads.size === 0) {
    return now.seconds - then.seconds;
  }
  let seconds = 0;
  for (const [thread, used] of now.threads) {
    seconds += used - (then.threads.get(thread) ?? 0);
  }
  return seconds;
}

/** The fields of a `stat` line behind the name, which may hold spaces and brackets. */
function afterName(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
