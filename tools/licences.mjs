/**
 * `npm run licences`: writes THIRD-PARTY-LICENSES anew, the licences of what is linked into the addon, of
 * all platforms together, and of what the linkers put in beside the crates. It goes into each platform's
 * package, and beside the one file. A test tells when it no longer names the crates of the lock file. Takes
 * minutes, of which most go into comparing texts.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';
import { cargoTool } from './cargo-tools.mjs';
import { endWithSentence } from './ending.mjs';
import { PLATFORMS, PYTHON, ROOT } from './platforms.mjs';

const DIRECTORY = join(ROOT, 'tools/licences');

const HEAD = `The addon of taskcluster-proxy is under the MPL-2.0. It is linked with the crates below, each under
the licence above which it is named, and with Rust's standard library (https://github.com/rust-lang/rust,
by its contributors), which is under MIT or Apache-2.0 at your choice. What the linkers bring stands at the end.
`;

const isByZig = ({ linker }) => linker === 'zig';
const isOf =
  (...starts) =>
  ({ name }) =>
    starts.some((start) => name.startsWith(start));
const ofGlibc = ({ floor }) => floor !== undefined;

/** What linkers put into the builds that are made from Linux, with the file of Zig's package that has its licence. */
export const RUNTIMES = [
  { name: "Zig's compiler runtime (https://ziglang.org)", file: 'LICENSE', isIn: isByZig },
  {
    name: "LLVM's libunwind (https://libunwind.llvm.org), as Zig brings it",
    file: 'lib/libunwind/LICENSE.TXT',
    isIn: (platform) => isByZig(platform) && !isOf('darwin')(platform),
  },
  {
    name: 'the runtime of mingw-w64 (https://www.mingw-w64.org)',
    file: 'lib/libc/mingw/COPYING',
    isIn: isOf('win32'),
  },
  {
    name: 'libgcc (https://gcc.gnu.org)',
    terms:
      'GPL-3.0 with the GCC Runtime Library Exception, which asks for no notice of compiled code',
    isIn: ({ linker }) => linker === 'mingw',
  },
  {
    name: 'the parts of glibc that are not shared (https://www.gnu.org/software/libc)',
    terms:
      'LGPL-2.1 or later with unlimited permission to link the compiled files into other programs',
    isIn: ofGlibc,
  },
].map(({ isIn, ...rest }) => ({
  ...rest,
  platforms: PLATFORMS.filter(isIn).map(({ name }) => name),
}));

if (argv[1] === fileURLToPath(import.meta.url)) {
  endWithSentence(() => {
    // First the step that fails at once.
    const ends = runtimes();
    const parts = [HEAD, `${collected()}\n`, ...ends];
    writeFileSync(join(ROOT, 'THIRD-PARTY-LICENSES'), parts.join('\n'));
  });
}

/** The runtimes, with the texts of the Zig that links here. */
function runtimes() {
  const program = 'import os, ziglang; print(os.path.dirname(ziglang.__file__))';
  const { status, stdout } = spawnSync(PYTHON, ['-c', program], { encoding: 'utf8' });
  if (status !== 0) {
    throw new Error(
      'There is no Zig here, which brings licences of its own: pip install ziglang; ' +
        'CARGO_ZIGBUILD_PYTHON_PATH names its Python.',
    );
  }
  return RUNTIMES.map(({ name, platforms, file, terms }) => {
    const text = file === undefined ? terms : readFileSync(join(stdout.trim(), file), 'utf8');
    const lines = text.split('\n').map((line) => line.trimEnd());
    return `${'='.repeat(80)}\n- ${name}\n  in ${platforms.join(', ')}\n\n${lines.join('\n').trim()}\n`;
  });
}

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
