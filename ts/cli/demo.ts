#!/usr/bin/env node
/**
 * `npm start`: a private deployment, a claimed task and a proxy on this machine. The demo uploads and
 * downloads one large artifact through the proxy, renews the credentials, and makes a call without
 * credentials, which is refused until the anonymous role has its scope. It then keeps serving, for calls
 * by hand.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { mebibytes, showProgress } from '../demo/progress.js';
import { type ProxyProcess, startProxyProcess } from '../demo/proxy-process.js';
import { download, type Transfer, upload } from '../demo/transfer.js';
import {
  type Claim,
  inHours,
  newTaskId,
  SignedClient,
  WORKER,
  WORKER_SCOPES,
} from '../demo/worker.js';
import { type Deployment, startDeployment } from '../deployment/index.js';
import { readPort, readSize } from '../options.js';

interface DemoOptions {
  readonly port?: number;
  readonly deploymentPort?: number;
  readonly size: number;
  readonly once?: boolean;
}

/** What a run has started, and how to stop it. */
interface Stage {
  readonly deployment: Deployment;
  readonly proxy: ProxyProcess;
  readonly taskId: string;
  readonly runId: number;
  readonly authorizedScopes: readonly string[];
  /** Renews the claim and hands the new credentials to the proxy. */
  renew(): Promise<Claim>;
}

const ARTIFACT = 'public/demo.bin';
const SECRET = 'demo/greeting';
const DEFAULT_SIZE = '256MiB';
const CONTENT_TYPE = 'application/octet-stream';

/** Half of a claim's time, so that one renewal may fail. */
const RENEW_INTERVAL = 10 * 60 * 1000;

/** A change of the anonymous role applies within a second; a busy machine gets more, in milliseconds. */
const GRANT_PATIENCE = 10_000;

/** What to undo when the program ends, last first. */
const endings: (() => Promise<void>)[] = [];
let ended = false;
let ending: Promise<void> | undefined;

const command = new Command('npm start --')
  .description('Moves an artifact through taskcluster-proxy, on this machine alone')
  .option('--port <port>', 'port of the proxy, a free one when not given', argument(readPort))
  .option(
    '--deployment-port <port>',
    'port of the deployment, a free one when not given',
    argument(readPort),
  )
  .addOption(
    new Option('--size <size>', 'size of the artifact')
      .argParser(argument(sizeOf))
      .default(sizeOf(DEFAULT_SIZE), DEFAULT_SIZE),
  )
  .option('--once', 'end when the artifact has been moved')
  .parse();

try {
  await run(command.opts<DemoOptions>());
} catch (error) {
  // An error during the shutdown is not reported.
  if (!ended) {
    const { message, cause } = error as Error;
    // The message of a `fetch` error says nothing; its cause does.
    console.error(cause instanceof Error ? `${message}: ${cause.message}` : message);
    process.exitCode = 1;
  }
  await end();
}

function sizeOf(text: string): number {
  return readSize(text, '--size');
}

/** Reads an argument; an error of the reader becomes a usage error. */
function argument<Value>(read: (text: string) => Value): (text: string) => Value {
  return (text) => {
    try {
      return read(text);
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message);
    }
  };
}

async function run(options: DemoOptions): Promise<void> {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => void end().then(() => process.exit()));
  }
  // The reader has closed the pipe, as `| head` does.
  process.stdout.on('error', () => void end().then(() => process.exit()));
  const stage = await setUp(options);
  await moveArtifact(stage, options.size);
  await renewCredentials(stage);
  await openTask(stage);
  if (options.once === true) {
    await end();
    return;
  }
  suggest(stage);
  keepServing(stage);
}

/** Undoes the set-up; further calls wait for the same end. */
function end(): Promise<void> {
  ended = true;
  ending ??= undo();
  return ending;
}

async function undo(): Promise<void> {
  for (let each = endings.pop(); each !== undefined; each = endings.pop()) {
    await each().catch((error: Error) => console.error(error.message));
  }
}

/** Starts a deployment, lets a worker claim a task from it, and starts the proxy for the task. */
async function setUp(options: DemoOptions): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'taskcluster-proxy-demo-'));
  endings.push(() => rm(folder, { recursive: true, force: true }));
  const worker = { clientId: 'demo/worker', accessToken: newTaskId() + newTaskId() };
  const deployment = await startDeployment({
    folder,
    port: options.deploymentPort ?? 0,
    clients: [{ ...worker, scopes: WORKER_SCOPES }],
  });
  endings.push(() => deployment.stop());
  const { rootUrl, credentials } = deployment;
  say(`A private Taskcluster deployment runs at ${rootUrl}. It answers signed requests only.`);

  const taskId = newTaskId();
  const scopes = taskScopes(taskId);
  const root = new SignedClient(rootUrl, credentials);
  await root.setSecret(SECRET, { greeting: 'hello' });
  await root.createTask(taskId, scopes);
  const claim = await new SignedClient(rootUrl, worker).claimWork();
  if (claim === undefined) {
    throw new Error('the worker found nothing to claim');
  }
  const { runId } = claim;
  const authorizedScopes = [...scopes, `queue:create-artifact:${taskId}/${runId}`];
  const proxy = await startProxyProcess({
    rootUrl,
    credentials: claim.credentials,
    authorizedScopes,
    port: options.port,
  });
  endings.push(() => proxy.stop());
  say(
    `${WORKER.workerId} claimed task ${taskId} and started taskcluster-proxy for it at ` +
      `${proxy.url},\nwith the task's temporary credentials, good until ${clock(claim.takenUntil)}.\n`,
  );
  let latest = claim;
  const renew = async () => {
    latest = await new SignedClient(rootUrl, latest.credentials).reclaimTask(taskId, runId);
    await proxy.updateCredentials(latest.credentials);
    return latest;
  };
  return { deployment, proxy, taskId, runId, authorizedScopes, renew };
}

function taskScopes(taskId: string): string[] {
  return [
    `queue:get-task:${taskId}`,
    `queue:list-artifacts:${taskId}:0`,
    'queue:get-artifact:public/*',
    `secrets:get:${SECRET}`,
    'auth:current-scopes',
  ];
}

/** Up and down through the proxy, by requests that carry no credentials. */
async function moveArtifact(stage: Stage, size: number): Promise<void> {
  const { deployment, proxy } = stage;
  const artifact = `${proxy.url}/queue/v1/task/${stage.taskId}/runs/${stage.runId}/artifacts/${ARTIFACT}`;
  /** The same target through the proxy: the redirect names the deployment. */
  const throughProxy = (url: string) => proxy.url + url.slice(deployment.rootUrl.length);

  const created = await fetch(artifact, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ storageType: 's3', contentType: CONTENT_TYPE, expires: inHours(24) }),
  });
  const { putUrl } = (await bodyOf(created)) as { putUrl: string };
  const sent = await showProgress('Upload  ', size, (onProgress) =>
    upload(throughProxy(putUrl), CONTENT_TYPE, size, onProgress),
  );
  const found = await fetch(artifact, { redirect: 'manual' });
  const { url } = (await bodyOf(found)) as { url: string };
  const received = await showProgress('Download', size, (onProgress) =>
    download(throughProxy(url), onProgress),
  );
  report(stage, found, sent, received);
}

async function bodyOf(response: Response): Promise<unknown> {
  const text = await response.text();
  if (response.status >= 400) {
    throw new Error(`${response.url} was answered with ${response.status}: ${text}`);
  }
  return JSON.parse(text);
}

function report(stage: Stage, found: Response, sent: Transfer, received: Transfer): void {
  if (sent.sha256 !== received.sha256) {
    throw new Error(
      `What came back is not what was sent: SHA-256 ${received.sha256}, not ${sent.sha256}`,
    );
  }
  const { verified, refused } = stage.deployment.counters();
  const clientId = found.headers.get('x-taskcluster-proxy-temp-clientid');
  const scopes = found.headers.get('x-taskcluster-authorized-scopes') ?? '[]';
  say(`
Who asked:        an HTTP client on this machine, without credentials
What was signed:  each of its requests, by the proxy, as the task's client
                    ${clientId}
                  and for these scopes only
${(JSON.parse(scopes) as string[]).map((scope) => `                    ${scope}`).join('\n')}
                  (the deployment has verified ${verified} signatures, the worker's own among
                  them, and refused ${refused})
What came back:   ${received.status}, ${mebibytes(received.size)}, byte for byte what was sent
                    SHA-256 ${received.sha256}`);
}

/** Hands the credentials of a renewed claim to the proxy. */
async function renewCredentials({ proxy, taskId, renew }: Stage): Promise<void> {
  // The client ids of two claims differ in the second at which the claim ends.
  await pause(1000);
  const { takenUntil, credentials } = await renew();
  const response = await fetch(`${proxy.url}/queue/v1/task/${taskId}`);
  await bodyOf(response);
  const clientId = response.headers.get('x-taskcluster-proxy-temp-clientid');
  if (clientId !== credentials.clientId) {
    throw new Error(`The proxy still signs as ${clientId}, not as ${credentials.clientId}`);
  }
  say(`
The worker reclaimed the task until ${clock(takenUntil)} and handed the new credentials to the proxy
by PUT /credentials. What the proxy signs is signed with them now, as the client
  ${clientId}`);
}

/** A call without credentials, past the proxy, before and after the anonymous role gets its scope. */
async function openTask({ deployment, taskId }: Stage): Promise<void> {
  const { rootUrl, credentials } = deployment;
  const path = `/api/queue/v1/task/${taskId}`;
  const call = () => fetch(rootUrl + path);
  const refused = await call();
  const { code } = (await refused.json()) as { code?: string };
  if (refused.status !== 403) {
    throw new Error(`GET ${path} was answered with ${refused.status} without credentials, not 403`);
  }
  say(`\nWithout credentials, past the proxy, GET ${path}:\n  ${refused.status} ${code}`);

  const scope = `queue:get-task:${taskId}`;
  await new SignedClient(rootUrl, credentials).grantAnonymous(scope);
  const granted = performance.now();
  const sinceGranted = () => performance.now() - granted;
  let status = refused.status;
  while (status === 403 && sinceGranted() < GRANT_PATIENCE) {
    await pause(50);
    status = (await call()).status;
  }
  if (status !== 200) {
    throw new Error(
      `GET ${path} is answered with ${status} though the role anonymous has ${scope}`,
    );
  }
  const seconds = (sinceGranted() / 1000).toFixed(1);
  say(`The role anonymous was granted ${scope}.\nThe same call, ${seconds} s later:\n  ${status}`);
}

function suggest({ deployment, proxy, taskId, runId }: Stage): void {
  const task = `${proxy.url}/queue/v1/task/${taskId}`;
  const secret = `/secrets/v1/secret/${SECRET}`;
  say(`
Try next, in another terminal (Ctrl-C here ends everything and cleans up):

  The task, and the headers that say who signed
    curl -i ${task}
  The artifact
    curl -L -o demo.bin ${task}/runs/${runId}/artifacts/${ARTIFACT}
  A secret that the task may read, with the proxy and without it
    curl ${proxy.url}${secret}
    curl ${deployment.rootUrl}/api${secret}
  The same, narrowed to other scopes: refused
    curl -H 'X-Taskcluster-Authorized-Scopes: ["auth:current-scopes"]' ${proxy.url}${secret}
  A URL of it that the proxy signs, for every holder of the URL and for an hour at most
    curl "$(curl -s -d ${deployment.rootUrl}/api${secret} ${proxy.url}/bewit)"
  What the proxy counts
    curl ${proxy.url}/__metrics__
`);
}

function keepServing({ proxy, renew }: Stage): void {
  proxy.onLog = (line) => say(`proxy: ${line}`);
  const renewal = setInterval(() => {
    renew().catch((error: Error) => console.error(error.message));
  }, RENEW_INTERVAL);
  endings.push(async () => clearInterval(renewal));
  void proxy.ended.then(async (last) => {
    if (!ended) {
      console.error(last);
      process.exitCode = 1;
      await end();
    }
  });
}

function say(text: string): void {
  console.log(text);
}

function clock(time: string): string {
  return new Date(time).toLocaleTimeString();
}
