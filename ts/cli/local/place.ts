/** Where a deployment's data are, as several commands are told it, and how they fail. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { sharedDatabase } from '../../deployment/storage/control.js';
import type { Database } from '../../deployment/storage/database.js';
import { openStorage, type Storage } from '../../deployment/storage/index.js';

export interface PlaceOptions {
  readonly dataFolder: string;
  readonly databaseUrl?: string;
}

/** A URL with a password belongs into the environment, since every user sees a command line. */
export function addPlaceOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--data-folder <folder>', 'where artifacts, keys and the database are').env(
        'TASKCLUSTER_LOCAL_DATA_FOLDER',
      ),
    )
    .addOption(
      new Option(
        '--database-url <url>',
        'a PostgreSQL database instead, postgres://user:password@host:port/database',
      ).env('TASKCLUSTER_LOCAL_DATABASE_URL'),
    );
}

/** As `addPlaceOptions`, for commands that make no sense without a folder. */
export function requirePlace(command: Command): Command {
  addPlaceOptions(command);
  command.options.find((option) => option.long === '--data-folder')?.makeOptionMandatory();
  return command;
}

/** A place where no deployment has been. The message says what to do. */
export class PlaceError extends Error {
  override readonly name = 'PlaceError';
}

/**
 * Opens what is there, for commands that make no data: a folder whose name was mistyped must not
 * look like a deployment with nothing in it.
 *
 * @throws PlaceError, and as `openStorage`
 */
export async function openData({ dataFolder, databaseUrl }: PlaceOptions): Promise<Storage> {
  const needed = databaseUrl === undefined ? join(dataFolder, 'database') : dataFolder;
  if (!existsSync(needed)) {
    throw new PlaceError(
      `there are no data in ${dataFolder}: name the folder that \`taskcluster-local start\` was given`,
    );
  }
  return openStorage({ folder: dataFolder, databaseUrl });
}

/**
 * As `openData`, also while a process has the database for itself: that one is asked then.
 *
 * @throws PlaceError, and as `openStorage`
 */
export async function openBeside(place: PlaceOptions): Promise<Storage> {
  const database = await ofRunning(place);
  return database === undefined
    ? openData(place)
    : openStorage({ folder: place.dataFolder, database });
}

/** The database of a process that runs on these data, if it has it for itself. */
export async function ofRunning(place: PlaceOptions): Promise<Database | undefined> {
  return place.databaseUrl === undefined
    ? sharedDatabase(join(place.dataFolder, 'database'))
    : undefined;
}

/** Ends with one sentence, and with 1 unless said otherwise, where it fails in a way that is expected. */
export function orOneSentence<Parameters extends unknown[]>(
  action: (...parameters: Parameters) => Promise<void>,
  exitCode = 1,
  isExpected: (error: unknown) => boolean = () => true,
): (...parameters: Parameters) => Promise<void> {
  return async (...parameters) => {
    try {
      await action(...parameters);
    } catch (error) {
      if (!isExpected(error)) {
        throw error;
      }
      console.error(`taskcluster-local: ${(error as Error).message}`);
      process.exitCode = exitCode;
    }
  };
}
