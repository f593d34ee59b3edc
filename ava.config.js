// How the tests run. With CI=true their files come in an order of chance, so that none comes to lean on
// another one's being first; `ORDER_SEED` repeats an order, and sets one elsewhere, too.
import { createHash, randomInt } from 'node:crypto';
import { availableParallelism } from 'node:os';

const { CI, ORDER_SEED = CI === 'true' ? `${randomInt(2 ** 31)}` : '' } = process.env;

/** @param {string} file */
const place = (file) => createHash('sha256').update(`${ORDER_SEED} ${file}`).digest('hex');

if (ORDER_SEED !== '') {
  console.log(`ORDER_SEED=${ORDER_SEED}`);
}

export default {
  // One more than run at once, since most of them wait now and then.
  concurrency: availableParallelism() + 1,
  extensions: { ts: 'module' },
  files: ['__test__/**/*.test.ts'],
  nodeArguments: ['--import=tsx'],
  require: ['./__test__/harness/ending.ts'],
  // Without a result for so long, which is longer than any test waits for one thing.
  timeout: '5m',
  workerThreads: false,
  ...(ORDER_SEED !== '' && {
    // Without the part of the path that is this machine's.
    sortTestFiles: (a, b) => (place(nameOf(a)) < place(nameOf(b)) ? -1 : 1),
  }),
};

/** @param {string} file */
function nameOf(file) {
  return file.replace(/^.*__test__/, '');
}
