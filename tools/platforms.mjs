/**
 * The platforms that have a package, and what one Linux machine needs to build the addon for each.
 * Their list stands in package.json (`napi.targets`); here is what follows from an entry. Builds
 * nothing.
 *
 * On a machine of the platform itself Cargo alone does; `npm run build` takes that way.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** The oldest C library that the Linux builds run on: RHEL 8's. */
export const GLIBC_FLOOR = '2.28';

const ARCHITECTURES = { x86_64: 'x64', aarch64: 'arm64' };

/**
 * How each system is built for: the triple that Cargo takes on Linux, which is another one where a
 * linker of the vendor's is not to be had; what links; what Cargo calls the library.
 */
const SYSTEMS = {
  'unknown-linux-gnu': {
    suffix: (arch) => `linux-${arch}-gnu`,
    linker: 'zig',
    pin: `.${GLIBC_FLOOR}`,
    library: 'libtaskcluster_proxy_addon.so',
  },
  'unknown-linux-musl': {
    suffix: (arch) => `linux-${arch}-musl`,
    linker: 'zig',
    // A shared library: the process that loads it brings the C library.
    rustflags: ['-C', 'target-feature=-crt-static'],
    library: 'libtaskcluster_proxy_addon.so',
  },
  'apple-darwin': {
    suffix: (arch) => `darwin-${arch}`,
    linker: 'zig',
    stubs: 'frameworks',
    library: 'libtaskcluster_proxy_addon.dylib',
  },
  'unknown-freebsd': {
    suffix: (arch) => `freebsd-${arch}`,
    linker: 'zig',
    library: 'libtaskcluster_proxy_addon.so',
  },
  'pc-windows-msvc': {
    suffix: (arch) => `win32-${arch}-msvc`,
    linker: { x64: 'mingw', arm64: 'zig' },
    abi: { x64: 'pc-windows-gnu', arm64: 'pc-windows-gnullvm' },
    stubs: 'libnode',
    library: 'taskcluster_proxy_addon.dll',
  },
};

/** The platforms, by the triples of package.json. */
export const PLATFORMS = manifest().napi.targets.map((triple) => {
  const [, machine, system] = /^([^-]+)-(.+)$/.exec(triple);
  const arch = ARCHITECTURES[machine];
  const { suffix, linker, abi, pin = '', ...rest } = SYSTEMS[system];
  const target = `${machine}-${abi?.[arch] ?? system}`;
  return {
    /** The name of its package, behind `taskcluster-proxy-`. */
    name: suffix(arch),
    /** Its own triple. */
    triple,
    /** The triple that Cargo is given on Linux; `pinned` names the C library's version beside it. */
    target,
    pinned: `${target}${pin}`,
    linker: linker[arch] ?? linker,
    floor: pin === '' ? undefined : GLIBC_FLOOR,
    rustflags: [],
    ...rest,
  };
});

export function platformNamed(name) {
  const found = PLATFORMS.find((platform) => platform.name === name);
  if (found === undefined) {
    const names = PLATFORMS.map((platform) => platform.name).join(', ');
    throw new Error(`There is no platform ${name}: it is one of ${names}.`);
  }
  return found;
}

/** The file of the addon, beside package.json and in the platform's package. */
export function binaryOf({ name }) {
  return `taskcluster-proxy.${name}.node`;
}

/** The programs that build; the environment may name others. */
export const CARGO = process.env.CARGO ?? 'cargo';
export const RUSTC = process.env.RUSTC ?? 'rustc';
export const PYTHON = process.env.CARGO_ZIGBUILD_PYTHON_PATH ?? 'python3';

const LINKERS = {
  zig: [
    {
      what: 'cargo-zigbuild (pip install cargo-zigbuild)',
      isThere: () => inPath('cargo-zigbuild'),
    },
    {
      what: 'Zig (pip install ziglang; CARGO_ZIGBUILD_PYTHON_PATH names its Python)',
      isThere: () => inPath('zig') || says(PYTHON, '-m', 'ziglang', 'version') !== undefined,
    },
  ],
  mingw: [
    {
      what: 'x86_64-w64-mingw32-gcc (apt install gcc-mingw-w64-x86-64)',
      isThere: () => inPath('x86_64-w64-mingw32-gcc'),
    },
  ],
};

/** What building for `platform` needs on Linux, each with whether it is there. */
export function needs(platform) {
  return [
    { what: 'Cargo', isThere: says(CARGO, '--version') !== undefined },
    {
      what:
        `Rust's standard library for ${platform.target} ` +
        `(rustup target add ${platform.target}, or rustup component add rust-src)`,
      isThere: standardLibrary(platform) !== undefined,
    },
    ...LINKERS[platform.linker].map(({ what, isThere }) => ({ what, isThere: isThere() })),
    ...(platform.stubs === 'frameworks'
      ? [{ what: "rust-objcopy (in PATH, or in RUSTC's toolchain)", isThere: hasObjcopy() }]
      : []),
    ...(platform.floor === undefined
      ? []
      : [{ what: 'readelf (apt install binutils)', isThere: inPath('readelf') }]),
  ];
}

/** `ready-made` by rustup, `source` to be built with the addon, or undefined. */
export function standardLibrary({ target }) {
  const libraries = says(RUSTC, '--print', 'target-libdir', '--target', target);
  if (libraries !== undefined && existsSync(libraries)) {
    return 'ready-made';
  }
  const sysroot = says(RUSTC, '--print', 'sysroot');
  const source = sysroot && join(sysroot, 'lib/rustlib/src/rust/library/Cargo.lock');
  return source && existsSync(source) ? 'source' : undefined;
}

/** Whether the program is there with which rustc strips Apple's libraries. */
function hasObjcopy() {
  const libraries = says(RUSTC, '--print', 'target-libdir');
  return (
    inPath('rust-objcopy') ||
    (libraries !== undefined && existsSync(join(libraries, '../bin/rust-objcopy')))
  );
}

export function manifest() {
  return JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
}

export function inPath(program) {
  const directories = (process.env.PATH ?? '').split(delimiter);
  return directories.some((directory) => existsSync(join(directory, program)));
}

function says(program, ...args) {
  const { status, stdout } = spawnSync(program, args, { cwd: ROOT, encoding: 'utf8' });
  return status === 0 ? stdout.trim() : undefined;
}
