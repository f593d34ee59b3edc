/**
 * Runs the tests of Taskcluster's own clients and services against a local deployment, and records what its
 * services answer. Their code is no part of this repository: the caller names a checkout of Taskcluster with its
 * packages installed. docs/development.md says how.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = resolve(import.meta.dirname, '..');
const OVERRIDES = join(import.meta.dirname, 'taskcluster-suites/resolve.mjs');

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { checkout: { type: 'string' }, 'database-url': { type: 'string' } },
});
if (values.checkout === undefined) {
  console.error('taskcluster-suites: name a checkout of Taskcluster by --checkout');
  process.exit(64);
}
const checkout = resolve(values.checkout);

const CLIENTS = { javascript: testJavascript, python: testPython, go: testGo };
const SERVICES = ['auth', 'queue', 'secrets'];

/** Within the tests of artifacts, a suite tests a function of the service. */
const WITHOUT_OWN_FUNCTIONS = ['--invert', '--grep=createArtifactCallsCompatible'];

/** What the recorded requests are played to: a service of the checkout, on a PostgreSQL server. */
const RECORDED = ['queue', 'auth'];

const wanted = positionals.length > 0 ? positionals : [...Object.keys(CLIENTS), ...SERVICES];
const known = [...Object.keys(CLIENTS), ...SERVICES, 'record'];
const unknown = wanted.find((name) => !known.includes(name));
if (unknown !== undefined) {
  console.error(`taskcluster-suites: there is no suite ${unknown}`);
  process.exit(64);
}

const failed = [];
for (const name of wanted) {
  console.log(`== ${name}`);
  if (name !== 'record' && values['database-url'] !== undefined) {
    await emptyDatabase(values['database-url']);
  }
  const passes =
    name === 'record'
      ? await record()
      : name in CLIENTS
        ? await beside(CLIENTS[name])
        : await testService(name);
  if (!passes) {
    failed.push(name);
  }
}
console.log(failed.length === 0 ? 'all pass' : `failed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;

/** Each suite begins with a new deployment, whose keys open nothing of the one before. */
async function emptyDatabase(url) {
  const { openPostgresql } = await import(join(ROOT, 'dist/deployment/storage/postgresql.js'));
  const database = await openPostgresql(url);
  await database.script('DROP SCHEMA public CASCADE; CREATE SCHEMA public');
  await database.close();
}

/** Runs a client's tests beside a deployment, which they find by the environment. */
async function beside(test, anonymousScopes = test === testGo ? ['secrets:list-secrets'] : []) {
  const { startDeployment } = await import(join(ROOT, 'dist/deployment/index.js'));
  const folder = await mkdtemp(join(tmpdir(), 'taskcluster-suites-'));
  const deployment = await startDeployment({
    folder,
    databaseUrl: values['database-url'],
    anonymousScopes,
    onNotice: () => undefined,
  });
  try {
    return await test({ TASKCLUSTER_ROOT_URL: deployment.rootUrl });
  } finally {
    await deployment.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function testJavascript(environment) {
  return mocha(join(checkout, 'clients/client'), environment);
}

function testPython(environment) {
  const directory = join(checkout, 'clients/client-py');
  return run('python3', ['-m', 'pytest', '-q', 'test'], directory, environment);
}

function testGo(environment) {
  const directory = join(checkout, 'clients/client-go');
  return run('go', ['test', '-count=1', '-v', './integrationtest/...'], directory, environment);
}

async function testService(name) {
  const environment = {
    // Modules that `require` loads pass the hooks by.
    NODE_OPTIONS: `--no-experimental-require-module --import=${pathToFileURL(OVERRIDES)}`,
    SUITES_DIST: join(ROOT, 'dist'),
    SUITES_CHECKOUT_URL: pathToFileURL(join(checkout, 'services/queue/test/helper.js')).href,
    SUITES_DATABASE_URL: values['database-url'],
    // For the tests that empty a table themselves.
    TEST_DB_URL: values['database-url'],
  };
  const directory = join(checkout, 'services', name);
  return mocha(directory, environment, [
    ...WITHOUT_OWN_FUNCTIONS,
    ...(await filesThatCall(directory)),
  ]);
}

/** The others test the service's own code, and no deployment could change their result. */
async function filesThatCall(directory) {
  const paths = [];
  for (const path of await testFiles(directory)) {
    if ((await readFile(join(directory, path), 'utf8')).includes('.withServer')) {
      paths.push(path);
    }
  }
  return paths;
}

/** Each service has a database of its own on the server, which it fills: `tc_queue` and `tc_auth`. */
async function record() {
  const recordings = join(ROOT, '__test__/deployment/recorded');
  for (const service of RECORDED) {
    const environment = {
      TEST_DB_URL: new URL(`/tc_${service}`, values['database-url']).href,
      RECORD_SERVICE: service,
      RECORDING: join(recordings, `${service}.json`),
      RECORD_PLAY: pathToFileURL(join(recordings, 'play.mjs')).href,
    };
    const directory = join(checkout, 'services', service);
    const file = join(import.meta.dirname, 'taskcluster-suites/record.mjs');
    if (!(await mocha(directory, environment, [file]))) {
      return false;
    }
  }
  return true;
}

async function testFiles(directory) {
  const files = await readdir(join(directory, 'test'));
  return files.filter((file) => file.endsWith('_test.js')).map((file) => join('test', file));
}

async function mocha(directory, environment, own) {
  const program = join(checkout, 'node_modules/mocha/bin/mocha.js');
  const options = ['--ui=tdd', '--timeout=60000', '--exit'];
  const paths = own ?? (await testFiles(directory));
  return run(process.execPath, [program, ...options, ...paths], directory, environment);
}

async function run(program, args, cwd, environment) {
  const env = { ...process.env, ...environment };
  const child = spawn(program, args, { cwd, env, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code === 0;
}
