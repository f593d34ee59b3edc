// Waiting with an end: a test that waits for an event which never comes should say for which one,
// instead of running into the runner's own limit without a word. How long is patient stands here, for
// each kind of event once, and is meant for a machine that does other things beside the tests: no test
// passes or fails by how long something took.
//
// What it is not: the runner's limit, which is for tests that wait by themselves; see `ending.ts`.

/**
 * For events that take no time on an idle machine: an answer, a line of a log, the end of a
 * process.
 */
export const PATIENCE_MS = 60_000;

/**
 * For effects that are promised within a second, and come later in any case for another reason: well
 * over a second, and less than the other reason takes (a silent client is asked after 15 s).
 */
export const PROMPT_MS = 10_000;

/** For events that begin with making a database, which takes its time on a loaded machine. */
export const DATABASE_PATIENCE_MS = 180_000;

/** For the work of another program: a client in Python, a worker, many attackers. */
export const PROGRAM_PATIENCE_MS = 240_000;

/** For a whole test that takes longer than the runner waits for a result. */
export const TEST_PATIENCE_MS = 600_000;

/**
 * How long a test watches that something does not happen, or waits for something that it cannot see. On a busy
 * machine this may be too short to find a fault; it never makes one.
 */
export const STILL_MS = 300;

export async function within<T>(
  promise: Promise<T>,
  what: string,
  milliseconds = PATIENCE_MS,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`${what} did not come within ${milliseconds} ms`);
    timer = setTimeout(() => reject(error), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Interval of polling. */
const LOOK_MS = 20;

/** Polls until the condition holds, no longer than the test waits. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  what: string,
  milliseconds = PATIENCE_MS,
): Promise<void> {
  let isOver = false;
  const looking = async () => {
    while (!isOver && !(await isSo())) {
      await pause(LOOK_MS);
    }
  };
  try {
    await within(looking(), what, milliseconds);
  } finally {
    isOver = true;
  }
}

/** A promise and the functions that settle it. */
export interface Gate<T = void> {
  readonly opened: Promise<T>;
  open(value: T): void;
  fail(error: Error): void;
}

export function gate<T = void>(): Gate<T> {
  let open: (value: T) => void = () => {};
  let fail: (error: Error) => void = () => {};
  const opened = new Promise<T>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  opened.catch(() => {});
  return { opened, open, fail };
}

export function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
