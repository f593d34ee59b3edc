/** Where a deployment's data are, as several commands are told it, and how they fail. */
import { type Command, Option } from 'commander';

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

/** Ends with 1 and one sentence where it fails. */
export function orOneSentence<Parameters extends unknown[]>(
  action: (...parameters: Parameters) => Promise<void>,
): (...parameters: Parameters) => Promise<void> {
  return async (...parameters) => {
    try {
      await action(...parameters);
    } catch (error) {
      console.error(`taskcluster-local: ${(error as Error).message}`);
      process.exitCode = 1;
    }
  };
}
