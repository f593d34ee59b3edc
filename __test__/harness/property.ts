// A property holds for every input; fast-check tries it with generated inputs. The seed is
// that of all tests (`seed.ts`); `PROPERTY_RUNS=100` makes a run a hundred times as long.
//
// What it is not: a generator. Each test has its own, since what matters is which inputs meet.
import type { ExecutionContext } from 'ava';
import fc from 'fast-check';
import { SEED, tellSeed } from './seed.js';

const { PROPERTY_RUNS = '1' } = process.env;

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
  tellSeed(t);
  t.log(`${numRuns} inputs`);
  const property = fc.asyncProperty(inputs, async (input) => check(input));
  const outcome = await fc.check(property, { seed: SEED, numRuns, includeErrorInReport: true });
  if (outcome.failed) {
    t.fail(fc.defaultReportMessage(outcome));
  } else {
    t.pass();
  }
}
