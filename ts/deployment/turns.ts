/**
 * Turns for work that takes long, whoever it is for: one slice of it at a time, and between two of
 * them everybody else is served. Of many who need long work each gets a slice in turn, so that what
 * one caller asks for, however often at once, keeps nobody waiting for longer than a slice or two.
 */

/** For how long work goes on before others get their turn, in milliseconds. */
const SLICE = 10;

const waiting: (() => void)[] = [];

/** Resolves in a turn of the event loop that no other slice is done in. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) {
      setImmediate(next);
    }
  });
}

/** An immediate of an immediate is of the next turn of the loop. */
function next(): void {
  const [first] = waiting;
  first?.();
  // What follows from it runs before this does.
  queueMicrotask(() => {
    waiting.shift();
    if (waiting.length > 0) {
      setImmediate(next);
    }
  });
}

/** Goes through it to its end, a slice at a time. What is short is done at once. */
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

/** As `Promise.all` of what `work` makes of each, one after the other, a slice at a time. */
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

/** The time that work may take until it has to wait for its turn. */
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
