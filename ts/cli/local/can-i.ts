/** `taskcluster-local can-i`: whether one call would pass, for scripts. */
import type { Command } from 'commander';
import { findCall, judge } from '../../deployment/review/call.js';
import { heldBy, ReviewError, type Source, type Subject } from '../../deployment/review/subject.js';
import { readable } from '../../deployment/review/wording.js';
import {
  addDeploymentOption,
  addSubjectOptions,
  deploymentOf,
  EXIT_NO,
  orTrouble,
  type ReviewOptions,
  subjectOf,
} from './review-options.js';

interface Options extends ReviewOptions {
  readonly quiet: boolean;
}

/** Who sends no credentials; what it stands for is no client's id. */
const EVERYBODY = 'anonymous';

export function declareCanI(program: Command): void {
  const command = program
    .command('can-i')
    .usage('[options] CLIENT METHOD PATH')
    .argument('<call...>', `a client's id or ${EVERYBODY}, a method, a path from /api/ on`)
    .description(
      `Tell whether a client may make a call: CLIENT is its id, or ${EVERYBODY} for who sends no ` +
        'credentials. With --role or --scope it is left out. It ends with 0 for yes, with 1 for no ' +
        'and where it depends on the body, and with 2 where it cannot tell.',
    );
  addSubjectOptions(addDeploymentOption(command))
    .option('-q, --quiet', 'print nothing', false)
    .action(orTrouble(tell));
}

async function tell(words: readonly string[], options: Options): Promise<void> {
  const { subject, method, path } = questionOf(words, options);
  const deployment = deploymentOf(options);
  const call = findCall(await deployment.references(), method, path);
  const unusable = await whyUnusable(deployment, subject);
  const { passes, needs } = judge(call, await heldBy(deployment, subject));
  const name = `${call.service}.${call.entry.name}`;
  const asks = needs === null ? 'needs no scopes' : `needs ${readable(needs)}`;
  const isYes = passes === 'yes' && unusable === undefined;
  if (!options.quiet) {
    const word = { yes: 'yes', no: 'no', depends: 'it depends on the body' }[passes];
    console.log(unusable === undefined ? `${word}: ${name} ${asks}` : `no: ${unusable}`);
  }
  process.exitCode = isYes ? 0 : EXIT_NO;
}

function questionOf(words: readonly string[], options: Options) {
  if (words.some((word) => word.trim() === '')) {
    throw new ReviewError('a part of the call is empty: write CLIENT METHOD PATH');
  }
  const given = subjectOf(options);
  const rest = given.kind === 'everybody' ? words.slice(1) : words;
  const [clientId = ''] = words;
  const [method, path] = rest;
  if (method === undefined || path === undefined || rest.length > 2) {
    const form = given.kind === 'everybody' ? 'CLIENT METHOD PATH' : 'METHOD PATH';
    throw new ReviewError(`'${words.join(' ')}' is not one call: write ${form}`);
  }
  const subject: Subject =
    given.kind !== 'everybody' || clientId === EVERYBODY ? given : { kind: 'client', clientId };
  return { subject, method, path };
}

/** Credentials that are refused do not fall back to what everybody may. */
async function whyUnusable(deployment: Source, subject: Subject): Promise<string | undefined> {
  if (subject.kind !== 'client') {
    return undefined;
  }
  const { disabled, expires } = await deployment.client(subject.clientId);
  if (disabled) {
    return `${subject.clientId} is disabled`;
  }
  return expires.getTime() < Date.now() ? `${subject.clientId} has expired` : undefined;
}
