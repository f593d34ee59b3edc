// Alert rules and dashboard name only metrics of the proxy.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { find } from '../harness/programs.js';
import { startProxy } from '../harness/proxy.js';
import { temporaryCredentials } from '../harness/signature.js';
import { startUpstream } from '../harness/upstream.js';

const run = promisify(execFile);
const DIRECTORY = path.resolve(import.meta.dirname, '../../docs/monitoring');
const read = (name: string) => readFileSync(path.join(DIRECTORY, name), 'utf8');

test('every metric of the alert rules and of the dashboard is one that the proxy has', async (t) => {
  const upstream = await startUpstream(t);
  const credentials = temporaryCredentials(['a'], 'tests/client');
  const proxy = await startProxy(t, { rootUrl: upstream.url, credentials });
  const { body } = await proxy.get('/__metrics__');
  const told = new Set(body.toString().match(/^[a-z]\w*/gm));
  const named = (text: string) =>
    new Set(text.match(/\b(taskcluster_proxy_|process_)[a-z_]*[a-z]/g));
  for (const name of ['alerts.yml', 'alerts.test.yml', 'dashboard.json']) {
    const unknown = [...named(read(name))].filter((metric) => !told.has(metric));
    t.deepEqual(unknown, [], name);
  }
  const shown = named(read('dashboard.json'));
  const hidden = [...told].filter((metric) => !/_(sum|count)$/.test(metric) && !shown.has(metric));
  t.deepEqual(hidden, [], 'what no panel shows');
});

const promtool = find('promtool');
if (promtool === undefined) {
  console.log('skipped here: the trial of the alert rules, which needs promtool');
}

(promtool === undefined ? test.skip : test)('the alert rules fire when they should', async (t) => {
  const files = { rules: 'alerts.yml', tests: 'alerts.test.yml' };
  for (const args of [
    ['check', 'rules', files.rules],
    ['test', 'rules', files.tests],
  ]) {
    await t.notThrowsAsync(run(promtool ?? '', args, { cwd: DIRECTORY }), args.join(' '));
  }
});
