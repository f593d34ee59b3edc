// Any other program, by its command line: `name=program argument ...`, split at white space, without
// a shell. `{port}`, `{rootUrl}` and `{log}` stand for what the bench gives it.
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { unusedPort } from '../../__test__/harness/port.js';
import { BenchError, findProgram, Program } from '../program.js';
import { rootUrl } from '../upstream.js';
import { CREDENTIALS } from './ours.js';
import type { Destination, Peer } from './peer.js';

/** Nothing where its program is not installed. */
export function command(given: string): Peer | undefined {
  const [, name, line] = /^([^=\s]+)=(.+)$/.exec(given) ?? [];
  if (name === undefined || line === undefined) {
    throw new BenchError(`--with takes name=command, not ${given}`);
  }
  const [program = '', ...args] = line.trim().split(/\s+/);
  const file = program.includes('/') ? path.resolve(program) : findProgram(program);
  if (file === undefined) {
    return undefined;
  }
  return {
    name,
    version: '',
    settings: `\`${line}\`, with the credentials and SSL_CERT_FILE in its environment`,
    start: (to) => start(name, [file, ...args], to),
  };
}

async function start(name: string, line: readonly string[], to: Destination) {
  const { directory, upstream, endpoint } = to;
  mkdirSync(directory, { recursive: true });
  const port = await unusedPort();
  const log = path.join(directory, `${name}.log`);
  const given: Record<string, string> = {
    '{port}': String(port),
    '{rootUrl}': rootUrl(upstream, endpoint),
    '{log}': log,
  };
  const words = line.map((word) => word.replace(/\{\w+\}/g, (place) => given[place] ?? place));
  const env = { ...CREDENTIALS, SSL_CERT_FILE: upstream.authority };
  const running = new Program(words, { log, env });
  await running.listensOn(port);
  return { port, pid: running.pid, stop: () => running.stop() };
}
