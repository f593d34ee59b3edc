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
console.log(JSON.stringify({ created: status.taskId, metadata, secret, scopes, refused }));
