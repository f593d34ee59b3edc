/** npm runs it before it packs taskcluster-proxy: refuses a package that would lack what it is for. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { manifest, ROOT } from './platforms.mjs';

const { bin, exports, man } = manifest();
const entries = [bin, man, ...Object.values(exports)];
const wanted = entries.flatMap((entry) =>
  typeof entry === 'string' ? entry : Object.values(entry),
);
const missing = wanted.filter((file) => !existsSync(join(ROOT, file)));
if (missing.length > 0) {
  console.error(`There is no ${missing.join(', no ')} to pack: run npm run build first.`);
  process.exit(1);
}
