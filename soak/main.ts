// `npm run soak`: runs the proxy, or the deployment, for long under load while what it stands on breaks,
// and tells what happened. What it is not: it measures no speed (bench/), and a run that finds nothing
// proves nothing but that.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { HELP, type Options, readOptions, UsageError } from './options.js';
import { soakProxy } from './proxy.js';
import { faultsOf, table } from './report.js';

try {
  const options = readOptions(process.argv.slice(2));
  if (options.help) {
    console.log(HELP);
  } else {
    await run(options);
  }
} catch (error) {
  if (!(error instanceof UsageError)) {
    throw error;
  }
  console.error(error.message);
  process.exitCode = 64;
}

async function run({ minutes, pause, seed, deployment }: Options): Promise<void> {
  const directory = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-soak-'));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => process.exit(130));
  }
  const kind = deployment ? ' --deployment' : '';
  console.log(`--minutes ${minutes} --pause ${pause} --seed ${seed}${kind}`);
  const began = Date.now();
  const progress = (words: string) =>
    console.error(`${Math.round((Date.now() - began) / 1_000)} s: ${words}`);
  const soak = deployment ? (await import('./deployment.js')).soakDeployment : soakProxy;
  const figures = await soak({ minutes, pause, seed, judgesFair: true, directory, progress });
  console.log(table(figures));
  const faults = faultsOf(figures);
  if (faults.length > 0) {
    console.log(`\nFaults; logs are in ${directory}:\n${faults.join('\n')}`);
    process.exitCode = 1;
    return;
  }
  console.log('\nNo fault.');
  rmSync(directory, { recursive: true, force: true });
}
