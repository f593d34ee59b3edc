// Programs that some tests need and a contributor's machine may lack: found here, or the tests that
// need them are skipped with a line. With CI=true nothing is skipped, since `tools/test-setup.mjs`
// has installed all of them.
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import test, { type TestFn } from 'ava';

const ROOT = path.resolve(import.meta.dirname, '../..');
const { PATH = '', CI = '' } = process.env;

/** What the set-up builds. */
const BUILT = {
  'python-client': path.join(ROOT, 'build/test-python/bin/python'),
  'go-client': path.join(ROOT, 'build/test-go/client'),
  h2spec: path.join(ROOT, 'build/test-h2spec/h2spec'),
  actionlint: path.join(ROOT, 'build/test-workflows/actionlint'),
  registry: path.join(ROOT, 'build/test-registry/node_modules/verdaccio/bin/verdaccio'),
  'generic-worker': path.join(ROOT, 'build/test-worker/generic-worker'),
  'old-node': path.join(ROOT, 'build/test-node/node_modules/node/bin/node'),
  launcher: path.join(ROOT, 'build/test-launcher/launcher'),
  versitygw: path.join(ROOT, 'build/test-object-store/versitygw'),
};

export type Tool =
  | keyof typeof BUILT
  | 'nginx'
  | 'chromium'
  | 'curl'
  | 'haproxy'
  | 'openssl'
  | 'postgres'
  | 'pgbouncer'
  | 'bash'
  | 'zsh'
  | 'fish'
  | 'groff'
  | 'systemd-analyze';

export function find(tool: Tool): string | undefined {
  const candidates =
    tool in BUILT
      ? [BUILT[tool as keyof typeof BUILT]]
      : [...PATH.split(path.delimiter), '/usr/sbin', ...postgresqlDirectories()].map((each) =>
          path.join(each, tool),
        );
  return candidates.find(isExecutable);
}

/** Debian keeps a server's programs out of the PATH, by its version. */
function postgresqlDirectories(): string[] {
  const parent = '/usr/lib/postgresql';
  const versions = existsSync(parent) ? readdirSync(parent) : [];
  return versions.map((version) => path.join(parent, version, 'bin'));
}

/** The tool's path, in a test that `testWith` has let run. */
export function pathOf(tool: Tool): string {
  const found = find(tool);
  if (found === undefined) {
    throw new Error(`${tool} is not installed; tools/test-setup.mjs installs it where CI is true`);
  }
  return found;
}

/** `test`, or `test.skip` with a line that says what is missing. */
export function testWith(...needed: Tool[]): TestFn | TestFn['skip'] {
  const missing = needed.filter((tool) => find(tool) === undefined);
  if (missing.length === 0 || CI === 'true') {
    return test;
  }
  console.log(`skipped here: tests that need ${missing.join(' and ')}, not found on this machine`);
  return test.skip;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
