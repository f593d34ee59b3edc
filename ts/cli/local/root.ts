/**
 * `taskcluster-local root reset`: another access token for the client that may do everything, where
 * the one there was may be known to somebody else.
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
      'Give it another access token and print that, once, as shell variables. What was signed by ' +
        'the old one, temporary credentials included, ends at once, also at processes that run.',
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
