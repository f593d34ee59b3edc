// The two wires held against each other by generated cases, of a seed that is printed: what an
// upstream and a client do, how their bytes are cut, and when either ends. The seed is the same in
// every run, so that a change is judged by what it changes; `WIRES_SEED` sets another, and
// `npm run wires -- --cases 100000` draws one and makes more of them.
import test from 'ava';
import { FOUND } from './harness/wires/found.js';
import { again, run } from './harness/wires/run.js';

const { WIRES_SEED } = process.env;
const seed = Number(WIRES_SEED ?? 1_566_072_965);

test('generated cases come to the same on both wires', async (t) => {
  t.timeout(300_000);
  t.log(`WIRES_SEED=${seed}`);
  const { found, passing } = await run(t, { cases: 2_000, seed, pairs: 4 });
  for (const once of passing) {
    t.log(`differed, and then did not: ${once}`);
  }
  t.deepEqual(found, []);
});

test('cases that were found once come to the same', async (t) => {
  t.deepEqual(await again(t, FOUND), []);
});

test('a difference is found, and made small', async (t) => {
  t.timeout(300_000);
  const { found } = await run(t, {
    cases: 200,
    seed,
    pairs: 1,
    hyperFlags: ['--retry-for', '0'],
    // As long as it takes on a busy machine.
    shrinkingMs: 240_000,
  });
  t.is(found.length, 1);
  const [, script = ''] = /^(\{"requests":.*\})$/m.exec(found[0] ?? '') ?? [];
  const { requests } = JSON.parse(script) as { requests: { answers: unknown[] }[] };
  t.true(requests.length <= 2, script);
  t.is(requests[0]?.answers.length, 1, script);
});
