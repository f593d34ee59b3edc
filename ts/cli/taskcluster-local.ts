#!/usr/bin/env node
/**
 * The command `taskcluster-local`: it names a missing requirement in one sentence, or runs
 * local/program.ts, which it loads only then.
 */
import './oldest-node.js';

import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

interface Manifest {
  readonly version: string;
}

async function main(): Promise<void> {
  checkProxy();
  try {
    await import('taskcluster-proxy');
  } catch (error) {
    stop((error as Error).message);
  }
  await import('./local/program.js');
}

/** Another version of the proxy may have another addon, which would fail later. */
function checkProxy(): void {
  const { version } = require('../../package.json') as Manifest;
  const found = versionOfProxy();
  if (found !== version) {
    stop(
      `it needs the package taskcluster-proxy ${version} beside it, and ` +
        `${found === undefined ? 'there is none' : `finds ${found}`}: install taskcluster-local anew`,
    );
  }
}

function versionOfProxy(): string | undefined {
  try {
    return (require('taskcluster-proxy/package.json') as Manifest).version;
  } catch {
    return undefined;
  }
}

function stop(sentence: string): never {
  console.error(`taskcluster-local: ${sentence}`);
  process.exit(1);
}

await main();
