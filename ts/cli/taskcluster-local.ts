#!/usr/bin/env node
/**
 * `taskcluster-local`: a small Taskcluster deployment on this machine. It forgets everything when
 * it stops.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { startDeployment } from '../deployment/index.js';
import { version } from '../index.js';
import { readPort } from '../options.js';
import { declareAnonymousRole } from './local/anonymous-role.js';
import { declareExposure } from './local/exposure.js';

interface StartOptions {
  readonly port: number;
  readonly ipAddress: string;
  readonly anonymousScope: readonly string[];
}

/** `EX_USAGE` of `sysexits.h`, with which `taskcluster-proxy` ends as well. */
const EXIT_USAGE = 64;

const program = new Command('taskcluster-local')
  .description('A small Taskcluster deployment on this machine')
  .version(version)
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_USAGE));

program
  .command('start')
  .description(
    'Serve auth, queue, secrets and artifacts on one port until interrupted, and print as shell ' +
      'variables how to reach them. Nothing is kept.',
  )
  .option('-p, --port <port>', 'port to listen on, a free one when not given', port, 0)
  .option('-i, --ip-address <address>', 'address to listen on', '127.0.0.1')
  .option('--anonymous-scope <scope>', 'grant a scope to everybody; may be repeated', collect, [])
  .action(start);

declareExposure(program);
declareAnonymousRole(program);

await program.parseAsync();

async function start({ port, ipAddress, anonymousScope }: StartOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'taskcluster-local-'));
  const cleanUp = () => rm(folder, { recursive: true, force: true });
  try {
    const deployment = await startDeployment({
      folder,
      host: ipAddress,
      port,
      roles: [{ roleId: 'anonymous', scopes: anonymousScope }],
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

function collect(value: string, values: readonly string[]): string[] {
  return [...values, value];
}
