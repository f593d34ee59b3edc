/**
 * Compares the two wires by generated cases: `npm run wires -- --cases 100000 [--seed N]`.
 *
 * `--pairs` says how many pairs of proxies are used at a time; `--path`, with one pair, begins where
 * a report says.
 */
import { parseArgs } from 'node:util';
import { run } from './run.js';

const ends: (() => unknown)[] = [];

process.exitCode = await main();
for (const end of ends.reverse()) {
  await end();
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '2000' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
      pairs: { type: 'string', default: '4' },
      path: { type: 'string' },
    },
  });
  const [cases, seed, pairs] = [values.cases, values.seed, values.pairs].map(Number);
  if (!(cases && cases > 0 && pairs && pairs > 0) || !Number.isInteger(seed)) {
    console.error('Give --cases and --pairs a number above 0, and --seed a whole number.');
    return 64;
  }
  console.log(`--seed ${seed} --cases ${cases} --pairs ${pairs}`);
  let done = 0;
  const since = Date.now();
  const progress = () => {
    done += 1;
    if (done % 1000 === 0) {
      console.log(`${done} cases, ${Math.round((Date.now() - since) / 1000)} s`);
    }
  };
  const t = { teardown: (end: () => unknown) => void ends.push(end) };
  const path = values.path === undefined ? {} : { path: values.path };
  const outcome = await run(t, {
    cases,
    seed: Number(seed),
    pairs,
    progress,
    tell: console.log,
    ...path,
  });
  console.log(
    `${outcome.cases} cases: ${outcome.found.length} of the pairs found a difference, ${outcome.passing.length} cases differed, and then did not`,
  );
  return outcome.found.length === 0 ? 0 : 1;
}
