/** `taskcluster-local rotate-keys`: encrypts all tokens and secrets again with a new key. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { sealAgainBeside } from '../../deployment/storage/rotation.js';
import { addKey, KEYS_VARIABLE } from '../../deployment/storage/sealing.js';
import { openBeside, orOneSentence, type PlaceOptions, requirePlace } from './place.js';

export function declareRotateKeys(program: Command): void {
  const command = program
    .command('rotate-keys')
    .description(
      'Seal all tokens and secrets again with a new key, which is put first in the key file, or ' +
        `with the first of ${KEYS_VARIABLE}. Processes that run go on, and seal with it too, where they ` +
        'read the same file; where they do not, give them the new key first, behind the others.',
    )
    .action(orOneSentence(run));
  requirePlace(command);
}

async function run(place: PlaceOptions): Promise<void> {
  const file = join(place.dataFolder, 'keys');
  const storage = await openBeside(place);
  try {
    const isGiven = process.env[KEYS_VARIABLE] !== undefined;
    const keys = isGiven ? storage.keys : await addKey(file);
    const count = await sealAgainBeside(storage.database, keys);
    console.log(
      `Sealed ${count} tokens and secrets again with the key ${keys.currentId}. Keep the older ` +
        'keys for as long as there are backups that need them.',
    );
  } finally {
    await storage.close();
  }
}
