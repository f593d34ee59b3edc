/**
 * `taskcluster-local root reset`: a new access token for the client that may do everything, for an
 * operator who no longer trusts the old one to be secret.
 */
import type { Command } from 'commander';
import { resetRoot } from '../../deployment/auth/static-clients.js';
import { openBeside, orOneSentence, PlaceError, type PlaceOptions, requirePlace } from './place.js';

export function declareRoot(program: Command): void {
  const root = program
    .command('root')
    .description('Look after the client static/taskcluster/root, which may do everything.');
  const reset = root
    .command('reset')
    .description(
      'Give it a new access token and print that, once, as shell variables. Signatures by the old ' +
        'token, temporary credentials included, end at once, also at running processes.',
    )
    .action(
      orOneSentence(async (place: PlaceOptions) => {
        const storage = await openBeside(place);
        try {
          const root = await resetRoot(storage.store);
          if (root === undefined) {
            throw new PlaceError(
              'no deployment has been started on these data yet: `start` makes it',
            );
          }
          console.log(
            `export TASKCLUSTER_CLIENT_ID=${root.clientId}\n` +
              `export TASKCLUSTER_ACCESS_TOKEN=${root.accessToken}`,
          );
        } finally {
          await storage.close();
        }
      }),
    );
  requirePlace(reset);
}
