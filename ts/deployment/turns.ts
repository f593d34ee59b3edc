/**
 * Turns for long work on the event loop: it runs one slice at a time, and other requests are served
 * between two slices. Callers with long work take turns, so that a caller who sends many such requests
 * delays the others by no more than a slice or two.
 */

/** Length of a slice, in milliseconds. */
const SLICE = 10;

const waiting: (() => void)[] = [];

/** Resolves in a turn of the event loop in which no other slice runs. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) {
      setImmediate(next);
    }
  });
}

/** An immediate set in an immediate runs in the next turn of the loop. */
function next(): void {
  const [first] = waiting;
  first?.();
  // The continuation of the slice runs before this.
  queueMicrotask(() => {
    waiting.shift();
    if (waiting.length > 0) {
      setImmediate(next);
    }
  });
}

/** Runs a generator to its end, a slice at a time. Short work is done at once. */
export async function inSlices<Result>(steps: Generator<void, Result>): Promise<Result> {
  const slice = new Slice();
  for (;;) {
    const step = steps.next();
    if (step.done === true) {
      return step.value;
    }
    if (slice.isOver) {
      await slice.next();
    }
  }
}

/** As `Promise.all` over the results of `work`, one after the other, a slice at a time. */
export async function eachInSlices<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<Result[]> {
  const slice = new Slice();
  const results: Result[] = [];
  for (const item of items) {
    results.push(await work(item));
    if (slice.isOver) {
      await slice.next();
    }
  }
  return results;
}

/** The rest of a slice, after which work waits for its turn. */
export class Slice {
  #end = performance.now() + SLICE;

  get isOver(): boolean {
    return performance.now() > this.#end;
  }

  async next(): Promise<void> {
    await turn();
    this.#end = performance.now() + SLICE;
  }
}
