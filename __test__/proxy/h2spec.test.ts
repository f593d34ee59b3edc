// The public conformance suite for HTTP/2 (https://github.com/summerwind/h2spec) as a client of the
// proxy: on paths that the proxy answers itself, on a refused one, and on a proxied one.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import { freshDirectory } from '../harness/directory.js';
import { echoOverHttp2, startHttp2Upstream } from '../harness/http2.js';
import { type ProxyOptions, type RunningProxy, startProxy } from '../harness/proxy.js';
import { pathOf, testWith } from '../harness/tools.js';
import { startUpstream } from '../harness/upstream.js';

/**
 * Cases in which the proxy differs on purpose, by section and number. 3.5/2: a connection that
 * begins with something else than HTTP/2's preface is one of HTTP/1 here, which has 400 as its
 * answer and then its end; h2spec takes the answer for a broken frame.
 */
const EXCEPTIONS = ['http2/3.5: Sends invalid connection preface'];

/**
 * Opens one stream more than it may, and must be told so. Where the first ones are answered before it has
 * opened the last, as on a busy machine, there were never too many, and it fails: it is run again then.
 */
const RACE = {
  name:
    'http2/5.1.2: Sends HEADERS frames that causes their advertised concurrent stream limit ' +
    'to be exceeded',
  section: 'http2/5.1.2/1',
  tries: 5,
};

/** The number of its cases. */
const CASES = 145;

const PATHS = {
  'that is answered here': '/__heartbeat__',
  'that the proxy answers itself': '/bewit',
  'that is refused': '/nothing',
  'that is proxied': '/queue/v1/x',
};

for (const [what, target] of Object.entries(PATHS)) {
  testWith('h2spec')(`h2spec passes on a path ${what}`, async (t) => {
    const upstream = await startUpstream(t);
    await runOn(t, target, await startProxy(t, { rootUrl: upstream.url }));
  });
}

testWith('h2spec')('h2spec passes on a path that is proxied by HTTP/2', async (t) => {
  const authority = await Authority.create();
  const upstream = await startHttp2Upstream(t, await authority.issue(['localhost']), (exchange) =>
    // Many of its requests break off.
    echoOverHttp2(exchange).catch(() => void exchange.stream.destroy()),
  );
  const env = { SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)) };
  const options: ProxyOptions = { rootUrl: upstream.url, env, flags: ['--upstream-http2'] };
  await runOn(t, '/queue/v1/x', await startProxy(t, options));
  t.true(upstream.exchanges.length > 0);
});

async function runOn(t: ExecutionContext, target: string, proxy: RunningProxy): Promise<void> {
  const { cases, told } = await run(t, target, proxy);
  t.is(cases.length, CASES, told);
  const failed = cases.filter(({ isFailed }) => isFailed).map(({ name }) => name);
  for (let time = 0; failed.includes(RACE.name) && time < RACE.tries; time += 1) {
    const again = await run(t, target, proxy, RACE.section);
    if (again.cases.some(({ name, isFailed }) => name === RACE.name && !isFailed)) {
      failed.splice(failed.indexOf(RACE.name), 1);
    }
  }
  t.deepEqual(failed, EXCEPTIONS, told);
}

async function run(t: ExecutionContext, target: string, proxy: RunningProxy, ...what: string[]) {
  const report = path.join(freshDirectory(t), 'report.xml');
  const where = ['--host', '127.0.0.1', '--port', `${proxy.port}`, '--path', target];
  const how = ['--timeout', '10', '--junit-report', report];
  // It ends with 1 where a case fails, and the report says which.
  const told = await promisify(execFile)(pathOf('h2spec'), [...where, ...how, ...what]).then(
    ({ stdout }) => stdout,
    ({ stdout, message }) => stdout || message,
  );
  return { cases: casesOf(readFileSync(report, 'utf8')), told };
}

function casesOf(report: string): { name: string; isFailed: boolean }[] {
  const each = /<testcase package="([^"]*)" classname="([^"]*)"[^>]*>(.*?)<\/testcase>/gs;
  return [...report.matchAll(each)].map(([, section, what, inside = '']) => ({
    name: `${section}: ${what}`,
    isFailed: /<(?:failure|error)\b/.test(inside),
  }));
}
