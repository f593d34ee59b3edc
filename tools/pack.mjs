/**
 * Packs what this machine can publish: the package of its own platform with the addon that
 * `npm run build` has left beside package.json, taskcluster-proxy and taskcluster-local. Prints the
 * paths of the tarballs, in the order in which they are published.
 *
 * Usage: node tools/pack.mjs [directory], by default build/.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { assembleLocal, assemblePlatform, shell } from './packages.mjs';
import { binaryOf, PLATFORMS, ROOT } from './platforms.mjs';

const destination = resolve(process.argv[2] ?? join(ROOT, 'build'));
const built = PLATFORMS.map((platform) => ({ platform, binary: join(ROOT, binaryOf(platform)) }));
const here = built.filter(({ binary }) => existsSync(binary));

if (here.length === 0) {
  console.error('There is no binary to pack: run npm run build first.');
  process.exit(1);
}
mkdirSync(destination, { recursive: true });
for (const { platform, binary } of here) {
  packAssembled((directory) => assemblePlatform(platform, binary, directory));
}
pack(ROOT);
packAssembled(assembleLocal);

/** Put together outside of the checkout, where a test may do the same at the same time. */
function packAssembled(assemble) {
  const directory = mkdtempSync(join(tmpdir(), 'taskcluster-proxy-pack-'));
  try {
    assemble(directory);
    pack(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function pack(directory) {
  const args = ['pack', '--silent', '--pack-destination', destination];
  const name = execFileSync('npm', args, { cwd: directory, encoding: 'utf8', shell }).trim();
  console.log(join(destination, name));
}
