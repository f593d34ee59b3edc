/**
 * `npm run licences`: writes THIRD-PARTY-LICENSES anew, the licences of what is linked into the addon, of
 * all platforms together. It goes into each platform's package, and beside the one file. A test tells when
 * it no longer names the crates of the lock file. Takes minutes, of which most go into comparing texts.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cargoTool } from './cargo-tools.mjs';
import { endWithSentence } from './ending.mjs';
import { ROOT } from './platforms.mjs';

const DIRECTORY = join(ROOT, 'tools/licences');

const HEAD = `The addon of taskcluster-proxy is under the MPL-2.0. It is linked with the crates below, each under
the licence above which it is named, and with Rust's standard library (https://github.com/rust-lang/rust,
by its contributors), which is under MIT or Apache-2.0 at your choice.
`;

endWithSentence(() => {
  writeFileSync(join(ROOT, 'THIRD-PARTY-LICENSES'), `${HEAD}\n${collected()}\n`);
});

function collected() {
  const { status, stdout } = spawnSync(
    cargoTool('cargo-about'),
    [
      ...['generate', '--locked', '--config', join(DIRECTORY, 'about.toml')],
      ...['--manifest-path', join(ROOT, 'crates/addon/Cargo.toml')],
      join(DIRECTORY, 'about.hbs'),
    ],
    { encoding: 'utf8', maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (status !== 0) {
    throw new Error('The licences were not collected: what cargo-about said stands above.');
  }
  const lines = stdout.split('\n').map((line) => line.trimEnd());
  // Crates that bring no text of their own get that of SPDX.
  const named = lines.map((line) =>
    line === 'Copyright (c) <year> <copyright holders>' ? 'Copyright (c) the authors above' : line,
  );
  return named.join('\n').trim();
}
