// The deployment answers recorded requests as Taskcluster's own services (v106) have answered them: with the same
// status and code, and with the same answer but for times, tokens and what stands in `DIFFERENCES`.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { onEveryBackend, type Place } from '../harness/backends.js';
import { deploymentFor } from '../harness/deployment.js';
import { type Answer, play, type Step } from './recorded/play.mjs';

const CALLER = { clientId: 'test-client', accessToken: 'none' };

/** Answers that differ on purpose, by the title of the request, with the reason. */
const DIFFERENCES: Readonly<Record<string, { readonly answer: Answer; readonly reason: string }>> =
  {
    'change the priority of a resolved task': {
      answer: { status: 409, code: 'RequestConflict' },
      reason:
        'the service refuses it, too, as soon as one of its pollers has seen the end of the task',
    },
  };

function recordingOf(service: string): Step[] {
  const file = path.join(import.meta.dirname, 'recorded', `${service}.json`);
  return JSON.parse(readFileSync(file, 'utf8')) as Step[];
}

async function compare(t: ExecutionContext, place: Place, service: string): Promise<void> {
  const clients = [{ ...CALLER, scopes: ['*'] }];
  const deployment = await deploymentFor(t, { ...place, clients });
  const steps = recordingOf(service);
  const credentials = service === 'auth' ? deployment.credentials : CALLER;
  const answers = await play(steps, deployment.rootUrl, credentials);
  for (const [at, { title, status, code, answer }] of steps.entries()) {
    const recorded = code === undefined ? { status, answer } : { status, code };
    t.deepEqual(answers[at], DIFFERENCES[title]?.answer ?? recorded, `${at}: ${title}`);
  }
}

for (const service of ['queue', 'auth']) {
  onEveryBackend(
    `the ${service} service answers recorded requests as that of Taskcluster did`,
    (t, place) => compare(t, place, service),
  );
}
