// Hostile input: the services refuse it in Taskcluster's shape, and it never causes an internal error.
import taskcluster from 'taskcluster-client';
import { onEveryBackend } from '../harness/backends.js';
import { authorization, deploymentFor, runs, send } from '../harness/deployment.js';
import { definition, queueOf, WORKER } from '../harness/queue.js';

const NUL = '\u0000';
const TOKEN = Buffer.from(`a${NUL}`).toString('base64url');
const LEAP_SECOND = '2026-12-31T23:59:60Z';
const YEAR_0 = '0000-01-01T00:00:00Z';

const TYPE = 'queue/v1/provisioners/demo/worker-types/local';
const WORKERS = `${TYPE}/workers`;
/** A worker as it is declared. */
const MACHINE = 'queue/v1/provisioners/demo/worker-types/local/a/b';

/** Requests after `/api/`, `<task>` being a running task, and what they are answered. */
const REQUESTS: [method: string, target: string, body: object | undefined, status: number][] = [
  ['GET', 'queue/v1/task/<task>/runs/99999999999/artifact-info/a', undefined, 404],
  ['GET', 'queue/v1/task/<task>/runs/99999999999/artifacts/a', undefined, 404],
  ['GET', 'queue/v1/task/<task>/runs/99999999999/artifact-content/a', undefined, 404],
  ['GET', 'queue/v1/task/<task>/runs/99999999999/artifacts', undefined, 404],
  ['GET', 'queue/v1/task/<task>/runs/-1/artifacts', undefined, 400],
  ['GET', `queue/v1/task/<task>/artifacts?continuationToken=${TOKEN}`, undefined, 400],
  ['GET', 'queue/v1/task/<task>/artifacts?limit=99999999999999999999', undefined, 200],
  ['GET', 'queue/v1/task/<task>/artifacts/%00', undefined, 400],
  ['GET', 'queue/v1/task/<task>/artifacts/%ff', undefined, 400],
  ['GET', 'queue/v1/task/%00', undefined, 400],
  ['POST', 'queue/v1/tasks/status', { taskIds: [NUL, '<task>', 'x'] }, 200],
  ['POST', 'queue/v1/task/<task>/runs/99999999999/reclaim', {}, 404],
  ['POST', 'queue/v1/task/<task>/runs/99999999999/completed', {}, 404],
  ['POST', 'queue/v1/task/<task>/runs/0/exception', { reason: NUL }, 400],
  ['PUT', 'queue/v1/task/<new>', definition({ expires: LEAP_SECOND }), 400],
  ['PUT', 'queue/v1/task/<new>', definition({ created: LEAP_SECOND }), 400],
  ['PUT', 'queue/v1/task/<new>', definition({ deadline: YEAR_0 }), 400],
  ['PUT', 'queue/v1/task/<new>', definition({ payload: { [NUL]: `${NUL}\ud800` } }), 200],
  ['POST', 'queue/v1/claim-work/demo/none', { ...WORKER, workerId: NUL, tasks: 1 }, 400],
  ['GET', 'queue/v1/provisioners/%00', undefined, 400],
  [
    'GET',
    `queue/v1/provisioners/a/worker-types/b/workers?continuationToken=${TOKEN}`,
    undefined,
    400,
  ],
  ['GET', 'queue/v1/provisioners/a/worker-types/b/workers?quarantined=maybe', undefined, 400],
  ['GET', 'queue/v1/task-queues/demo/local/pending?continuationToken=_w', undefined, 200],
  ['GET', `queue/v1/task-queues/demo/local/claimed?continuationToken=${TOKEN}`, undefined, 400],
  ['PUT', TYPE, { expires: LEAP_SECOND }, 400],
  ['PUT', TYPE, { description: NUL }, 400],
  ['PUT', TYPE, {}, 400],
  ['PUT', MACHINE, { expires: LEAP_SECOND }, 400],
  ['PUT', MACHINE, { expires: '9999-12-31T23:59:59Z' }, 200],
  ['PUT', `${WORKERS}/a/b`, { quarantineUntil: YEAR_0 }, 400],
  ['PUT', `${WORKERS}/a/b`, { quarantineUntil: '9999-12-31T23:59:59Z', quarantineInfo: NUL }, 200],
  ['POST', 'queue/v1/task/<task>/priority', { newPriority: NUL }, 400],
  ['GET', 'auth/v1/audit/role/%00', undefined, 400],
  ['GET', 'auth/v1/audit/role/%E2%9C%93%2F', undefined, 200],
  ['GET', `auth/v1/audit/role/a?continuationToken=${TOKEN}`, undefined, 400],
  ['GET', 'auth/v1/clients/a/audit?continuationToken=OTk5OTk5OTk5OTk5OTk5OTk5', undefined, 400],
  ['POST', 'auth/v1/github/a/b/repo-token', { permissions: { [NUL]: 'read' } }, 400],
  ['PUT', 'secrets/v1/secret/a', { secret: {}, expires: LEAP_SECOND }, 400],
  ['PUT', 'secrets/v1/secret/a', { secret: {}, expires: YEAR_0 }, 400],
  ['PUT', 'secrets/v1/secret/a', { secret: { [NUL]: NUL }, expires: '9999-12-31T23:59:59Z' }, 200],
  ['GET', `secrets/v1/secrets?continuationToken=${TOKEN}`, undefined, 400],
];

const ARTIFACT = { storageType: 's3', contentType: 'a/b', expires: taskcluster.fromNow('1 hour') };

const ARTIFACTS: object[] = [
  { ...ARTIFACT, contentType: `a/b${NUL}` },
  { ...ARTIFACT, contentType: 'a/b\r\nx: y' },
  { ...ARTIFACT, contentType: 'a/\u20ac' },
  { ...ARTIFACT, contentLength: 1e300 },
  { ...ARTIFACT, expires: LEAP_SECOND },
  { ...ARTIFACT, expires: YEAR_0 },
  { ...ARTIFACT, storageType: 'object' },
  { ...ARTIFACT, storageType: 'reference', url: 'a b\r\n' },
];

onEveryBackend(
  'a request with hostile input is refused or accepted, and never causes a fault',
  async (t, place) => {
    const faults: unknown[] = [];
    const onFault = (fault: unknown) => faults.push(fault);
    const deployment = await deploymentFor(t, { ...place, onFault });
    const queue = queueOf(deployment, deployment.credentials);
    const taskId = taskcluster.slugid();
    await queue.createTask(taskId, definition({ expires: taskcluster.fromNow('1 day') }));
    await queue.claimTask(taskId, 0, WORKER);
    const create = `queue/v1/task/<task>/runs/0/artifacts/a`;
    const requests = [
      ...REQUESTS,
      ...ARTIFACTS.map((body) => ['POST', create, body, 400] as const),
    ];
    for (const [method, target, json, status] of requests) {
      const filled = (text: string) =>
        text.replaceAll('<task>', taskId).replaceAll('<new>', taskcluster.slugid());
      const request = { method, target: `/api/${filled(target)}` };
      const headers = {
        'Content-Type': 'application/json',
        Authorization: authorization(deployment, { client: deployment.credentials, ...request }),
      };
      const body = json === undefined ? {} : { body: filled(JSON.stringify(json)) };
      const answer = await send(deployment, { ...request, headers, ...body });
      const what = `${method} ${target} ${JSON.stringify(json)}: ${answer.text}`;
      t.is(answer.status, status, what);
      if (status !== 200) {
        t.regex(answer.json.code, /^[A-Z]\w+$/, what);
        t.notRegex(answer.text, /node:|\.js:|\.ts:/, what);
      }
    }
    t.deepEqual(faults, []);
  },
);

onEveryBackend(
  'a worker gets the next task after many abandoned requests for work',
  async (t, place) => {
    const deployment = await deploymentFor(t, { ...place, metrics: '0' });
    const queue = queueOf(deployment, deployment.credentials);
    const target = '/api/queue/v1/claim-work/demo/local';
    const abandoned = Array.from({ length: 20 }, () => {
      const controller = new AbortController();
      const client = deployment.credentials;
      const sent = fetch(deployment.rootUrl + target, {
        method: 'POST',
        signal: controller.signal,
        body: JSON.stringify({ ...WORKER, tasks: 1 }),
        headers: {
          'Content-Type': 'application/json',
          Authorization: authorization(deployment, { client, method: 'POST', target }),
        },
      }).catch(() => undefined);
      return { controller, sent };
    });
    await runs(deployment, abandoned.length);
    for (const { controller, sent } of abandoned) {
      controller.abort();
      await sent;
    }
    await runs(deployment, 0);
    const taskId = taskcluster.slugid();
    await queue.createTask(taskId, definition());
    const { tasks } = await queue.claimWork('demo/local', { ...WORKER, tasks: 1 });
    t.is(tasks[0].status.taskId, taskId);
  },
);
