// A PgBouncer in transaction mode before this file's PostgreSQL server: statements of one client run
// on whichever of the server's connections is free, so that LISTEN succeeds and nothing is heard.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gate, within } from './deadline.js';
import { unusedPort } from './port.js';
import { ordinaryUser, postgresql } from './postgresql.js';
import { pathOf } from './tools.js';

let pooler: Promise<number> | undefined;

/** A new, empty database, as it is reached through the one pooler of this file's tests. */
export async function pooledDatabase(): Promise<string> {
  const { port, createDatabase } = await postgresql();
  pooler ??= start(port);
  const url = new URL(await createDatabase());
  url.port = String(await pooler);
  return url.href;
}

async function start(serverPort: number): Promise<number> {
  const directory = mkdtempSync(path.join(tmpdir(), 'taskcluster-proxy-test-'));
  const user = ordinaryUser();
  chownSync(directory, user.uid, user.gid);
  const port = await unusedPort();
  const file = path.join(directory, 'pgbouncer.ini');
  writeFileSync(file, configuration(port, serverPort));
  const child = spawn(pathOf('pgbouncer'), [file], {
    ...user,
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  process.once('exit', () => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  await listening(child);
  return port;
}

/** A lost server is looked for every second, not every 15; few connections, for many databases. */
function configuration(port: number, serverPort: number): string {
  return `[databases]
* = host=127.0.0.1 port=${serverPort} user=test
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 6
max_client_conn = 1000
server_idle_timeout = 5
server_login_retry = 1
`;
}

async function listening(child: ChildProcess): Promise<void> {
  const ready = gate();
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    log += text;
    if (log.includes('process up')) {
      ready.open();
    }
  });
  void once(child, 'exit').then(() => ready.fail(new Error(`PgBouncer ended:\n${log}`)));
  await within(ready.opened, 'the start of PgBouncer');
  child.unref();
  (child.stderr as { unref?: () => void } | null)?.unref?.();
}
