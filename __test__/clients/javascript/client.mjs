// The JavaScript client: see ../README.md.
import { text } from 'node:stream/consumers';
import taskcluster from 'taskcluster-client';

const { TASKCLUSTER_PROXY_URL } = process.env;
const options = TASKCLUSTER_PROXY_URL
  ? { rootUrl: TASKCLUSTER_PROXY_URL }
  : taskcluster.fromEnvVars();

const plan = JSON.parse(await text(process.stdin));
const queue = new taskcluster.Queue(options);
const secrets = new taskcluster.Secrets(options);
const auth = new taskcluster.Auth(options);

const { status } = await queue.createTask(plan.taskId, plan.task);
const { metadata } = await queue.task(plan.taskId);
await secrets.set(plan.secretName, { secret: plan.secret, expires: plan.task.deadline });
const { secret } = await secrets.get(plan.secretName);
await secrets.remove(plan.secretName);
const { scopes } = await auth.currentScopes();
const refused = await secrets.get(plan.forbiddenName).then(
  () => 200,
  (error) => error.statusCode,
);
const { auditHistory } = await auth.getEntityHistory('secret', plan.secretName);
const history = auditHistory.map(({ actionType }) => actionType);
const learnt = { created: status.taskId, metadata, secret, scopes, refused, history };
console.log(JSON.stringify({ ...learnt, work: await work(plan) }));

async function work({ taskId, task: { provisionerId, workerType }, worker }) {
  const taskQueueId = `${provisionerId}/${workerType}`;
  const pending = await queue.listPendingTasks(taskQueueId);
  await queue.claimWork(taskQueueId, { ...worker, tasks: 1 });
  const claimed = await queue.listClaimedTasks(taskQueueId);
  const counts = await queue.taskQueueCounts(taskQueueId);
  const { workers } = await queue.listWorkers(provisionerId, workerType);
  const { workerTypes } = await queue.listWorkerTypes(provisionerId);
  const { taskQueues } = await queue.listTaskQueues();
  const { provisioners } = await queue.listProvisioners();
  const upload = { uploadId: taskId };
  const finished = await queue.finishArtifact(taskId, 0, 'public/none', upload).then(
    () => 204,
    (error) => error.statusCode,
  );
  return {
    pending: pending.tasks.map((each) => each.taskId),
    claimed: claimed.tasks.map((each) => each.taskId),
    counts: [counts.pendingTasks, counts.claimedTasks],
    workers: workers.map((each) => each.workerId),
    workerTypes: workerTypes.map((each) => each.workerType),
    taskQueues: taskQueues.map((each) => each.taskQueueId),
    provisioners: provisioners.map((each) => each.provisionerId),
    finished,
  };
}
