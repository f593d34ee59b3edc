/**
 * The commands of `taskcluster-local`, a small Taskcluster deployment on this machine, `start` among them.
 * Without a data folder the deployment keeps nothing when it stops.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { version } from 'taskcluster-proxy';
import { readDuration, readPort, readSize } from 'taskcluster-proxy/internal';
import { checkAnonymousScope } from '../../deployment/grant-anonymous.js';
import { type Deployment, startDeployment } from '../../deployment/index.js';
import {
  LOG_FORMATS,
  LOG_LEVELS,
  Log,
  type LogFormat,
  type LogLevel,
} from '../../deployment/operation/log.js';
import type { StopOptions } from '../../deployment/operation/stop.js';
import { declareAnonymousRole } from './anonymous-role.js';
import { declareBackup } from './backup.js';
import { declareCanI } from './can-i.js';
import { declareExposure } from './exposure.js';
import { declareHistory } from './history.js';
import { declareMigrate } from './migrate.js';
import { addPlaceOptions, type PlaceOptions } from './place.js';
import { presentEach } from './review-options.js';
import { declareRoot } from './root.js';
import { declareRotateKeys } from './rotate-keys.js';
import { declareScopes } from './scopes.js';
import { declareStatus } from './status.js';
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
  readonly objectStore?: string;
  readonly metrics?: string;
  readonly auditLog: readonly string[];
  readonly logFormat: LogFormat;
  readonly logLevel: LogLevel;
  readonly stopDelay: number;
  readonly grace: number;
  readonly claimTimeout?: number;
  readonly maxConnections?: number;
  readonly bodyLimit?: number;
  readonly databaseConnections?: number;
}

/** `EX_USAGE` of `sysexits.h`, as in `taskcluster-proxy`. */
const EXIT_USAGE = 64;

/** The exit status of a signal is its number added to this, as in shells. */
const SIGNALLED = 128;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

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
    'without --root-url: believe X-Forwarded-Proto, -Host, -Port and -For, which a reverse proxy ' +
      'must set; the default on loopback',
  )
  .option('--no-trust-forwarded', 'ignore these fields, on loopback too')
  .option(
    '--anonymous-scope <scope>',
    'grant a scope to every caller; may be repeated',
    anonymousScope,
    [],
  )
  .option(
    '--private',
    'grant nothing to anonymous callers where the data are new, which is the default, and refuse data ' +
      'that are public, because they are older or began with --public',
    false,
  )
  .option('--keep-public', 'serve data that are public also with --private', false)
  .addOption(
    new Option('--public', 'let every caller read what is not secret where the data are new')
      .conflicts('private')
      .default(false),
  )
  .addOption(
    new Option(
      '--object-store <url>',
      "s3://bucket/prefix, where artifacts go instead of the data folder; by AWS's variables, such as " +
        'AWS_ENDPOINT_URL_S3, AWS_REGION and AWS_ACCESS_KEY_ID',
    ).env('TASKCLUSTER_LOCAL_OBJECT_STORE'),
  )
  .option(
    '--metrics <address>',
    "serve Prometheus' metrics at /metrics of a separate address: 9090 on loopback, or 192.0.2.1:9090 " +
      'for every client that reaches it; no scopes are needed',
  )
  .option(
    '--audit-log <path>',
    'an audit log of taskcluster-proxy with its rotated files, or a folder of them, from which the page ' +
      '/exposure tells which scopes no call has needed; may be repeated',
    presentEach,
    [],
  )
  .addOption(
    new Option('--log-format <format>', 'form of the log on stderr')
      .choices(LOG_FORMATS)
      .default('text'),
  )
  .addOption(
    new Option('--log-level <level>', 'least level that is logged; every request is info')
      .choices(LOG_LEVELS)
      .default('info'),
  )
  .addOption(
    new Option(
      '--stop-delay <duration>',
      'after SIGTERM: how long to go on serving, while heartbeats say 503, until a balancer has noticed',
    )
      .argParser(duration)
      .default(0, '0'),
  )
  .addOption(
    new Option('--grace <duration>', 'how long running requests may take to finish after that')
      .argParser(duration)
      .default(30_000, '30s'),
  )
  .option(
    '--claim-timeout <duration>',
    "how long a task is its worker's without a word: 20m",
    claimTime,
  )
  .option(
    '--max-connections <number>',
    'how many connections of clients there may be at once',
    count,
  )
  .option('--body-limit <size>', 'what the body of a call may have at most: 10MiB', bodySize)
  .option(
    '--database-connections <number>',
    'connections to a PostgreSQL server, beside the one that listens: 10',
    count,
  )
  .action(start);
addPlaceOptions(starting);

declareExposure(program);
declareCanI(program);
declareScopes(program);
declareAnonymousRole(program);
declareHistory(program);
declareMigrate(program);
declareBackup(program);
declareRotateKeys(program);
declareRoot(program);
declareUser(program);
declareStatus(program);

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
    const log = new Log({ format: options.logFormat, level: options.logLevel });
    const deployment = await startDeployment({
      folder,
      databaseUrl,
      databaseConnections: options.databaseConnections,
      metrics: options.metrics,
      auditLogs: options.auditLog,
      claimTimeout: options.claimTimeout,
      maxConnections: options.maxConnections,
      bodyLimit: options.bodyLimit,
      log,
      objectStore: options.objectStore,
      host: ipAddress,
      port,
      isPublic: options.public,
      mustBePrivate: options.private && !options.keepPublic,
      anonymousScopes: anonymousScope,
      rootUrl: options.rootUrl,
      trustForwarded: options.trustForwarded,
    });
    if (deployment.metricsUrl !== undefined) {
      log.inform(`metrics can be read at ${deployment.metricsUrl}`);
    }
    stopOnSignals(deployment, { delay: options.stopDelay, grace: options.grace }, async () => {
      await log.flush();
      await cleanUp();
    });
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

/** The first signal lets running requests finish, the second one does not. */
function stopOnSignals(
  deployment: Deployment,
  options: StopOptions,
  cleanUp: () => Promise<void>,
): void {
  let isStopping = false;
  for (const [signal, number] of Object.entries(SIGNALS)) {
    process.on(signal, () => {
      if (isStopping) {
        process.exit(SIGNALLED + number);
      }
      isStopping = true;
      void deployment
        .stop(options)
        .then(cleanUp)
        .then(() => process.exit(0));
    });
  }
}

function port(text: string): number {
  return valid(() => readPort(text));
}

function duration(text: string): number {
  return valid(() => readDuration(text, 'duration'));
}

/** In seconds. No claim lasts for 0 s: each would end before its worker knows of it. */
function claimTime(text: string): number {
  const milliseconds = duration(text);
  if (milliseconds === 0) {
    throw new InvalidArgumentError(`${text} is no time for a worker: give 1s or more`);
  }
  return Math.ceil(milliseconds / 1000);
}

function bodySize(text: string): number {
  const bytes = valid(() => readSize(text, 'size'));
  if (bytes < 1024) {
    throw new InvalidArgumentError(`${text} is no size of a body: give 1KiB or more`);
  }
  return bytes;
}

function count(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) {
    throw new InvalidArgumentError(`${text} is not a count: give a whole number from 1 to 9999999`);
  }
  return Number(text);
}

function valid<Value>(read: () => Value): Value {
  try {
    return read();
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function anonymousScope(value: string, values: readonly string[]): string[] {
  return [...values, valid(() => checkAnonymousScope(value))];
}
