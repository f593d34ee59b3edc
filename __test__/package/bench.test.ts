// The evaluation of the bench's figures: medians, and whether the proxy keeps within its limits. The
// measurement itself needs a quiet machine and minutes, and does not run here.
import test from 'ava';
import { chart } from '../../bench/chart.js';
import { choose } from '../../bench/options.js';
import { median, Results } from '../../bench/results.js';
import { asMarkdown, asText, rows } from '../../bench/table.js';

const PEERS = ['direct', 'ours', 'nginx'];

function measured(values: Record<string, Record<string, number[]>>): Results {
  const results = new Results();
  for (const [key, peers] of Object.entries(values)) {
    for (const [peer, list] of Object.entries(peers)) {
      for (const value of list) {
        results.add(peer, { [key]: value });
      }
    }
  }
  return results;
}

test('the median is the middle, or between the two in the middle', (t) => {
  t.is(median([3, 1, 2]), 2);
  t.is(median([4, 1, 3, 2]), 2.5);
});

test('a figure is judged against the medians of the same run', (t) => {
  const results = measured({
    'get-64.cpu': { ours: [14e-6, 12e-6, 99e-6], nginx: [14e-6, 15e-6, 13e-6] },
    'down.cpu': { ours: [0.5], nginx: [0.9] },
  });
  const [get, down, ...others] = rows(results.median, PEERS);
  t.deepEqual(get?.cells, ['', '14.0', '14.0']);
  t.deepEqual(get?.verdicts, [
    { ratio: '1.00', limit: 'at most that of nginx (14.0)', holds: true },
  ]);
  t.deepEqual(down?.verdicts, [
    { ratio: '0.56', limit: 'at most 0.5 of nginx (0.450)', holds: false },
  ]);
  t.deepEqual(others, []);
});

test('limits stand alone, add to a reference, or compare with another figure', (t) => {
  const results = measured({
    'down.first': { ours: [2.1e-3], direct: [1e-3] },
    'start.listening': { ours: [50e-3] },
    'start.empty': { node: [40e-3] },
    'idle.memory': { ours: [17 * 1024] },
    'stopped.memory': { ours: [64 * 1024] },
  });
  const verdicts = rows(results.median, PEERS).flatMap((row) => row.verdicts);
  t.deepEqual(verdicts, [
    { ratio: '2.10', limit: 'at most 1.2 of direct plus 1 ms (2200)', holds: true },
    { ratio: '17.0', limit: 'at most 16 KiB', holds: false },
    { ratio: '64.0', limit: 'at most 64 KiB', holds: true },
    { ratio: '1.25', limit: 'at most 1.3 of `node -e 0` (52.0)', holds: true },
  ]);
});

test('a rate must reach a share of the reference', (t) => {
  const verdictAt = (own: number) => {
    const results = measured({
      'distance.rate': { direct: [200 * 2 ** 20], ours: [own * 2 ** 20] },
    });
    return rows(results.median, PEERS)[0]?.verdicts;
  };
  const limit = 'at least 0.85 of curl directly (170)';
  t.deepEqual(verdictAt(171), [{ ratio: '0.85', limit, holds: true }]);
  t.deepEqual(verdictAt(20), [{ ratio: '0.10', limit, holds: false }]);
});

test('downloads at once have a least rate, and a largest share for the busiest thread', (t) => {
  const results = measured({
    'down-16.rate': { ours: [400 * 2 ** 20], nginx: [400 * 2 ** 20] },
    'down-16.busiest': { ours: [0.98], nginx: [0.55] },
  });
  const verdicts = rows(results.median, PEERS).flatMap((row) => row.verdicts);
  t.deepEqual(verdicts, [
    { ratio: '1.00', limit: 'at least that of nginx (400)', holds: true },
    { ratio: '98.0', limit: 'at most 75 %', holds: false },
  ]);
});

test('figures with an upstream that offers h2 are judged by the limits of TLS', (t) => {
  const peers = { ours: [0.9], nginx: [1] };
  const results = measured({
    'get-64-alpn.cpu': peers,
    'post-64.cpu': peers,
    'post-64-tls.cpu': { ours: [1.1], nginx: [1] },
    'post-64-alpn.cpu': peers,
    'down-alpn.cpu': peers,
    'up-alpn.cpu': { ours: [0.7], nginx: [1] },
    'up-alpn.memory': { ours: [17 * 2 ** 20] },
  });
  const told = rows(results.median, PEERS).map(({ figure, verdicts: [verdict] }) => [
    figure.replace(/^CPU per /, ''),
    verdict?.limit.replace(/ \(.*/, ''),
    verdict?.holds,
  ]);
  t.deepEqual(told, [
    ['small GET, 64 connections, TLS upstream that offers h2', 'at most that of nginx', true],
    ['POST of 300 B, 64 connections', 'at most that of nginx', true],
    ['POST of 300 B, 64 connections, TLS upstream', 'at most that of nginx', false],
    ['POST of 300 B, 64 connections, TLS upstream that offers h2', 'at most that of nginx', true],
    ['GiB down, TLS upstream that offers h2', 'at most 0.7 of nginx', false],
    ['GiB up, TLS upstream that offers h2', 'at most 0.7 of nginx', true],
    ['memory growth while 1 GiB passes up, TLS upstream that offers h2', 'at most 16 MiB', false],
  ]);
});

test('added latency is the latency through the proxy less that of a direct request', (t) => {
  const results = measured({
    'latency.p99': { direct: [1e-3], ours: [1.2e-3], nginx: [0.9e-3] },
  });
  t.is(results.median('latency.added', 'ours')?.toFixed(6), '0.000200');
  t.is(results.median('latency.added', 'nginx'), 0);
  t.is(rows(results.median, PEERS)[0]?.verdicts[0]?.holds, false);
});

test('--only selects one scenario by its name, or all with that prefix', (t) => {
  const all = ['get-64', 'get-64-tls', 'down', 'down-tls'].map((name) => ({ name }));
  const chosen = (...only: string[]) => choose(all, only).map(({ name }) => name);
  t.deepEqual(chosen('get-64'), ['get-64']);
  t.deepEqual(chosen('dow', 'get-64-tls'), ['get-64-tls', 'down', 'down-tls']);
  t.is(chosen().length, 4);
  t.throws(() => chosen('down', 'u'), {
    message: '--only u names no scenario (--list shows them)',
  });
});

test('the table is text and Markdown, the chart SVG', (t) => {
  const results = measured({ 'get-64.cpu': { ours: [28e-6], nginx: [14e-6] } });
  const table = rows(results.median, PEERS);
  const [head = '', line = ''] = asText(table, PEERS).split('\n');
  t.is(head.indexOf('holds'), line.indexOf('NO'));
  const columns = asMarkdown(table, PEERS)
    .split('\n')
    .map((each) => each.split('|').length);
  t.deepEqual(new Set(columns).size, 1);
  const svg = chart(results.median, ['ours', 'nginx', '<other>'], 'here & now');
  t.regex(svg, /^<svg .*28\.0 us.*here &amp; now.*<\/svg>\n$/s);
  t.false(svg.includes('<other>'));
});
