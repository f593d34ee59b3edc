// The seed of what tests make by chance: the same in every run, so that a change is judged by what it
// changes. `TEST_SEED` names another, or `random` draws one. The crates' tests have the same rule in
// crates/hawk/tests/seed.
import { randomInt } from 'node:crypto';
import type { ExecutionContext } from 'ava';

const { TEST_SEED = '1566072965' } = process.env;

export const SEED = TEST_SEED === 'random' ? randomInt(2 ** 31) : Number(TEST_SEED);
if (!Number.isSafeInteger(SEED)) {
  throw new Error(`TEST_SEED is a whole number, or random, but no '${TEST_SEED}'.`);
}

/** Tells how to run `t` again with the same choices. */
export function tellSeed(t: Pick<ExecutionContext, 'log'>): void {
  t.log(`TEST_SEED=${SEED}`);
}
