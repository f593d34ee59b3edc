/** `taskcluster-local backup` and `restore`: write all data to one file, and read it back. */
import type { Command } from 'commander';
import { type BackupSummary, backUp, restore } from '../../deployment/storage/backup.js';
import { openData, orOneSentence, type PlaceOptions, requirePlace } from './place.js';

export function declareBackup(program: Command): void {
  const backup = program
    .command('backup')
    .description(
      'Write all tables, as of one moment, and all artifacts into one tar file. It does not contain ' +
        'the keys to tokens and secrets: copy the file "keys" of the data folder to another place.',
    )
    .argument('<file>', 'a file that does not exist yet')
    .action(
      orOneSentence(async (file: string, place: PlaceOptions) => {
        const storage = await openData(place);
        try {
          report('Backed up', await backUp(storage, file));
        } finally {
          await storage.close();
        }
      }),
    );
  requirePlace(backup);
  const restoring = program
    .command('restore')
    .description(
      'Read a backup into a new data folder, or an empty PostgreSQL database. Put the keys that ' +
        'belong to it into the folder first.',
    )
    .argument('<file>', 'what backup has written')
    .action(
      orOneSentence(async (file: string, { dataFolder, databaseUrl }: PlaceOptions) => {
        report('Restored', await restore({ folder: dataFolder, databaseUrl }, file));
      }),
    );
  requirePlace(restoring);
}

function report(done: string, { rows, artifacts }: BackupSummary): void {
  console.log(`${done} ${rows} rows and ${artifacts} artifacts.`);
}
