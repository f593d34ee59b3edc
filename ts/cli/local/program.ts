/**
 * The commands of `taskcluster-local`, a small Taskcluster deployment on this machine, and `start`
 * among them. Without a data folder it forgets everything when it stops.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { version } from 'taskcluster-proxy';
import { readPort } from 'taskcluster-proxy/internal';
import { checkAnonymousScope } from '../../deployment/anonymous.js';
import { startDeployment } from '../../deployment/index.js';
import { declareAnonymousRole } from './anonymous-role.js';
import { declareBackup } from './backup.js';
import { declareCanI } from './can-i.js';
import { declareExposure } from './exposure.js';
import { declareMigrate } from './migrate.js';
import { addPlaceOptions, type PlaceOptions } from './place.js';
import { readRegisteredClients } from './registered-clients.js';
import { declareRoot } from './root.js';
import { declareRotateKeys } from './rotate-keys.js';
import { declareUser } from './user.js';

interface StartOptions extends Partial<PlaceOptions> {
  readonly port: number;
  readonly ipAddress: string;
  readonly anonymousScope: readonly string[];
  readonly private: boolean;
  readonly keepPublic: boolean;
  readonly public: boolean;
  readonly rootUrl?: string;
  readonly trustForwarded?: boolean;
  readonly registeredClients?: string;
  readonly objectStore?: string;
}

/** `EX_USAGE` of `sysexits.h`, with which `taskcluster-proxy` ends as well. */
const EXIT_USAGE = 64;

const program = new Command('taskcluster-local')
  .description('A small Taskcluster deployment on this machine')
  .version(version)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_USAGE));

const starting = program
  .command('start')
  .description(
    'Serve auth, queue, secrets and artifacts on one port until interrupted, and print as shell ' +
      'variables how to reach them. Nothing is kept unless a data folder is given.',
  )
  .option('-p, --port <port>', 'port to listen on, a free one when not given', port, 0)
  .option('-i, --ip-address <address>', 'address to listen on', '127.0.0.1')
  .option('--root-url <url>', 'how clients reach it, where that is not the address it listens on')
  .option(
    '--trust-forwarded',
    'without --root-url: believe X-Forwarded-Proto, -Host, -Port and -For, which what is in front ' +
      'must set; the default on loopback',
  )
  .option('--no-trust-forwarded', 'do not, on loopback either')
  .option(
    '--anonymous-scope <scope>',
    'grant a scope to everybody; may be repeated',
    anonymousScope,
    [],
  )
  .option(
    '--private',
    'grant nothing to everybody where the data are new, which is the default, and refuse older data ' +
      'that were public',
    false,
  )
  .option('--keep-public', 'serve older data that were public also with --private', false)
  .addOption(
    new Option('--public', 'let everybody read what is not secret where the data are new')
      .conflicts('private')
      .default(false),
  )
  .addOption(
    new Option(
      '--registered-clients <file>',
      "third parties that may ask users for credentials: JSON as in Taskcluster's REGISTERED_CLIENTS",
    ).env('TASKCLUSTER_LOCAL_REGISTERED_CLIENTS'),
  )
  .addOption(
    new Option(
      '--object-store <url>',
      "s3://bucket/prefix, where artifacts go instead of the data folder; by AWS's variables, such as " +
        'AWS_ENDPOINT_URL_S3, AWS_REGION and AWS_ACCESS_KEY_ID',
    ).env('TASKCLUSTER_LOCAL_OBJECT_STORE'),
  )
  .action(start);
addPlaceOptions(starting);

declareExposure(program);
declareCanI(program);
declareAnonymousRole(program);
declareMigrate(program);
declareBackup(program);
declareRotateKeys(program);
declareRoot(program);
declareUser(program);

await program.parseAsync();

async function start(options: StartOptions): Promise<void> {
  const { port, ipAddress, anonymousScope, dataFolder, databaseUrl } = options;
  const folder = dataFolder ?? (await mkdtemp(join(tmpdir(), 'taskcluster-local-')));
  const cleanUp = async () => {
    if (dataFolder === undefined) {
      await rm(folder, { recursive: true, force: true });
    }
  };
  try {
    const registeredClients = await readRegisteredClients(options.registeredClients);
    const deployment = await startDeployment({
      folder,
      databaseUrl,
      objectStore: options.objectStore,
      host: ipAddress,
      port,
      isPublic: options.public,
      mustBePrivate: options.private && !options.keepPublic,
      anonymousScopes: anonymousScope,
      registeredClients,
      rootUrl: options.rootUrl,
      trustForwarded: options.trustForwarded,
    });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => void deployment.stop().then(cleanUp));
    }
    console.log(
      `export TASKCLUSTER_ROOT_URL=${deployment.rootUrl}\n` +
        `export TASKCLUSTER_CLIENT_ID=${deployment.credentials.clientId}\n` +
        `export TASKCLUSTER_ACCESS_TOKEN=${deployment.credentials.accessToken}`,
    );
  } catch (error) {
    await cleanUp();
    console.error(`taskcluster-local: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}

function port(text: string): number {
  try {
    return readPort(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function anonymousScope(value: string, values: readonly string[]): string[] {
  try {
    return [...values, checkAnonymousScope(value)];
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}
