/**
 * Makes the one file: build/one-file/taskcluster-proxy-<platform>, a Node single executable application
 * with the command and the addon inside, and beside it the licence of that Node. It is for machines
 * without Node, and for workers, which run one path.
 *
 * Usage: node tools/one-file.mjs [--platform NAME]... [--addon FILE], by default for this machine, with the addon
 * beside package.json, or for others with those of build/platforms/; prints the paths. tools/nodes.mjs names
 * the Node inside of each, and fetches it, once.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
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
import { inject } from 'postject';
import { bundle } from './bundle.mjs';
import { cargoTool } from './cargo-tools.mjs';
import { endWithSentence } from './ending.mjs';
import { builderFor, HERE, makersOf, NODES, nodeFor, oneFileOf } from './nodes.mjs';
import { binaryOf, platformNamed, ROOT } from './platforms.mjs';

const DIRECTORY = join(ROOT, 'build/one-file');

/**
 * The platform to name where this machine has none of its own: the error then says which machines make
 * it.
 */
const ANY = 'linux-x64-gnu';

const MAIN = 'main.cjs';
const CONFIG = 'config.json';
const PARTS = 'parts';
const UNFINISHED = 'taskcluster-proxy';

/** What a Node looks for in itself to see whether it carries a program. */
const FUSE = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2';

if (argv[1] === fileURLToPath(import.meta.url)) {
  await endWithSentence(main);
}

async function main() {
  const { values } = parseArgs({
    options: {
      platform: { type: 'string', multiple: true, default: [HERE in NODES ? HERE : ANY] },
      addon: { type: 'string' },
    },
  });
  if (values.addon !== undefined && values.platform.length > 1) {
    throw new Error('An addon is for one platform: give --addon with one --platform.');
  }
  for (const platform of values.platform.map(checkPlatform)) {
    console.log(await make(platform, addonFor(platform, values.addon)));
  }
}

function addonFor(platform, given) {
  const isHere = platform.name === HERE;
  const beside = isHere ? ROOT : join(ROOT, 'build/platforms');
  const addon = resolve(given ?? join(beside, binaryOf(platform)));
  if (!existsSync(addon)) {
    const command = isHere ? 'npm run build' : `npm run build -- --platform ${platform.name}`;
    throw new Error(`There is no addon ${addon}: run ${command} first.`);
  }
  return addon;
}

/** Makes a platform's one file, and gives its path. */
async function make(platform, addon) {
  const { name } = platform;
  mkdirSync(DIRECTORY, { recursive: true });
  const output = join(DIRECTORY, oneFileOf(platform));
  // A directory of this run alone: another run may make the same file meanwhile.
  const scratch = mkdtempSync(join(DIRECTORY, 'run-'));
  try {
    const { builder, licence, putsTogether } = builderFor(name, DIRECTORY, scratch);
    const node = nodeFor(name, DIRECTORY, scratch);
    copyFileSync(licence, `${output}.node-license.txt`);
    await bundleMain(scratch, NODES[name].version);
    // Only the Node itself compiles code for its processor ahead.
    const useCodeCache = name === HERE;
    const parts = { builder, putsTogether, node, addon, scratch, useCodeCache };
    const unfinished = await putTogether(parts);
    if (name.startsWith('darwin')) {
      // Apple's systems start no program without a signature; this one names no signer.
      execFileSync(cargoTool('rcodesign'), ['sign', unfinished], { stdio: ['ignore', 2, 2] });
    }
    chmodSync(unfinished, 0o755);
    renameSync(unfinished, output);
  } finally {
    rmSync(scratch, { recursive: true });
  }
  return output;
}

function checkPlatform(name) {
  const platform = platformNamed(name);
  if (!(name in NODES)) {
    const known = Object.keys(NODES).join(', ');
    throw new Error(`No registry of packages has Node for ${name}: the one file is for ${known}.`);
  }
  const makers = makersOf(name);
  if (!makers.some((arch) => HERE === `linux-${arch}-gnu`)) {
    const places = makers.join(' or ');
    throw new Error(`The one file for ${name} is made on Linux with glibc, on ${places}.`);
  }
  return platform;
}

async function bundleMain(scratch, version) {
  const carried = join(ROOT, 'ts/cli/one-file/binary.ts');
  await bundle({
    entry: 'one-file/main.ts',
    outfile: join(scratch, MAIN),
    target: `node${Number.parseInt(version, 10)}`,
    plugins: [
      {
        name: 'carried-binary',
        setup: ({ onResolve }) =>
          onResolve({ filter: /^\.\/binary\.js$/ }, () => ({ path: carried })),
      },
    ],
  });
}

/**
 * The parts as Node reads them, with the addon as an asset. The program names its files as they are named
 * here: without the directory of this run.
 */
async function putTogether({ builder, putsTogether, node, addon, scratch, useCodeCache }) {
  const config = {
    main: MAIN,
    output: putsTogether ? UNFINISHED : PARTS,
    disableExperimentalSEAWarning: true,
    useCodeCache,
    assets: { 'addon.node': addon },
    // Node's own variable and flags are not the command's.
    execArgvExtension: 'none',
    ...(putsTogether && { executable: node }),
  };
  writeFileSync(join(scratch, CONFIG), JSON.stringify(config));
  const flag = putsTogether ? '--build-sea' : '--experimental-sea-config';
  const stdio = ['ignore', 'ignore', 'inherit'];
  execFileSync(builder, [flag, CONFIG], { stdio, cwd: scratch });
  if (!putsTogether) {
    const unfinished = join(scratch, UNFINISHED);
    copyFileSync(node, unfinished);
    const parts = readFileSync(join(scratch, PARTS));
    await quietly(() => inject(unfinished, 'NODE_SEA_BLOB', parts, { sentinelFuse: FUSE }));
  }
  return join(scratch, UNFINISHED);
}

/** postject writes its progress to stdout, which is for the path of the one file. */
async function quietly(work) {
  const { log } = console;
  console.log = console.error;
  try {
    await work();
  } finally {
    console.log = log;
  }
}
