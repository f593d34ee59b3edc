// Other users of this machine: their connections, made from this process, and the attacker of
// crates/peer, who acts as them. For tests that run as root.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type ExecutionContext, type TestFn } from 'ava';
import { Connection, type RawResponse } from './connection.js';
import { PROGRAM_PATIENCE_MS, within } from './deadline.js';
import { type Tool, testWith } from './tools.js';

const ROOT = path.resolve(import.meta.dirname, '../..');

export interface User {
  readonly name: string;
  readonly uid: number;
}

/** Users that every Linux system has, without root and the overflow user. */
const USERS = findUsers(['daemon', 'bin', 'games', 'sys', 'mail', 'adm', 'lp', 'www-data']);

function findUsers(names: string[]): User[] {
  if (process.platform !== 'linux') {
    return [];
  }
  const table = readFileSync('/etc/passwd', 'utf8');
  const rows = new Map(table.split('\n').map((line) => [line.split(':')[0], line.split(':')[2]]));
  return names
    .map((name) => ({ name, uid: Number(rows.get(name)) }))
    .filter(({ uid }) => uid > 0 && uid < 65534);
}

/**
 * Users: one that the proxy serves, another, one as which the proxy can run, and one that has no
 * process of another test.
 */
export const [allowed, other, owner, quiet] = [user(0), user(1), user(2), user(3)];

function user(index: number): User {
  return USERS[index] ?? { name: '', uid: -1 };
}

/**
 * `test.serial`, or `test.skip` with a line, where this process cannot act as other users or a tool
 * is missing.
 */
export function testAsRoot(...needed: Tool[]): TestFn | TestFn['skip'] {
  if (process.geteuid?.() === 0 && USERS.length >= 4) {
    return testWith(...needed) === test ? test.serial : test.skip;
  }
  console.log('skipped here: tests that act as several users, which only root can on Linux');
  return test.skip;
}

/** A connection with a socket that belongs to `user`. Tests that use it run one after another. */
export async function connectAs(
  t: Pick<ExecutionContext, 'teardown'>,
  { uid }: Pick<User, 'uid'>,
  port: number,
  host?: string,
): Promise<Connection> {
  process.seteuid?.(uid);
  try {
    const connection = await Connection.open(port, host);
    t.teardown(() => connection.destroy());
    return connection;
  } finally {
    process.seteuid?.(0);
  }
}

/** The answer to these bytes over a connection of `user`, or null where it is refused. */
export async function askAs(
  t: Pick<ExecutionContext, 'teardown'>,
  user: Pick<User, 'uid'>,
  port: number,
  bytes: string | Buffer,
  host?: string,
): Promise<RawResponse | null> {
  const connection = await connectAs(t, user, port, host);
  try {
    return await connection.exchange(bytes);
  } catch (error) {
    if (error instanceof Error && error.message.includes('did not come within')) {
      throw error;
    }
    return null;
  } finally {
    connection.destroy();
  }
}

/** What the attacker counted. */
export interface Tally {
  readonly mode: string;
  readonly tries: number;
  readonly sent: number;
  readonly answered: number;
  readonly refused: number;
  readonly failed: number;
  readonly statuses: Record<string, number>;
}

let program: string | undefined;

/** Builds the attacker where it is not built yet. */
export function attackerProgram(): string {
  if (program === undefined) {
    const args = ['build', '-p', 'taskcluster-proxy-peer', '--example', 'attacker'];
    const built = spawnSync('cargo', [...args, '--message-format', 'json-render-diagnostics'], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    program = /"executable":"([^"]*attacker[^"]*)"/.exec(built.stdout)?.[1];
    if (program === undefined) {
      throw new Error(`the attacker cannot be built: ${built.error ?? built.stderr}`);
    }
  }
  return program;
}

/** Runs the attacker, here or in a network namespace, with its arguments as one line. */
export async function attack(line: string, namespace?: string): Promise<Tally> {
  const command = [attackerProgram(), ...line.split(' ')];
  const [name = '', ...args] =
    namespace === undefined ? command : ['ip', 'netns', 'exec', namespace, ...command];
  const child = spawn(name, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const told = Promise.all([text(child.stdout), once(child, 'exit')]);
  const [json, [code]] = await within(told, `the end of attacker ${line}`, PROGRAM_PATIENCE_MS);
  if (code !== 0) {
    throw new Error(`attacker ${line} ended with ${code}`);
  }
  return JSON.parse(json) as Tally;
}
