// A fresh directory for one test, gone after it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ExecutionContext } from 'ava';

export function freshDirectory(t: Pick<ExecutionContext, 'teardown'>): string {
  const directory = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-test-'));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}
