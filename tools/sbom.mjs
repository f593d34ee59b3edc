/**
 * What each artefact of a release is made of, as CycloneDX: one file each, into a directory.
 *
 *   node tools/sbom.mjs DIRECTORY [ADDON...]      by default the addons in build/platforms/
 *   node tools/sbom.mjs DIRECTORY --packages      no addons: the npm packages alone
 *
 * For an addon and the one file that it is in, the list is that of the crates which the file itself carries, so a file
 * without one is refused; what it says of a crate beside its name and version comes from Cargo. For the npm packages it
 * is what npm finds in the lock file, with what is bundled.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { BUNDLED } from './bundle.mjs';
import { cargoTool } from './cargo-tools.mjs';
import { endWithSentence } from './ending.mjs';
import { NODES, packageUrlOf } from './nodes.mjs';
import { shell } from './packages.mjs';
import { binaryOf, CARGO, manifest, PLATFORMS, ROOT } from './platforms.mjs';

const BUILT = join(ROOT, 'build/platforms');

endWithSentence(main);

function main() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { packages: { type: 'boolean', default: false } },
  });
  const [destination, ...named] = positionals;
  if (destination === undefined) {
    throw new Error('Say where to: node tools/sbom.mjs DIRECTORY [ADDON...].');
  }
  const given = values.packages || named.length > 0;
  const addons = given ? named.map((file) => resolve(file)) : builtAddons();
  mkdirSync(destination, { recursive: true });
  const write = (name, bom) => {
    const file = join(destination, `${name}.cdx.json`);
    writeFileSync(file, `${JSON.stringify(bom, null, 2)}\n`);
    console.log(file);
  };
  const all = bomOfLockFile();
  const crates = cratesByPurl();
  for (const addon of addons) {
    const platform = PLATFORMS.find((each) => binaryOf(each) === basename(addon));
    if (platform === undefined) {
      throw new Error(`${addon} is not called as the addon of a platform.`);
    }
    const bom = bomOfAddon(addon, platform, crates);
    write(`taskcluster-proxy-${platform.name}`, bom);
    if (platform.name in NODES) {
      write(`taskcluster-proxy-${platform.name}.one-file`, bomOfOneFile(bom, platform, all));
    }
  }
  write('taskcluster-proxy', bomOfPackage(all, 'taskcluster-proxy', BUNDLED));
  write('taskcluster-local', bomOfPackage(all, 'taskcluster-local', []));
}

function builtAddons() {
  const files = (existsSync(BUILT) ? readdirSync(BUILT) : []).filter((name) =>
    name.endsWith('.node'),
  );
  return files.sort().map((name) => join(BUILT, name));
}

function bomOfAddon(addon, platform, crates) {
  const { status, stdout, stderr } = spawnSync(cargoTool('auditable2cdx'), [addon], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) {
    throw new Error(`${addon} does not say which crates are in it: ${stderr.trim()}`);
  }
  const bom = JSON.parse(stdout);
  const { version } = manifest();
  const name = `taskcluster-proxy-${platform.name}`;
  bom.metadata.component = {
    ...bom.metadata.component,
    ...identity(name, version),
    ...crates.get(`pkg:cargo/taskcluster-proxy-addon@${version}`),
  };
  bom.components = bom.components.map((component) => {
    // The purl of a crate of this repository also says where the crate lies; that is left out.
    const purl = component.purl.replace(/&.*/, '');
    return { ...component, purl, ...crates.get(purl) };
  });
  return bom;
}

/** Beside the addon, the one file holds a Node and what is bundled. */
function bomOfOneFile(ofAddon, platform, all) {
  const node = { type: 'application', 'bom-ref': 'node', ...nodeOf(platform) };
  const bundled = BUNDLED.map((each) =>
    all.components.find((component) => component['bom-ref'] === refOf(all, each)),
  );
  const { component } = ofAddon.metadata;
  const purl = `pkg:github/taskcluster/taskcluster-proxy@v${component.version}`;
  return {
    ...ofAddon,
    metadata: { ...ofAddon.metadata, component: { ...component, purl } },
    components: [
      ...ofAddon.components,
      node,
      ...bundled.map(({ 'bom-ref': ref, name, version, purl, licenses }) => ({
        ...{ type: 'library', 'bom-ref': ref, name, version, purl, licenses },
      })),
    ],
    dependencies: [
      ...ofAddon.dependencies,
      { ref: 'node' },
      ...bundled.map((component) => ({ ref: component['bom-ref'] })),
    ],
  };
}

/** What Cargo knows of the crates of the lock file. */
function cratesByPurl() {
  const output = execFileSync(CARGO, ['metadata', '--format-version=1', '--locked'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  const crates = JSON.parse(output).packages.map(({ name, version, license }) => [
    `pkg:cargo/${name}@${version}`,
    // Some still write a slash where SPDX has OR.
    license ? { licenses: [{ expression: license.replaceAll('/', ' OR ') }] } : {},
  ]);
  return new Map(crates);
}

/** Every npm package of the checkout, with what each needs. */
function bomOfLockFile() {
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'];
  const output = execFileSync('npm', args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    shell,
  });
  const bom = JSON.parse(output);
  // Of a package that is linked, npm gives the directory's name.
  const named = (component) => ({ ...component, name: nameIn(component.purl) });
  return {
    ...bom,
    metadata: { ...bom.metadata, component: named(bom.metadata.component) },
    components: bom.components.map(named),
  };
}

function nodeOf({ name }) {
  const purl = packageUrlOf(NODES[name]);
  const [, own, version] = /^pkg:\w+\/(.+)@(.+)$/.exec(purl);
  return { name: own, version, purl };
}

function nameIn(purl) {
  return decodeURIComponent(/^pkg:npm\/(.+)@[^@]+$/.exec(purl)[1]);
}

/** Of `all`, the package `name`, what it needs, and what is bundled into it. */
function bomOfPackage(all, name, bundled) {
  const { version, optionalDependencies } = manifest();
  const own = `${name}@${version}`;
  const needs = new Map(all.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  const main = `taskcluster-proxy@${version}`;
  // The checkout needs what builds and tests it, too.
  needs.set(main, [
    ...Object.entries(optionalDependencies).map(([each, of]) => `${each}@${of}`),
    ...(name === 'taskcluster-proxy' ? bundled.map((each) => refOf(all, each)) : []),
  ]);
  const found = new Set([own]);
  for (const ref of found) {
    for (const next of needs.get(ref) ?? []) {
      found.add(next);
    }
  }
  const components = [all.metadata.component, ...all.components].filter((component) =>
    found.has(component['bom-ref']),
  );
  const itself = components.find((component) => component['bom-ref'] === own);
  return {
    ...all,
    metadata: { ...all.metadata, component: { ...itself, ...identity(name, version) } },
    components: components.filter((component) => component !== itself),
    dependencies: [...found].map((ref) => ({ ref, dependsOn: needs.get(ref) ?? [] })),
  };
}

/**
 * The package of that name that the checkout itself needs: its packages may need another version of it.
 */
function refOf(all, name) {
  const { dependsOn } = all.dependencies.find(
    ({ ref }) => ref === all.metadata.component['bom-ref'],
  );
  const found = dependsOn.find((ref) => ref.startsWith(`${name}@`));
  if (found === undefined) {
    throw new Error(`The lock file does not name ${name}, which is bundled.`);
  }
  return found;
}

function identity(name, version) {
  return { name, version, purl: `pkg:npm/${name}@${version}` };
}
