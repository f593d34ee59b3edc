/**
 * Ends the program with one sentence if Node is too old for the package. To be imported first. The bundled
 * command has the same check in its banner (tools/bundle.mjs), before the code that an old Node cannot
 * load.
 */
import { createRequire } from 'node:module';

const { engines } = createRequire(import.meta.url)('../../package.json') as {
  engines: { node: string };
};
const oldest = Number.parseInt(engines.node.replace(/\D+/, ''), 10);

if (Number.parseInt(process.versions.node, 10) < oldest) {
  console.error(
    `taskcluster-local: Node ${process.versions.node} is too old: install Node ${oldest} or newer`,
  );
  process.exit(1);
}
