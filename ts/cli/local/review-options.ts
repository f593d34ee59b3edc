/**
 * The shared options of the commands that review a deployment: which deployment, which caller, and the
 * exit statuses. An option without a valid value ends the command before it asks anything: an unset
 * variable must not widen the check.
 */
import { type Command, InvalidArgumentError } from 'commander';
import { CredentialsError } from 'taskcluster-proxy';
import { RoleError } from '../../deployment/auth/roles.js';
import { ReviewError, type Subject } from '../../deployment/review/subject.js';
import { isScope } from '../../deployment/scopes.js';
import { orOneSentence } from './place.js';
import { ownCredentials, RemoteDeployment } from './remote-deployment.js';

export interface ReviewOptions {
  readonly rootUrl?: string;
  readonly clientId?: string;
  readonly role?: string;
  readonly scope: readonly string[];
}

/** The answer is no, or the check finds something new. */
export const EXIT_NO = 1;
/** There is no answer. */
export const EXIT_TROUBLE = 2;

export function addDeploymentOption(command: Command): Command {
  return command.option(
    '--root-url <url>',
    'the deployment; TASKCLUSTER_ROOT_URL when not given',
    present,
  );
}

export function addSubjectOptions(command: Command): Command {
  return command
    .option('--role <role>', 'tell for a holder of this role', present)
    .option('--scope <scope>', 'tell for this scope; may be repeated', scopes, []);
}

/** Refuses a value that is empty or another option. */
export function present(value: string): string {
  if (value.trim() === '') {
    throw new InvalidArgumentError('It is empty: give a value, or leave the option out.');
  }
  if (value.startsWith('--')) {
    throw new InvalidArgumentError('It is an option itself: a value has been left out before it.');
  }
  return value;
}

/** The values of an option that may be repeated, each as `present` takes it. */
export function presentEach(value: string, values: readonly string[] = []): string[] {
  return [...values, present(value)];
}

function scopes(value: string, values: readonly string[]): string[] {
  if (!isScope(present(value))) {
    throw new InvalidArgumentError('A scope is printable ASCII.');
  }
  return [...values, value];
}

/** @throws ReviewError */
export function subjectOf({ clientId, role, scope }: ReviewOptions): Subject {
  const kinds: Subject[] = [
    ...(clientId === undefined ? [] : [{ kind: 'client', clientId } as const]),
    ...(role === undefined ? [] : [{ kind: 'role', roleId: role } as const]),
    ...(scope.length === 0 ? [] : [{ kind: 'scopes', scopes: scope } as const]),
  ];
  if (kinds.length > 1) {
    throw new ReviewError('it can tell for one only: give --client-id, --role or --scope');
  }
  return kinds[0] ?? { kind: 'anonymous' };
}

/** @throws ReviewError */
export function deploymentOf({ rootUrl }: Pick<ReviewOptions, 'rootUrl'>): RemoteDeployment {
  const { TASKCLUSTER_ROOT_URL = '' } = process.env;
  return new RemoteDeployment(rootUrl ?? TASKCLUSTER_ROOT_URL, ownCredentials());
}

/** Ends the command with one sentence if there is no answer. */
export function orTrouble<Parameters extends unknown[]>(
  action: (...parameters: Parameters) => Promise<void>,
): (...parameters: Parameters) => Promise<void> {
  const known = [ReviewError, CredentialsError, RoleError];
  return orOneSentence(action, EXIT_TROUBLE, (error) =>
    known.some((kind) => error instanceof kind),
  );
}
