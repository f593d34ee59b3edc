#!/usr/bin/env node
/**
 * `taskcluster-local`: a small Taskcluster deployment on this machine.
 */
import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { startDeployment } from '../deployment/index.js';
import { version } from '../index.js';
import { readPort } from '../options.js';

interface StartOptions {
  readonly port: number;
  readonly ipAddress: string;
  readonly folder: string;
  readonly anonymousScope: readonly string[];
}

/** As `sysexits.h` has it, and as `taskcluster-proxy` ends. */
const EXIT_USAGE = 64;

const program = new Command('taskcluster-local')
  .description('A small Taskcluster deployment on this machine')
  .version(version)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_USAGE));

program
  .command('start')
  .description('Serve auth, queue, secrets and artifacts on one port until interrupted')
  .option('-p, --port <port>', 'port to listen on, 0 for a free one', port, 8090)
  .option('-i, --ip-address <address>', 'address to listen on', '127.0.0.1')
  .option(
    '--folder <path>',
    'where artifacts are kept; all else is in memory',
    '.taskcluster-local',
  )
  .option('--anonymous-scope <scope>', 'grant to everybody; may be repeated', collect, [])
  .action(start);

await program.parseAsync();

async function start(options: StartOptions): Promise<void> {
  const folder = resolve(options.folder);
  try {
    await mkdir(folder, { recursive: true });
    const deployment = await startDeployment({
      folder,
      host: options.ipAddress,
      port: options.port,
      roles: [{ roleId: 'anonymous', scopes: options.anonymousScope }],
    });
    console.log(
      `export TASKCLUSTER_ROOT_URL=${deployment.rootUrl}\n` +
        `export TASKCLUSTER_CLIENT_ID=${deployment.credentials.clientId}\n` +
        `export TASKCLUSTER_ACCESS_TOKEN=${deployment.credentials.accessToken}`,
    );
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => void deployment.stop());
    }
  } catch (error) {
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

function collect(value: string, values: readonly string[]): string[] {
  return [...values, value];
}
