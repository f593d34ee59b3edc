/**
 * `taskcluster-local migrate`: brings data up to date, and grants the role `anonymous` what a
 * deployment that was public needs to stay so. `start` does both as well; here it can be seen
 * beforehand, and undone.
 */
import type { Command } from 'commander';
import { publicScopes } from '../../deployment/exposure.js';
import { SERVICES } from '../../deployment/services.js';
import {
  type AnonymousMigration,
  grantAnonymousScopes,
  undoAnonymousScopes,
} from '../../deployment/storage/anonymous-scopes.js';
import { openStorage } from '../../deployment/storage/index.js';
import { orOneSentence, type PlaceOptions, requirePlace } from './place.js';

interface MigrateOptions extends PlaceOptions {
  readonly dryRun: boolean;
  readonly undo: boolean;
  readonly json: boolean;
}

export function declareMigrate(program: Command): void {
  const command = program
    .command('migrate')
    .description(
      'Bring the tables up to date, and grant the role anonymous once what endpoints newly need, ' +
        'where the data are older than anonymous scopes.',
    )
    .option('--dry-run', 'show which scopes would be granted or taken away, and leave them', false)
    .option('--undo', 'take away what was granted; what an operator has granted stays', false)
    .option('--json', 'print it as JSON', false)
    .action(orOneSentence(run));
  requirePlace(command);
}

async function run({ dataFolder, databaseUrl, ...options }: MigrateOptions): Promise<void> {
  const { dryRun, undo, json } = options;
  const storage = await openStorage({ folder: dataFolder, databaseUrl });
  try {
    const scopes = publicScopes(SERVICES);
    const done = undo
      ? await undoAnonymousScopes(storage.database, { dryRun })
      : await grantAnonymousScopes(storage.database, scopes, { dryRun, again: true });
    console.log(json ? JSON.stringify({ ...done, dryRun }, null, 2) : describe(done, dryRun));
  } finally {
    await storage.close();
  }
}

const STATES = {
  decided: 'The data are not older than anonymous scopes: what everybody may do is up to you.',
  predates: 'The data are older than anonymous scopes, and nothing has been granted.',
  granted: 'The role anonymous has been granted what endpoints newly need.',
  undone: 'What had been granted to the role anonymous has been taken away.',
};

function describe({ before, after, added, removed }: AnonymousMigration, dryRun: boolean): string {
  const changes = [...added.map((scope) => `+ ${scope}`), ...removed.map((scope) => `- ${scope}`)];
  const state = STATES[dryRun ? before : after];
  return [state, ...(dryRun ? ['It would change so:'] : []), ...changes].join('\n');
}
