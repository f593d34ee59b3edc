// Programs that some tests need and a contributor's machine may lack: where they are.
// `tools/test-setup.mjs` installs or builds them.
import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';

const ROOT = path.resolve(import.meta.dirname, '../..');
const { PATH = '' } = process.env;

/** What the set-up builds. */
const BUILT = {
  'python-client': path.join(ROOT, 'build/test-python/bin/python'),
  'go-client': path.join(ROOT, 'build/test-go/client'),
  h2spec: path.join(ROOT, 'build/test-h2spec/h2spec'),
  actionlint: path.join(ROOT, 'build/test-workflows/actionlint'),
  registry: path.join(ROOT, 'build/test-registry/node_modules/verdaccio/bin/verdaccio'),
  'pnpm-10': inPackages('pnpm-10/bin/pnpm.cjs'),
  pnpm: inPackages('pnpm/pnpm'),
  'yarn-1': inPackages('yarn/bin/yarn.js'),
  'yarn-4': inPackages('@yarnpkg/cli-dist/bin/yarn.js'),
  bun: inPackages('bun/bin/bun.exe'),
  'generic-worker': path.join(ROOT, 'build/test-worker/generic-worker'),
  'old-node': path.join(ROOT, 'build/test-node/node_modules/node/bin/node'),
  launcher: path.join(ROOT, 'build/test-launcher/launcher'),
  versitygw: path.join(ROOT, 'build/test-object-store/versitygw'),
};

function inPackages(file: string): string {
  return path.join(ROOT, 'build/test-package-managers/node_modules', file);
}

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
  | 'promtool'
  | 'systemd-analyze'
  | 'buildah'
  | 'ip';

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

/** The tool's path, where it is there. */
export function pathOf(tool: Tool): string {
  const found = find(tool);
  if (found === undefined) {
    throw new Error(`${tool} is not installed; tools/test-setup.mjs installs it where CI is true`);
  }
  return found;
}

export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
