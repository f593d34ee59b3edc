/** The options that name a deployment's data, shared by several commands, and their errors. */
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

/** A URL with a password belongs in the environment: every user of the machine sees command lines. */
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

/** As `addPlaceOptions`, for commands that require a folder. */
export function requirePlace(command: Command): Command {
  addPlaceOptions(command);
  command.options.find((option) => option.long === '--data-folder')?.makeOptionMandatory();
  return command;
}

/** The folder or database has no data of a deployment. The message says what to do. */
export class PlaceError extends Error {
  override readonly name = 'PlaceError';
}

/**
 * Opens existing data, for commands that create none: a mistyped folder must not look like an empty
 * deployment.
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
 * As `openData`, but also works while a process holds the embedded database: it then asks that process.
 *
 * @throws PlaceError, and as `openStorage`
 */
export async function openBeside(place: PlaceOptions): Promise<Storage> {
  const database = await ofRunning(place);
  return database === undefined
    ? openData(place)
    : openStorage({ folder: place.dataFolder, database });
}

/** The embedded database, through the running process that holds it, if there is one. */
export async function ofRunning(place: PlaceOptions): Promise<Database | undefined> {
  return place.databaseUrl === undefined
    ? sharedDatabase(join(place.dataFolder, 'database'))
    : undefined;
}

/** Ends the command with one sentence, and by default with status 1, on an expected error. */
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
