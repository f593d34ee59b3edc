/**
 * Puts the command taskcluster-proxy into one CommonJS file: dist/cli/taskcluster-proxy.cjs, after
 * tsc has written dist/; by {@link bundle} also what tools/one-file.mjs puts into its program. A worker
 * starts one proxy per task: loading the same code as eight ES modules takes Node 20 about 9 ms longer,
 * half as much again as an empty program.
 */
import { chmodSync, readFileSync } from 'node:fs';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** What is bundled wants its licence to stand in every copy of it. */
const licences = Object.entries({ commander: 'LICENSE', leven: 'license' }).map(([name, file]) => {
  const path = new URL(`../node_modules/${name}/${file}`, import.meta.url);
  return `${name}:\n\n${readFileSync(path, 'utf8')}`;
});

/** The oldest Node that the package is for. */
const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const [oldestNode] = engines.node.match(/\d+/);

/**
 * Stands before all else, so that an older Node is told by one sentence, and not by the trace of what
 * it lacks.
 */
const banner = `'use strict';
if (parseInt(process.versions.node, 10) < ${oldestNode}) {
  console.error('taskcluster-proxy: Node ' + process.versions.node + ' is too old: install Node ${oldestNode} or newer');
  process.exit(1);
}
const binaryUrl = require('node:url').pathToFileURL(require('node:path').join(__dirname, '../binary.js')).href;`;

/**
 * Commander loads what spawns processes, for subcommands that are programs. The command has none,
 * and loading that takes Node 2 ms.
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
    // Older than what runs it: a Node that cannot parse it cannot be told either.
    target: 'node10',
    supported: { 'node-colon-prefix-require': true },
    format: 'cjs',
    footer: { js: `/*!\n${licences.join('\n')}*/` },
    // Node 20 has to parse all of it at every start.
    minifyWhitespace: true,
    minifySyntax: true,
    plugins: [spawnsNothing, ...plugins],
    logLevel: 'warning',
    ...options,
  });
}

if (argv[1] === fileURLToPath(import.meta.url)) {
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
