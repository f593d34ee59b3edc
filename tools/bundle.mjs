/**
 * Bundles into the package taskcluster-proxy what it uses of other packages, so that it depends on none;
 * runs after tsc has written dist/.
 *
 * - dist/cli/taskcluster-proxy.cjs is the command in one CommonJS file; by {@link bundle} it is also what
 *   tools/one-file.mjs puts into its program. A worker starts one proxy per task: loading the same code as
 *   eight ES modules takes Node 20 about 9 ms longer, half as much again as an empty program.
 * - dist/nearest.js is the one module of the API that uses another package.
 */
import { chmodSync, readFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const LICENCES = { commander: 'LICENSE', leven: 'license' };

/** The packages that are bundled. */
export const BUNDLED = Object.keys(LICENCES);

/** The licences of bundled code ask for their text in every copy of it. */
function licencesOf(...names) {
  const licences = names.map((name) => {
    const path = new URL(`../node_modules/${name}/${LICENCES[name]}`, import.meta.url);
    return `${name}:\n\n${readFileSync(path, 'utf8')}`;
  });
  return { js: `/*!\n${licences.join('\n')}*/` };
}

/** The oldest Node that the package is for. */
const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const [oldestNode] = engines.node.match(/\d+/);

/**
 * Stands before all other code, so that an older Node prints one sentence, and no stack trace of what it
 * lacks.
 */
const banner = `'use strict';
if (parseInt(process.versions.node, 10) < ${oldestNode}) {
  console.error('taskcluster-proxy: Node ' + process.versions.node + ' is too old: install Node ${oldestNode} or newer');
  process.exit(1);
}
const binaryUrl = require('node:url').pathToFileURL(require('node:path').join(__dirname, '../binary.js')).href;`;

/**
 * Commander loads the module that spawns processes, for subcommands that are programs. The command
 * has no such subcommand, and loading the module takes Node 2 ms.
 */
const spawnsNothing = {
  name: 'spawns-nothing',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:child_process$/ }, ({ path }) => ({ path, namespace: 'empty' }));
    onLoad({ filter: /.*/, namespace: 'empty' }, () => ({ contents: 'module.exports = {};' }));
  },
};

/** `entry` lies in ts/cli. */
export async function bundle({ entry, outfile, plugins = [], ...options }) {
  await build({
    entryPoints: [fileURLToPath(new URL(`../ts/cli/${entry}`, import.meta.url))],
    outfile,
    bundle: true,
    platform: 'node',
    // Older than any Node that may run it: a Node that cannot parse the file cannot say that it is
    // too old.
    target: 'node10',
    supported: { 'node-colon-prefix-require': true },
    format: 'cjs',
    footer: licencesOf(...BUNDLED),
    // Node 20 has to parse all of it at every start.
    minifyWhitespace: true,
    minifySyntax: true,
    plugins: [spawnsNothing, ...plugins],
    logLevel: 'warning',
    ...options,
  });
}

async function bundleNearest() {
  await build({
    entryPoints: [fileURLToPath(new URL('../ts/nearest.ts', import.meta.url))],
    outfile: fileURLToPath(new URL('../dist/nearest.js', import.meta.url)),
    bundle: true,
    platform: 'node',
    target: `node${oldestNode}`,
    format: 'esm',
    footer: licencesOf('leven'),
    logLevel: 'warning',
  });
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  await bundleNearest();
  const outfile = fileURLToPath(new URL('../dist/cli/taskcluster-proxy.cjs', import.meta.url));
  await bundle({
    entry: 'taskcluster-proxy.ts',
    outfile,
    // The addon is looked for from where binary.js lies.
    define: { 'import.meta.url': 'binaryUrl' },
    banner: { js: banner },
  });
  chmodSync(outfile, 0o755);
}
