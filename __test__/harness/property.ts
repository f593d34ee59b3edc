// A property: what holds for every input, tried by fast-check with inputs of its making. The seed is
// printed; `PROPERTY_SEED` repeats a run, and `PROPERTY_RUNS=100` makes it a hundred times as long.
//
// What it is not: a generator. Each test has its own, since what matters is which inputs meet.
import { randomInt } from 'node:crypto';
import type { ExecutionContext } from 'ava';
import fc from 'fast-check';

const { PROPERTY_SEED, PROPERTY_RUNS = '1' } = process.env;

const seed = Number(PROPERTY_SEED ?? randomInt(2 ** 31));

/**
 * Fails with the smallest input for which `check` throws. The inputs are those of `inputs`, as many
 * as `runs` says.
 */
export async function holds<Input>(
  t: ExecutionContext,
  runs: number,
  inputs: fc.Arbitrary<Input>,
  check: (input: Input) => void | Promise<void>,
): Promise<void> {
  const numRuns = runs * Number(PROPERTY_RUNS);
  t.log(`PROPERTY_SEED=${seed}, ${numRuns} inputs`);
  const property = fc.asyncProperty(inputs, async (input) => check(input));
  const outcome = await fc.check(property, { seed, numRuns, includeErrorInReport: true });
  if (outcome.failed) {
    t.fail(fc.defaultReportMessage(outcome));
  } else {
    t.pass();
  }
}
