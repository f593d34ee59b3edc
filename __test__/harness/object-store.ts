// A store with S3's protocol: Versity's gateway, with directories as buckets. AWS's variables of this
// process name it, as an operator's would.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pause, within } from './deadline.js';
import { accepts, unusedPort } from './port.js';
import { pathOf } from './tools.js';

export const STORE_CREDENTIALS = {
  AWS_ACCESS_KEY_ID: 'store-user',
  AWS_SECRET_ACCESS_KEY: 'store-password',
  AWS_REGION: 'us-east-1',
} as const;

export interface ObjectServer {
  readonly child: ChildProcess;
  /** The folder that contains the buckets as directories. */
  readonly directory: string;
}

let running: Promise<ObjectServer> | undefined;

/** The `s3://` address of a new, empty bucket of the one server of this file's tests. */
export async function bucketFor(): Promise<string> {
  running ??= start();
  return addBucket(await running);
}

export function addBucket({ directory }: ObjectServer): string {
  const name = `bucket-${randomUUID()}`;
  mkdirSync(path.join(directory, name));
  return `s3://${name}/some/prefix`;
}

/** The keys in a bucket, without the prefix, and what is half there. */
export async function keysIn(address: string): Promise<string[]> {
  const { pathname, host } = new URL(address);
  const { directory } = await (running ?? Promise.reject(new Error('there is no store')));
  return keysBelow(path.join(directory, host, pathname));
}

export function keysBelow(directory: string): string[] {
  return existsSync(directory)
    ? readdirSync(directory, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => path.relative(directory, path.join(entry.parentPath, entry.name)))
    : [];
}

async function start(): Promise<ObjectServer> {
  const port = await unusedPort();
  const server = serveObjects(`127.0.0.1:${port}`);
  const { child } = server;
  const waiting = async () => {
    while (!(await accepts(port))) {
      if (child.exitCode !== null) {
        throw new Error(`versitygw ended with ${child.exitCode}`);
      }
      await pause(20);
    }
  };
  await within(waiting(), 'the start of the object store');
  Object.assign(process.env, STORE_CREDENTIALS, {
    AWS_ENDPOINT_URL_S3: `http://127.0.0.1:${port}`,
  });
  return server;
}

/** Starts it, and ends it with this process. `wrapper` is what to start it by, if anything. */
export function serveObjects(address: string, wrapper: readonly string[] = []): ObjectServer {
  const root = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-test-'));
  const [directory, metadata] = [path.join(root, 'buckets'), path.join(root, 'metadata')];
  mkdirSync(directory);
  mkdirSync(metadata);
  const [program = '', ...args] = [
    ...wrapper,
    pathOf('versitygw'),
    ...['--quiet', '--port', address],
    // Not every file system of a test machine has extended attributes.
    ...['posix', '--sidecar', metadata, directory],
  ];
  const child = spawn(program, args, {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      ROOT_ACCESS_KEY_ID: STORE_CREDENTIALS.AWS_ACCESS_KEY_ID,
      ROOT_SECRET_ACCESS_KEY: STORE_CREDENTIALS.AWS_SECRET_ACCESS_KEY,
    },
  });
  child.unref();
  process.once('exit', () => {
    child.kill('SIGKILL');
    rmSync(root, { recursive: true, force: true });
  });
  return { child, directory };
}
