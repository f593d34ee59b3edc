// A network namespace behind a bridge of this machine, as a container has one: with an address of
// each family on both sides. For tests that run as root on Linux. The kernel keeps it when the process that
// made it is killed, so its name has that process's id, and the next one that makes any removes it.
import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import type { ExecutionContext } from 'ava';

const { CI = '' } = process.env;

/** One family's addresses. */
export interface Side {
  /** The bridge's, which is one of this machine's own. */
  readonly host: string;
  readonly guest: string;
  readonly network: string;
}

export interface Namespace {
  readonly name: string;
  /** The name of its device. */
  readonly device: string;
  readonly v4: Side;
  readonly v6: Side;
}

/** Runs ip(8); whether it did what it was to do. */
export function ip(line: string): boolean {
  const { status } = spawnSync('ip', line.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] });
  return status === 0;
}

/** How many this process has made. */
let count = 0;

/** Null, with a line, where none can be made; with CI=true that is an error. */
export function makeNamespace(t: ExecutionContext): Namespace | null {
  if (count === 0) {
    removeLeft();
  }
  count += 1;
  // A device's name has at most 15 letters.
  const [name = '', bridge, outer, device = ''] = ['tcp', 'tcpb', 'tcpo', 'tcpi'].map(
    (kind) => `${kind}${process.pid}-${count}`,
  );
  const id = randomInt(1, 0xffff);
  const v4 = sides(
    (last) => `10.${200 + (id >> 13)}.${(id >> 5) & 0xff}.${(id & 31) * 8 + last}`,
    29,
  );
  const v6 = sides((last) => `fd00:7463:${id.toString(16)}::${last}`, 64);
  t.teardown(() => {
    ip(`netns del ${name}`);
    ip(`link del ${bridge}`);
  });
  const made = [
    `netns add ${name}`,
    `link add ${bridge} type bridge`,
    `link add ${outer} type veth peer name ${device} netns ${name}`,
    `link set ${outer} master ${bridge}`,
    `addr add ${v4.host}/29 dev ${bridge}`,
    `addr add ${v6.host}/64 dev ${bridge} nodad`,
    `link set ${outer} up`,
    `link set ${bridge} up`,
    `-n ${name} addr add ${v4.guest}/29 dev ${device}`,
    `-n ${name} addr add ${v6.guest}/64 dev ${device} nodad`,
    `-n ${name} link set ${device} up`,
    `-n ${name} link set lo up`,
  ].every(ip);
  if (made) {
    return { name, device, v4, v6 };
  }
  if (CI === 'true') {
    throw new Error('ip cannot make a network namespace behind a bridge here');
  }
  t.log('skipped: ip cannot make a network namespace behind a bridge here');
  return null;
}

function sides(address: (last: number) => string, prefix: number): Side {
  return { host: address(1), guest: address(2), network: `${address(0)}/${prefix}` };
}

/** Removes what processes have left that were killed, and ends what runs in it. */
function removeLeft(): void {
  for (const name of namesIn('/run/netns').filter((each) => isLeft(each, 'tcp'))) {
    const { stdout } = spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' });
    spawnSync('kill', ['-9', ...stdout.split('\n').filter((pid) => pid !== '')]);
    ip(`netns del ${name}`);
  }
  for (const bridge of namesIn('/sys/class/net').filter((each) => isLeft(each, 'tcpb'))) {
    ip(`link del ${bridge}`);
  }
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}

function isLeft(name: string, kind: string): boolean {
  const [, pid] = new RegExp(`^${kind}(\\d+)-\\d+$`).exec(name) ?? [];
  return pid !== undefined && !existsSync(`/proc/${pid}`);
}
