// Every URL that a deployment hands out is one that its client can reach: behind TLS, on all
// addresses, and with a client that claims another host.
import test, { type ExecutionContext } from 'ava';
import taskcluster from 'taskcluster-client';
import type { Deployment, DeploymentOptions } from '../../ts/deployment/index.js';
import { PublicUrlError } from '../../ts/deployment/public-url.js';
import { authorization, deploymentFor, send } from '../harness/deployment.js';
import { unusedPort } from '../harness/port.js';
import { definition, queueOf, WORKER } from '../harness/queue.js';

const PUBLIC = 'https://tc.example.com';

/** The fields with which a forwarder that ends TLS passes a request on. */
const FORWARDED = {
  Host: 'tc.example.com',
  'X-Forwarded-Proto': 'https',
  'X-Forwarded-Host': 'tc.example.com',
  'X-Forwarded-Port': '443',
};

async function start(t: ExecutionContext, options: Partial<DeploymentOptions>) {
  const port = await unusedPort();
  const deployment = await deploymentFor(t, { port, ...options });
  return { ...deployment, rootUrl: `http://127.0.0.1:${port}`, told: deployment.rootUrl };
}

/** The root URLs in a `putUrl`, in the redirect to an artifact, and in what describes the API. */
async function handedOut(
  deployment: Pick<Deployment, 'rootUrl' | 'credentials'>,
  headers: Record<string, string> = {},
): Promise<string[]> {
  const queue = queueOf(deployment, deployment.credentials);
  const taskId = taskcluster.slugid();
  await queue.createTask(taskId, definition());
  await queue.claimTask(taskId, 0, WORKER);
  const target = `/api/queue/v1/task/${taskId}/runs/0/artifacts/a`;
  const signed = (method: string) => {
    const { Host = new URL(deployment.rootUrl).host } = headers;
    const { hostname, port } = new URL(`http://${Host}`);
    const Authorization = authorization(deployment, {
      client: deployment.credentials,
      method,
      target,
      host: hostname,
      port: Number(headers['X-Forwarded-Port'] ?? (port || 80)),
    });
    return { ...headers, Authorization, 'Content-Type': 'application/json' };
  };
  const expires = taskcluster.fromNow('30 minutes');
  const body = JSON.stringify({ storageType: 's3', contentType: 'text/plain', expires });
  const created = await send(deployment, {
    ...{ method: 'POST', target, body, headers: signed('POST') },
  });
  const found = await send(deployment, { target, headers: signed('GET') });
  const manifest = await send(deployment, { target: '/references/manifest.json', headers });
  const openApi = await send(deployment, {
    ...{ target: '/references/queue/v1/openapi.json', headers },
  });
  return [
    created.json.putUrl,
    found.headers.location,
    ...manifest.json.references,
    openApi.json.servers[0].url,
  ].map((url) => new URL(url).origin);
}

async function allAre(t: ExecutionContext, found: Promise<string[]>, expected: string) {
  t.deepEqual([...new Set(await found)], [expected]);
}

test('a configured root URL is in every URL, whatever host a request claims', async (t) => {
  const deployment = await start(t, { rootUrl: `${PUBLIC}/`, host: '0.0.0.0' });
  t.is(deployment.told, PUBLIC);
  await allAre(t, handedOut(deployment), PUBLIC);
  const lie = { 'X-Forwarded-Host': 'evil.example.com', 'X-Forwarded-Proto': 'http' };
  await allAre(t, handedOut(deployment, lie), PUBLIC);
});

test('a deployment on loopback trusts a forwarder, unless the operator forbids it', async (t) => {
  const deployment = await start(t, {});
  await allAre(t, handedOut(deployment, FORWARDED), PUBLIC);
  await allAre(t, handedOut(deployment), deployment.rootUrl);
  const elsewhere = { ...FORWARDED, 'X-Forwarded-Port': '8443' };
  await allAre(t, handedOut(deployment, elsewhere), `${PUBLIC}:8443`);
  const hostOnly = { Host: 'tc.example.com', 'X-Forwarded-Proto': 'https' };
  const manifest = await send(deployment, {
    target: '/references/manifest.json',
    headers: hostOnly,
  });
  t.true(manifest.json.references[0].startsWith(`${PUBLIC}/`));
  t.is(manifest.headers['strict-transport-security'], 'max-age=7776000; includeSubDomains');
  for (const host of ['a/b', 'a@b', 'a b', '"']) {
    const headers = { 'X-Forwarded-Host': host };
    const { json } = await send(deployment, { target: '/references/manifest.json', headers });
    t.true(json.references[0].startsWith(deployment.rootUrl), host);
  }
  const wary = await start(t, { trustForwarded: false });
  await allAre(t, handedOut(wary, FORWARDED), wary.rootUrl);
});

test('off loopback no forwarder is trusted by default, and no client is sent to 0.0.0.0', async (t) => {
  const deployment = await start(t, { host: '0.0.0.0' });
  t.is(deployment.told, deployment.rootUrl);
  await allAre(t, handedOut(deployment, FORWARDED), deployment.rootUrl);
  const trusting = await start(t, { host: '0.0.0.0', trustForwarded: true });
  await allAre(t, handedOut(trusting, FORWARDED), PUBLIC);
});

for (const rootUrl of ['tc.example.com', 'ftp://x', 'https://x/y', 'https://u@x', 'https://x?y']) {
  test(`a deployment does not start with the root URL ${rootUrl}`, async (t) => {
    await t.throwsAsync(deploymentFor(t, { rootUrl }), {
      instanceOf: PublicUrlError,
      message: `'${rootUrl}' is not a root URL: write it as https://tc.example.com, with a port if there is one`,
    });
  });
}
