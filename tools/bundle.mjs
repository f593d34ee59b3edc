/**
 * Puts the command taskcluster-proxy into one CommonJS file, dist/cli/taskcluster-proxy.cjs, after
 * tsc has written dist/. A worker starts one proxy per task: loading the same code as eight ES
 * modules takes Node 20 about 9 ms longer, half as much again as an empty program.
 */
import { chmodSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const outfile = fileURLToPath(new URL('../dist/cli/taskcluster-proxy.cjs', import.meta.url));

await build({
  entryPoints: [fileURLToPath(new URL('../ts/cli/taskcluster-proxy.ts', import.meta.url))],
  outfile,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // The addon is looked for from where native.js lies.
  define: { 'import.meta.url': 'nativeUrl' },
  banner: {
    js: "'use strict';\nconst nativeUrl = require('node:url').pathToFileURL(require('node:path').join(__dirname, '../native.js')).href;",
  },
  logLevel: 'warning',
});
chmodSync(outfile, 0o755);
