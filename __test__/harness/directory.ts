// A fresh directory for one test, removed after it, and waits for files that a program writes into it.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { until } from './deadline.js';

export function freshDirectory(t: Pick<ExecutionContext, 'teardown'>): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-test-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Resolves once there is such a file. */
export function appears(file: string): Promise<void> {
  return until(() => existsSync(file), path.basename(file));
}
