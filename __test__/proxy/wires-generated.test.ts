// The two wires compared with each other by generated cases, from a printed seed: the actions of
// upstream and client, the packets of their bytes, and when either ends. `npm run wires -- --cases
// 100000` runs more of them, from a new seed.
import test from 'ava';
import { TEST_PATIENCE_MS } from '../harness/deadline.js';
import { SEED, tellSeed } from '../harness/seed.js';
import { FOUND } from '../harness/wires/found.js';
import { again, run } from '../harness/wires/run.js';

test('generated cases have the same outcome on both wires', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  tellSeed(t);
  const { found, passing } = await run(t, { cases: 2_000, seed: SEED, pairs: 4 });
  for (const once of passing) {
    t.log(`differed, and then did not: ${once}`);
  }
  t.deepEqual(found, []);
});

test('cases that differed once have the same outcome now', async (t) => {
  t.deepEqual(await again(t, FOUND), []);
});

test('the comparison finds a difference and shrinks its case', async (t) => {
  t.timeout(TEST_PATIENCE_MS);
  const { found } = await run(t, {
    cases: 200,
    seed: SEED,
    pairs: 1,
    hyperFlags: ['--retry-for', '0'],
    // As long as it takes on a busy machine.
    shrinkingMs: TEST_PATIENCE_MS / 2,
  });
  t.is(found.length, 1);
  const [, script = ''] = /^(\{"requests":.*\})$/m.exec(found[0] ?? '') ?? [];
  const { requests } = JSON.parse(script) as { requests: { answers: unknown[] }[] };
  t.true(requests.length <= 2, script);
  t.is(requests[0]?.answers.length, 1, script);
});
