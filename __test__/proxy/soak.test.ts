// The soak itself (`npm run soak`), for some seconds: it runs, judges, and ends without a fault. Only a
// run of minutes finds descriptors and memory that grow.
import type { ExecutionContext } from 'ava';
import test from 'ava';
import { soakDeployment } from '../../soak/deployment.js';
import { Ledger } from '../../soak/ledger.js';
import { readOptions } from '../../soak/options.js';
import { Corrupt, Payload } from '../../soak/payload.js';
import { soakProxy } from '../../soak/proxy.js';
import { faultsOf, type Run, table } from '../../soak/report.js';
import { TEST_PATIENCE_MS } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { SEED, tellSeed } from '../harness/seed.js';
import { testWith } from '../harness/tools.js';

function runFor(t: ExecutionContext, minutes: number): Run {
  // A busy machine takes its time to start what is soaked.
  t.timeout(TEST_PATIENCE_MS);
  const { pause, seed } = readOptions(['--seed', String(SEED)]);
  tellSeed(t);
  const directory = freshDirectory(t);
  return { minutes, pause, seed, judgesFair: false, directory, progress: () => {} };
}

const linuxTest = process.platform === 'linux' ? test : test.skip;

linuxTest('a proxy comes through a short soak without a fault', async (t) => {
  const figures = await soakProxy(runFor(t, 0.15));
  t.log(table(figures));
  t.deepEqual(faultsOf(figures), []);
  for (const { name, ledger } of figures) {
    for (const what of ['signatures verified', 'updates', 'cancelled']) {
      t.true(ledger.count(what) > 0, `${name}: ${what}`);
    }
  }
});

testWith('postgres')('a deployment comes through restarts of its database', async (t) => {
  const figures = await soakDeployment(runFor(t, 0.15));
  t.log(table(figures));
  t.deepEqual(faultsOf(figures), []);
  t.true((figures[0]?.ledger.count('read at the end') ?? 0) > 0);
});

test('the soak finds a body with a byte that is lost, changed or too many', (t) => {
  const payload = new Payload(3, 2_500_000);
  const whole = payload.whole();
  t.is(whole.length, 2_500_000);
  const read = (bytes: Buffer, piece: number) => {
    const reader = payload.reader();
    for (let at = 0; at < bytes.length; at += piece) {
      reader.take(bytes.subarray(at, at + piece));
    }
    reader.end();
  };
  const without = (at: number) => Buffer.concat([whole.subarray(0, at), whole.subarray(at + 1)]);
  const changed = Buffer.from(whole);
  changed[1_500_000] = (changed[1_500_000] ?? 0) ^ 1;
  for (const piece of [1, 1_000, 65_536, 3_000_000]) {
    t.notThrows(() => read(whole, piece));
    const broken = [
      changed,
      without(0),
      without(2_000_000),
      whole.subarray(1),
      whole.subarray(0, -1),
    ];
    for (const bytes of [...broken, Buffer.concat([whole, Buffer.from('x')])]) {
      t.throws(() => read(bytes, Math.max(piece, 100)), { instanceOf: Corrupt });
    }
  }
});

test('the soak counts all faults and keeps the first 50', (t) => {
  const ledger = new Ledger();
  for (let count = 0; count < 100; count += 1) {
    ledger.fault('something');
  }
  t.is(ledger.count('faults'), 100);
  t.is(ledger.faults.length, 50);
});

test('the soak refuses unknown options and invalid values', (t) => {
  t.is(readOptions(['--minutes', '0.5', '--seed', '7']).seed, 7);
  for (const args of [
    ['--minutes', '0'],
    ['--minutes', 'x'],
    ['--seed', '1.5'],
    ['--minute', '1'],
  ]) {
    t.throws(() => readOptions(args), { name: 'UsageError' }, args.join(' '));
  }
});
