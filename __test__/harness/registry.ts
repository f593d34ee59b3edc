// A registry of npm packages on this machine: Verdaccio, which has what this repository publishes as its
// own, and all others from npm's. A release goes into it by tools/release.mjs; what a test makes up goes
// in by the registry's protocol.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import type { ExecutionContext } from 'ava';
import { endsWith } from './child.js';
import { PROGRAM_PATIENCE_MS, until } from './deadline.js';
import { freshDirectory } from './directory.js';
import { accepts, unusedPort } from './port.js';
import { pathOf } from './tools.js';

const run = promisify(execFile);

export interface Registry {
  readonly url: string;
  /** For npm, which publishes with a token only. */
  readonly env: NodeJS.ProcessEnv;
}

export async function startRegistry(t: ExecutionContext): Promise<Registry> {
  const directory = freshDirectory(t);
  const port = await unusedPort();
  const url = `http://127.0.0.1:${port}/`;
  const config = path.join(directory, 'config.yaml');
  const { stdout: registry } = await run('npm', ['config', 'get', 'registry']);
  writeFileSync(
    config,
    JSON.stringify({
      storage: path.join(directory, 'storage'),
      max_body_size: '100mb',
      uplinks: { npm: { url: registry.trim() } },
      packages: {
        'taskcluster-proxy*': { access: '$all', publish: '$all' },
        'taskcluster-local': { access: '$all', publish: '$all' },
        '**': { access: '$all', proxy: 'npm' },
      },
      log: { type: 'stdout', level: 'error' },
    }),
  );
  const child = spawn(process.execPath, [pathOf('registry'), '--config', config, '--listen', url], {
    stdio: 'ignore',
  });
  endsWith(t, child);
  await until(() => accepts(port), 'the registry', PROGRAM_PATIENCE_MS);
  const userconfig = path.join(directory, 'npmrc');
  // This registry takes any.
  writeFileSync(userconfig, `//127.0.0.1:${port}/:_authToken=none\n`);
  return { url, env: { ...process.env, npm_config_userconfig: userconfig } };
}

/** Publishes the files of a directory as they are, and makes them the latest version. */
export async function publishDirectory({ url }: Registry, directory: string): Promise<void> {
  const manifest = JSON.parse(readFileSync(path.join(directory, 'package.json'), 'utf8'));
  const { name, version } = manifest;
  const pack = ['-czf', '-', '-C', directory, '--transform', 's,^[.],package,', '.'];
  const { stdout: tarball } = await run('tar', pack, { encoding: 'buffer', maxBuffer: 2 ** 28 });
  const file = `${name}-${version}.tgz`;
  const dist = {
    integrity: `sha512-${createHash('sha512').update(tarball).digest('base64')}`,
    shasum: createHash('sha1').update(tarball).digest('hex'),
    tarball: `${url}${name}/-/${file}`,
  };
  const answer = await fetch(`${url}${name}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json', authorization: 'Bearer none' },
    body: JSON.stringify({
      _id: name,
      name,
      'dist-tags': { latest: version },
      versions: { [version]: { ...manifest, _id: `${name}@${version}`, dist } },
      _attachments: {
        [file]: {
          content_type: 'application/octet-stream',
          data: tarball.toString('base64'),
          length: tarball.length,
        },
      },
    }),
  });
  if (!answer.ok) {
    throw new Error(
      `${name}@${version} was not published: ${answer.status} ${await answer.text()}`,
    );
  }
}

/** The files of a package that is published, in a directory of the test's. */
export async function unpackPublished(
  t: ExecutionContext,
  { url }: Registry,
  name: string,
  version: string,
): Promise<string> {
  const directory = freshDirectory(t);
  const answer = await fetch(`${url}${name}/-/${name}-${version}.tgz`);
  const file = path.join(directory, 'package.tgz');
  writeFileSync(file, Buffer.from(await answer.arrayBuffer()));
  await run('tar', ['-xzf', file, '-C', directory]);
  return path.join(directory, 'package');
}
