/**
 * `taskcluster-local migrate`: brings data up to date, and grants the role `anonymous` the scopes that a
 * public deployment needs to stay public. `start` does both as well; this command can show the changes
 * first, and undo them.
 */
import { join } from 'node:path';
import type { Command } from 'commander';
import { publicScopes } from '../../deployment/exposure.js';
import { noteAnonymous } from '../../deployment/grant-anonymous.js';
import { services } from '../../deployment/services.js';
import {
  type AnonymousMigration,
  grantAnonymousScopes,
  undoAnonymousScopes,
} from '../../deployment/storage/anonymous-scopes.js';
import type { Queryable } from '../../deployment/storage/database.js';
import { migrate } from '../../deployment/storage/migrations/index.js';
import { type DatabaseOptions, openDatabase } from '../../deployment/storage/open.js';
import { rehearse } from '../../deployment/storage/rehearsal.js';
import { orOneSentence, type PlaceOptions, requirePlace } from './place.js';

interface MigrateOptions extends PlaceOptions {
  readonly dryRun: boolean;
  readonly undo: boolean;
  readonly json: boolean;
}

/** The result of a migration, or of a dry run. */
interface Report extends AnonymousMigration {
  /** Names of the steps by which the tables were brought up to date. */
  readonly migrations: readonly string[];
}

export function declareMigrate(program: Command): void {
  const command = program
    .command('migrate')
    .description(
      'Bring the tables up to date. Where the data are older than anonymous scopes, also grant the ' +
        'role anonymous, once, the scopes that endpoints newly need. First stop the processes that ' +
        'serve the data.',
    )
    .option('--dry-run', 'show what would be done, and change nothing', false)
    .option('--undo', 'take away what was granted; what an operator has granted stays', false)
    .option('--json', 'print it as JSON', false)
    .action(orOneSentence(run));
  requirePlace(command);
}

async function run({ dataFolder, databaseUrl: url, ...options }: MigrateOptions): Promise<void> {
  const { dryRun, undo, json } = options;
  const place = { folder: join(dataFolder, 'database'), url };
  const work = async (tables: Queryable): Promise<Report> => {
    const migrations = await migrate(tables);
    const note = dryRun ? undefined : noteAnonymous(undo ? 'migrate --undo' : 'migrate');
    const done = undo
      ? await undoAnonymousScopes(tables, { note })
      : await grantAnonymousScopes(tables, publicScopes(services()), { again: true, note });
    return { ...done, migrations };
  };
  const report = await (dryRun ? rehearse(place, work) : perform(place, work));
  console.log(json ? JSON.stringify({ ...report, dryRun }, null, 2) : describe(report, dryRun));
}

async function perform<Result>(
  place: DatabaseOptions,
  work: (tables: Queryable) => Promise<Result>,
): Promise<Result> {
  const database = await openDatabase(place);
  try {
    return await work(database);
  } finally {
    await database.close();
  }
}

const STATES = {
  decided: 'The data are not older than anonymous scopes: what every caller may do is up to you.',
  predates: 'The data are older than anonymous scopes, and nothing has been granted.',
  granted: 'The role anonymous has been granted what a public deployment grants.',
  undone: 'What had been granted to the role anonymous has been taken away.',
};

function describe(report: Report, dryRun: boolean): string {
  const { migrations, before, after, added, removed } = report;
  const steps = migrations.map((name) => `* ${name}`);
  const changes = [...added.map((scope) => `+ ${scope}`), ...removed.map((scope) => `- ${scope}`)];
  const tables = dryRun
    ? 'The tables would be brought up to date:'
    : 'The tables have been brought up to date:';
  return [
    ...(steps.length > 0 ? [tables, ...steps] : []),
    STATES[dryRun ? before : after],
    ...(dryRun && changes.length > 0 ? ['The role would change so:'] : []),
    ...changes,
    ...(dryRun ? ['Nothing has been changed.'] : []),
  ].join('\n');
}
