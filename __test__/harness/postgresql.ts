// The machine's PostgreSQL server, on loopback, with its data in a fresh directory, and a database for
// each test that needs one. It never runs as root, which PostgreSQL refuses.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { DATABASE_PATIENCE_MS, gate, within } from './deadline.js';
import { unusedPort } from './port.js';
import { pathOf } from './programs.js';

export interface Postgresql {
  readonly port: number;
  /** A new, empty database. */
  createDatabase(): Promise<string>;
  /** Ends the server and every connection, as an administrator who restarts it. */
  stop(): Promise<void>;
  /** Starts it again on the same port. */
  resume(): Promise<void>;
}

let server: Promise<Postgresql> | undefined;

/** The one server of this file's tests. */
export function postgresql(): Promise<Postgresql> {
  server ??= start();
  return server;
}

async function start(): Promise<Postgresql> {
  const directory = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-test-'));
  const user = ordinaryUser();
  chownSync(directory, user.uid, user.gid);
  const data = path.join(directory, 'data');
  const programs = path.dirname(realpathSync(pathOf('postgres')));
  const options = ['--no-sync', '--auth=trust', '--username=test', '--encoding=UTF8'];
  const made = spawnSync(
    path.join(programs, 'initdb'),
    [...options, '--locale=C.UTF-8', '-D', data],
    { ...user, cwd: directory, encoding: 'utf8' },
  );
  if (made.status !== 0) {
    throw new Error(`initdb failed: ${made.stderr}`);
  }
  const port = await unusedPort();
  const settings = [
    ...['fsync=off', 'listen_addresses=127.0.0.1', 'unix_socket_directories='],
    'max_connections=300',
  ];
  const launch = async () => {
    const launched = spawn(
      path.join(programs, 'postgres'),
      ['-D', data, '-p', `${port}`, ...settings.flatMap((setting) => ['-c', setting])],
      { ...user, cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    await accepting(launched);
    return launched;
  };
  let child = await launch();
  process.once('exit', () => {
    // Immediate shutdown: it ends its own processes too.
    child.kill('SIGQUIT');
    rmSync(directory, { recursive: true, force: true });
  });
  let databases = 0;
  return {
    port,
    async createDatabase() {
      databases += 1;
      const name = `test_${databases}`;
      await runSql(port, `CREATE DATABASE ${name}`);
      const patience = `connect_timeout=${DATABASE_PATIENCE_MS / 1000}`;
      return `postgres://test@127.0.0.1:${port}/${name}?${patience}`;
    },
    async stop() {
      const ended = once(child, 'exit');
      // Fast shutdown: it does not wait for clients.
      child.kill('SIGINT');
      await within(ended, 'the end of PostgreSQL', DATABASE_PATIENCE_MS);
    },
    async resume() {
      child = await launch();
    },
  };
}

/** The user of this process, or an ordinary user if that is root. */
export function ordinaryUser(): { uid: number; gid: number } {
  const [uid = 0, gid = 0] = [process.getuid?.(), process.getgid?.()];
  if (uid !== 0) {
    return { uid, gid };
  }
  const rows = readFileSync('/etc/passwd', 'utf8').split('\n');
  const [, , id = '', group = ''] =
    rows.map((row) => row.split(':')).find(([name]) => name === 'postgres' || name === 'daemon') ??
    [];
  return { uid: Number(id), gid: Number(group) };
}

async function accepting(child: ChildProcess): Promise<void> {
  const ready = gate();
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    if (log.includes('ready to accept connections')) {
      ready.open();
    }
  });
  void once(child, 'exit').then(() => ready.fail(new Error(`PostgreSQL ended:\n${log}`)));
  await within(ready.opened, 'the start of PostgreSQL', DATABASE_PATIENCE_MS);
  child.unref();
  (child.stderr as { unref?: () => void } | null)?.unref?.();
}

/** Runs a statement beside the tests, as an administrator would. */
export async function runSql(port: number, sql: string, database = 'postgres'): Promise<unknown[]> {
  const client = new pg.Client(`postgres://test@127.0.0.1:${port}/${database}`);
  await client.connect();
  try {
    const { rows } = await client.query(sql);
    return rows;
  } finally {
    await client.end();
  }
}
