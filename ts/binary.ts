/**
 * Finds the addon's binary for this machine and loads it, or says what is missing. The one-file build
 * carries its binary inside: there cli/one-file/binary.ts replaces this module.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

/** The addon is missing or cannot be loaded. */
export class MissingBinaryError extends Error {
  override readonly name = 'MissingBinaryError';
  readonly code = 'ERR_MISSING_BINARY';

  constructor(trouble: string, cause?: Error) {
    super(`taskcluster-proxy finds no binary for this machine: ${trouble}`, { cause });
  }
}

/** The variable that names the addon's file, for programs that repackage this one, such as bundlers. */
const BINARY_VARIABLE = 'TASKCLUSTER_PROXY_BINARY';

/** The platforms that have a package, as napi-rs names them. */
const PLATFORMS = [
  'darwin-arm64',
  'darwin-x64',
  'freebsd-arm64',
  'freebsd-x64',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'linux-x64-gnu',
  'linux-x64-musl',
  'win32-arm64-msvc',
  'win32-x64-msvc',
];

export function load(): unknown {
  const named = process.env[BINARY_VARIABLE];
  return named === undefined || named === '' ? loadPackage(targets()) : loadNamed(named);
}

/** Tries this file only: with a wrong variable, loading another addon would hide the mistake. */
function loadNamed(path: string): unknown {
  try {
    return open(path);
  } catch (error) {
    const { message } = error as Error;
    throw new MissingBinaryError(
      `${BINARY_VARIABLE} names '${path}', which does not load (${message}); ` +
        'name the file taskcluster-proxy.<platform>.node of this machine, or unset the variable',
      error as Error,
    );
  }
}

function loadPackage(candidates: string[]): unknown {
  const failures = new Map<string, Error>();
  for (const target of candidates) {
    const path = find(target);
    if (path !== undefined) {
      try {
        return open(path);
      } catch (error) {
        failures.set(target, error as Error);
      }
    }
  }
  const target = fittingTarget(candidates);
  if (target === undefined) {
    throw new MissingBinaryError(
      `${process.platform} on ${process.arch} is not supported; supported are ` +
        `${PLATFORMS.join(', ')}`,
    );
  }
  const cause = failures.get(target);
  const trouble = cause === undefined ? 'is not installed' : `does not load (${cause.message})`;
  throw new MissingBinaryError(
    `its package taskcluster-proxy-${target} ${trouble}; install taskcluster-proxy anew on this ` +
      'machine without --omit=optional, or run `npm run build` in a checkout',
    cause,
  );
}

/**
 * The platforms to try. On Linux these are both C libraries: npm installs only the fitting binary, and
 * the other does not load, so the library need not be detected.
 */
function targets(): string[] {
  const machine = `${process.platform}-${process.arch}`;
  return PLATFORMS.filter((name) => name === machine || name.startsWith(`${machine}-`));
}

/**
 * The path of the binary for `target`: beside package.json in a checkout; in the platform's package
 * beside this one, where npm puts it; or wherever else Node finds that package.
 */
function find(target: string): string | undefined {
  const file = `taskcluster-proxy.${target}.node`;
  for (const place of [`../${file}`, `../../taskcluster-proxy-${target}/${file}`]) {
    const path = fileURLToPath(new URL(place, import.meta.url));
    if (existsSync(path)) {
      return path;
    }
  }
  try {
    return createRequire(import.meta.url).resolve(`taskcluster-proxy-${target}`);
  } catch {
    return undefined;
  }
}

function open(path: string): unknown {
  const addon = { exports: {} };
  process.dlopen(addon, path);
  return addon.exports;
}

/** The one of Linux's two targets that matches the C library of this process. */
function fittingTarget([first, second]: string[]): string | undefined {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  return second === undefined || header.glibcVersionRuntime !== undefined ? first : second;
}
