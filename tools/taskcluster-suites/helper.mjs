/**
 * Takes the place of `test/helper.js` of Taskcluster's auth, queue and secrets services: their tests call a
 * local deployment instead of the service beside them.
 *
 * It has what can be reached by calls. A test that asks for the service's own parts (its database functions,
 * its pollers, a clock that is set) is skipped, and so is each test in a suite that is about nothing else. Messages of
 * Pulse are neither sent here nor asserted.
 */
import assert from 'node:assert';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import taskcluster from '@taskcluster/client';

const { SUITES_DIST, SUITES_DATABASE_URL } = process.env;
const { startDeployment } = await import(`${SUITES_DIST}/deployment/index.js`);
const { openDatabase } = await import(`${SUITES_DIST}/deployment/storage/open.js`);

/** A part of the service that no call reaches. */
class OwnPart extends Error {}

let running;
let database;
let folder;
/** The test that runs, so that it can be skipped from within. */
let current;

/** One deployment serves all suites; tests that leave tasks behind reset its tables. */
async function deployment() {
  if (running === undefined) {
    folder = await mkdtemp(join(tmpdir(), 'taskcluster-suites-'));
    database = await openDatabase({ folder: join(folder, 'database'), url: SUITES_DATABASE_URL });
    running = await startDeployment({
      folder,
      database,
      clients: [{ clientId: 'test-client', accessToken: 'none', scopes: ['*'] }, ...CAPTAINS],
      onNotice: () => undefined,
      onFault: (fault) => console.error('a fault of the deployment:', fault),
    });
  }
  return running;
}

/** The clients of the secrets service's tests. */
const CAPTAINS = Object.entries({
  'captain-write': ['secrets:set:captain:*'],
  'captain-read': ['secrets:get:captain:*'],
  'captain-read-write': ['secrets:set:captain:*', 'secrets:get:captain:*', 'secrets:list-secrets'],
  'captain-read-limited': ['secrets:get:captain:limited/*'],
  none: [],
}).map(([clientId, scopes]) => ({ clientId, accessToken: 'unused', scopes }));

const ROOT_ACCESS_TOKEN = 'of-the-deployment';

function clientOf(Api, scopes, credentials) {
  const { rootUrl } = running;
  if (scopes[0] === 'none') {
    return new Api({ rootUrl, retries: 0 });
  }
  const authorizedScopes = scopes.length > 0 ? scopes : undefined;
  return new Api({ rootUrl, retries: 0, credentials, authorizedScopes });
}

const nothing = () => undefined;
const ownPart = (name) => () => {
  current?.skip();
  throw new OwnPart(name);
};

function inEachSuite(prepare, each = nothing) {
  suiteSetup(async () => {
    await deployment();
    await prepare();
  });
  setup(each);
}

/** Parts of the service: whatever is asked of them ends the test as skipped. */
const parts = (name) =>
  new Proxy(ownPart(name), {
    get: (_, key) => (key === 'then' ? undefined : parts(`${name}.${String(key)}`)),
  });

const known = {
  secrets: {
    // As the services' own tests run without secrets: everything foreign is a mock.
    mockSuite: (title, _secrets, body) =>
      suite(title, () => {
        setup(function () {
          current = this;
        });
        body(true, () => false);
      }),
  },
  rootAccessToken: ROOT_ACCESS_TOKEN,
  get rootUrl() {
    return running?.rootUrl;
  },
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
  withServer: () =>
    inEachSuite(
      () => {
        known.Queue = taskcluster.Queue;
        known.client = async (clientId) =>
          clientOf(taskcluster.Secrets, [], { clientId, accessToken: 'unused' });
        known.scopes = (...scopes) => {
          const credentials = { clientId: 'test-client', accessToken: 'none' };
          known.queue = clientOf(taskcluster.Queue, scopes, credentials);
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
          known.apiClient = clientOf(taskcluster.Auth, scopes, running.credentials);
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
  'withSentry',
  'withGcp',
  'withGithub',
]) {
  known[name] = nothing;
}

function datesOf({ deadline, expires, runs }) {
  const ofRuns = runs.flatMap(({ takenUntil, scheduled, started, resolved }) =>
    Object.entries({ takenUntil, scheduled, started, resolved }),
  );
  return [...Object.entries({ deadline, expires }), ...ofRuns].filter(
    ([, date]) => date !== undefined,
  );
}

/** Without what earlier tests have left: tasks and all that belongs to them. */
async function emptied() {
  const rows = await database.query(
    `SELECT table_name FROM information_schema.columns
     WHERE table_schema = current_schema() AND column_name IN ('task_id', 'task_queue_id', 'task_group_id')`,
  );
  const tables = [...new Set(rows.map(({ table_name }) => `"${table_name}"`))];
  await database.query(`TRUNCATE ${tables.join(', ')} CASCADE`);
}

export default new Proxy(known, {
  get: (target, name) => (name in target ? Reflect.get(target, name) : parts(String(name))),
});
export const load = parts('load');

suiteTeardown(async () => {
  await running?.stop();
  if (folder !== undefined) {
    await rm(folder, { recursive: true, force: true });
  }
});
