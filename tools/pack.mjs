/**
 * Packs what this machine can publish: the main package, and the package of its own platform with
 * the addon that `npm run build` has left beside package.json. Prints the paths of the tarballs.
 *
 * Usage: node tools/pack.mjs [directory], by default build/. The packages of other platforms are
 * filled by `napi artifacts` with the binaries that were built there.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const BINARY = /^taskcluster-proxy\.(.+)\.node$/;

const destination = resolve(process.argv[2] ?? join(ROOT, 'build'));
mkdirSync(destination, { recursive: true });

const binaries = readdirSync(ROOT).filter((name) => BINARY.test(name));
if (binaries.length === 0) {
  console.error('There is no binary to pack: run npm run build first.');
  process.exit(1);
}
for (const binary of binaries) {
  packBinary(binary);
}
pack(ROOT);

/** Puts the platform's package together outside the checkout, which shall hold one binary. */
function packBinary(binary) {
  const [, target] = BINARY.exec(binary);
  const staging = mkdtempSync(join(tmpdir(), 'taskcluster-proxy-pack-'));
  try {
    cpSync(join(ROOT, 'npm', target), staging, { recursive: true });
    copyFileSync(join(ROOT, binary), join(staging, binary));
    copyFileSync(join(ROOT, 'LICENSE'), join(staging, 'LICENSE'));
    pack(staging);
  } finally {
    rmSync(staging, { recursive: true });
  }
}

function pack(directory) {
  const args = ['pack', '--silent', '--pack-destination', destination];
  // npm is a script on Windows, which only a shell starts.
  const shell = process.platform === 'win32';
  const name = execFileSync('npm', args, { cwd: directory, encoding: 'utf8', shell }).trim();
  console.log(join(destination, name));
}
