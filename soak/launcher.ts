// What launches a proxy does beside its task: it gives new credentials, and asks how the proxy is.
import { once } from 'node:events';
import http from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Random } from '../__test__/harness/random.js';
import {
  type CredentialSet,
  permanentCredentials,
  temporaryCredentials,
} from '../__test__/harness/signature.js';
import { type Headers, signerNamedBy } from './call.js';
import type { Site } from './site.js';
import { stoodStillSince } from './standstill.js';

/** How long an update may wait for running requests, as the proxy is told. */
export const DRAIN_MS = 1_000;

/** Behind that, what a busy machine needs. */
const PATIENCE_MS = 30_000;

/** One update after the other, until `signal`. */
export async function rotate(site: Site, random: Random, signal: AbortSignal): Promise<void> {
  for (let count = 1; !signal.aborted; count += 1) {
    await sleep(random.between(200, 2_000));
    if (random.chance(8)) {
      await refused(site);
    } else {
      await update(site, credentials(random, count));
    }
  }
}

function credentials(random: Random, count: number): CredentialSet {
  const name = `soak/rotation-${count}`;
  return random.chance(2) ? permanentCredentials(name) : temporaryCredentials(['soak:*'], name);
}

async function update({ kind, subject, ledger }: Site, set: CredentialSet): Promise<void> {
  const began = Date.now();
  const { status } = await send(subject.port, 'PUT', '/credentials', JSON.stringify(set));
  const took = Date.now() - began;
  ledger.add('updates');
  ledger.most('longest update in ms', took);
  const isLate = took > DRAIN_MS + PATIENCE_MS && !stoodStillSince(began);
  if (status !== 200 || isLate) {
    ledger.fault(`${kind}: an update was answered ${status} after ${took} ms`);
  }
  const { headers } = await send(subject.port, 'GET', '/__heartbeat__');
  const named = signerNamedBy(headers);
  if (named !== set.clientId) {
    ledger.fault(`${kind}: ${named} is in force, and not ${set.clientId}, which was put there`);
  }
}

async function refused({ kind, subject, ledger }: Site): Promise<void> {
  const { status } = await send(subject.port, 'PUT', '/credentials', '{"clientId":"soak/broken"');
  ledger.add('updates refused');
  if (status !== 400) {
    ledger.fault(`${kind}: an update that is no JSON was answered ${status}`);
  }
}

interface Answer {
  readonly status: number;
  readonly headers: Headers;
}

async function send(port: number, method: string, path: string, body = ''): Promise<Answer> {
  const request = http.request({ host: '127.0.0.1', port, method, path, agent: false });
  request.setTimeout(60_000, () => request.destroy(new Error('no answer within a minute')));
  request.end(body);
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  await text(response);
  return { status: response.statusCode ?? 0, headers: response.headers };
}
