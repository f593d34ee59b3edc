/**
 * Takes the place of `test/helper.js` of Taskcluster's auth, queue and secrets services: their tests call a
 * local deployment instead of the service beside them.
 *
 * It has what can be reached by calls, and what `stand-ins.mjs` gives. A test that asks for another of the service's
 * own parts is skipped, with the name of the part, and so is each test in a suite that is about nothing else. Messages
 * of Pulse are neither sent here nor asserted.
 */
import assert from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import taskcluster from '@taskcluster/client';
import Mocha from 'mocha';
import { openDatabase, startDeployment } from './deployment.mjs';
import { standIns } from './stand-ins.mjs';

const { SUITES_DATABASE_URL } = process.env;

/** For the start of a deployment on a busy machine, in milliseconds. */
const START_PATIENCE = 300_000;

/** A part of the service that no call reaches. */
class OwnPart extends Error {}

let running;
let database;
let folder;
/** What stands in for parts of the service. */
let stand;
/** The test or hook that runs, so that it can be skipped from within. */
let current;

const { run } = Mocha.Runnable.prototype;
Mocha.Runnable.prototype.run = function (...args) {
  current = this;
  return run.apply(this, args);
};

/** One deployment serves all suites; tests that leave tasks behind reset its tables. */
async function deployment() {
  if (running === undefined) {
    folder = await mkdtemp(join(tmpdir(), 'taskcluster-suites-'));
    database = await openDatabase({ folder: join(folder, 'database'), url: SUITES_DATABASE_URL });
    running = await startDeployment({
      folder,
      database,
      port: PORT,
      clients: CLIENTS,
      onNotice: () => undefined,
      onFault: (fault) => console.error('a fault of the deployment:', fault),
    });
    stand = standIns(
      database,
      () => new taskcluster.Auth({ rootUrl: running.rootUrl, credentials: running.credentials }),
    );
  }
  return running;
}

/** A free port: tests read the root URL before anything runs. */
const PORT = await new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

/** The clients of the secrets service's tests, and that of the queue's. */
const CLIENTS = Object.entries({
  'captain-write': ['secrets:set:captain:*'],
  'captain-read': ['secrets:get:captain:*'],
  'captain-read-write': ['secrets:set:captain:*', 'secrets:get:captain:*', 'secrets:list-secrets'],
  'captain-read-limited': ['secrets:get:captain:limited/*'],
  none: [],
  'test-client': ['*'],
}).map(([clientId, scopes]) => ({ clientId, accessToken: 'none', scopes }));

const ROOT_ACCESS_TOKEN = 'of-the-deployment';

function clientOf(Api, scopes, credentials) {
  const { rootUrl } = known;
  const authorizedScopes = scopes.length > 0 ? scopes : undefined;
  return scopes[0] === 'none'
    ? new Api({ rootUrl, retries: 0 })
    : new Api({ rootUrl, retries: 0, credentials, authorizedScopes });
}

/** Without the endpoints that the deployment does not have. */
class Auth extends taskcluster.Auth {}
for (const name of ['awsS3Credentials', 'gcpCredentials', 'sentryDSN', 'websocktunnelToken']) {
  Auth.prototype[name] = (...args) => parts(`auth.${name}`)(...args);
}

/** Without the artifacts that an object service keeps. */
class Queue extends taskcluster.Queue {
  createArtifact(taskId, runId, name, artifact) {
    return artifact.storageType === 'object'
      ? parts('an object service')()
      : super.createArtifact(taskId, runId, name, artifact);
  }
}

const nothing = () => undefined;
// A function that can be called with `new`, since tests construct some parts.
const ownPart = (name) =>
  function refuse() {
    console.log(`      needs ${name}:`);
    current?.skip();
    throw new OwnPart(name);
  };

function inEachSuite(prepare, each = nothing) {
  suiteSetup(async function () {
    this.timeout(START_PATIENCE);
    await deployment();
    await prepare();
  });
  setup(each);
}

/** Parts of the service: whatever is asked of them ends the test as skipped. */
const parts = (name) =>
  new Proxy(ownPart(name), {
    get: (refuse, key) => {
      if (key === Symbol.iterator) {
        return refuse;
      }
      return key === 'then' || typeof key === 'symbol' ? undefined : parts(`${name}.${key}`);
    },
  });

/** An object whose other parts are not to be had. */
const orPart = (own, name) =>
  new Proxy(own, {
    get: (target, key) =>
      key in target || key === 'then' || typeof key === 'symbol'
        ? target[key]
        : parts(`${name}.${key}`),
  });

/** What the service's loader gives or, for work that is done once in a while, does. */
async function load(name) {
  if (name === 'db') {
    return known.db;
  }
  if (/^(expire|purge-expired)/.test(name)) {
    // As the configuration of the queue's tests has it.
    const isLater = /^expire-(task|artifacts)/.test(name);
    return stand.expire(taskcluster.fromNow(isLater ? '4 days' : '0 s'));
  }
  return name in stand.loaded
    ? orPart(stand.loaded[name], `load('${name}')`)
    : parts(`load('${name}')`)();
}

const known = {
  secrets: {
    // As the services' own tests run without secrets: everything foreign is a mock. The tests of artifacts do not run
    // with a mock of the store, and the deployment has a real one.
    mockSuite: (title, _secrets, body) =>
      suite(title, function () {
        body.call(this, !title.endsWith('artifact_test.js'), () => false);
      }),
  },
  rootAccessToken: ROOT_ACCESS_TOKEN,
  rootUrl: `http://127.0.0.1:${PORT}`,
  makeTaskQueueId: (prefix) =>
    `${prefix}/test-${taskcluster.slugid().replace(/[_-]/g, '').toLowerCase()}-a`,
  checkDates: (answer) => {
    for (const [name, date] of datesOf(answer.status)) {
      assert.match(date, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, name);
    }
    return answer;
  },
  assertPulseMessage: nothing,
  assertNoPulseMessage: nothing,
  clearPulseMessages: nothing,
  resetTables: () => setup(emptied),
  get db() {
    const fns = orPart(stand.fns, 'db.fns');
    return { fns, deprecatedFns: fns };
  },
  load: orPart(Object.assign(load, { save: nothing, restore: nothing, remove: nothing }), 'load'),
  // The deployment does their work itself.
  startPollingService: (name) =>
    name === 'claim-resolver'
      ? parts('a claim that ends after a second')()
      : stand.nothingDue(taskcluster.fromNow('10 s')),
  stopPollingService: nothing,
  runExpiration: load,
  withServer: () =>
    inEachSuite(
      () => {
        known.Queue = Queue;
        known.client = async (clientId) =>
          clientOf(taskcluster.Secrets, [], { clientId, accessToken: 'none' });
        known.scopes = (...scopes) => {
          const credentials = { clientId: 'test-client', accessToken: 'none' };
          known.queue = clientOf(Queue, scopes, credentials);
        };
      },
      () => known.scopes(),
    ),
  withServers: () =>
    inEachSuite(
      () => {
        known.AuthClient = taskcluster.Auth;
        known.rootAccessToken = running.credentials.accessToken;
        known.setupScopes = (...scopes) => {
          known.apiClient = clientOf(Auth, scopes, running.credentials);
        };
      },
      () => known.setupScopes(),
    ),
};
for (const name of [
  'withDb',
  'withCfg',
  'withPulse',
  'withS3',
  'withGCS',
  'withAmazonIPRanges',
  'withPollingServices',
  'withObjectService',
]) {
  known[name] = nothing;
}
// Beside the services' own tests stand fakes of these.
for (const name of ['withSentry', 'withGcp', 'withGithub']) {
  known[name] = () => suiteSetup(() => parts(name)());
}

function datesOf({ deadline, expires, runs }) {
  const ofRuns = runs.flatMap(({ takenUntil, scheduled, started, resolved }) =>
    Object.entries({ takenUntil, scheduled, started, resolved }),
  );
  return [...Object.entries({ deadline, expires }), ...ofRuns].filter(
    ([, date]) => date !== undefined,
  );
}

/** Without what earlier tests have left: tasks and all that belongs to them, clients, roles and their history. */
async function emptied() {
  const rows = await database.query(
    `SELECT table_name FROM information_schema.columns
     WHERE table_schema = current_schema() AND column_name IN ('task_id', 'task_queue_id', 'task_group_id')`,
  );
  const tables = new Set(rows.map(({ table_name }) => table_name));
  for (const table of [...tables, 'audit_history', 'roles']) {
    await database.query(`DELETE FROM "${table}"`);
  }
  await database.query(
    "DELETE FROM clients WHERE client_id NOT LIKE 'static/%' AND client_id <> ALL($1)",
    [CLIENTS.map(({ clientId }) => clientId)],
  );
}

/** While `body` runs, every caller has these scopes. */
export async function withAnonymousScopes(scopes, body) {
  const { rootUrl, credentials } = running;
  const auth = new taskcluster.Auth({ rootUrl, credentials });
  await auth.createRole('anonymous', { description: 'for one test', scopes });
  try {
    return await body();
  } finally {
    await auth.deleteRole('anonymous');
  }
}

const helper = orPart(known, 'helper');
export default helper;
const { load: loader } = known;

export { loader as load };

suiteTeardown(async () => {
  await running?.stop();
  if (folder !== undefined) {
    await rm(folder, { recursive: true, force: true });
  }
});
