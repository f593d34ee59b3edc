/** `taskcluster-local can-i`: tells scripts whether one call would pass. */
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

/** The word for a caller without credentials; no client id reads so. */
const WITHOUT_CREDENTIALS = 'anonymous';

export function declareCanI(program: Command): void {
  const command = program
    .command('can-i')
    .usage('[options] CLIENT METHOD PATH')
    .argument(
      '<call...>',
      `a client's id or ${WITHOUT_CREDENTIALS}, a method, a path from /api/ on`,
    )
    .description(
      `Tell whether a client may make a call: CLIENT is its id, or ${WITHOUT_CREDENTIALS} for a caller ` +
        'without credentials. Leave it out with --role or --scope. The command ends with 0 for yes, ' +
        'with 1 for no and where it depends on the body, and with 2 where it cannot tell.',
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
  const rest = given.kind === 'anonymous' ? words.slice(1) : words;
  const [clientId = ''] = words;
  const [method, path] = rest;
  if (method === undefined || path === undefined || rest.length > 2) {
    const form = given.kind === 'anonymous' ? 'CLIENT METHOD PATH' : 'METHOD PATH';
    throw new ReviewError(`'${words.join(' ')}' is not one call: write ${form}`);
  }
  const subject: Subject =
    given.kind !== 'anonymous' || clientId === WITHOUT_CREDENTIALS
      ? given
      : { kind: 'client', clientId };
  return { subject, method, path };
}

/** Why the client's credentials are refused: they do not fall back to anonymous scopes. */
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
