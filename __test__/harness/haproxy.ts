// HAProxy as a balancer before several processes: it asks each for its health, and where a connection
// is refused it turns to another.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { ExecutionContext } from 'ava';
import { endsWith } from './child.js';
import { until } from './deadline.js';
import { freshDirectory } from './directory.js';
import { unusedPort } from './port.js';
import { pathOf } from './tools.js';

export interface Balancer {
  readonly url: string;
  /** Whether it sends requests to the process on this port. */
  isUp(port: number): Promise<boolean>;
}

export async function startBalancer(
  t: Pick<ExecutionContext, 'teardown'>,
  ports: readonly number[],
): Promise<Balancer> {
  const [port, statusPort] = [await unusedPort(), await unusedPort()];
  const file = path.join(freshDirectory(t), 'haproxy.cfg');
  writeFileSync(file, configuration(port, statusPort, ports));
  endsWith(t, spawn(pathOf('haproxy'), ['-db', '-f', file], { stdio: 'ignore' }));
  const isUp = async (asked: number) => {
    const table = await fetch(`http://127.0.0.1:${statusPort}/;csv`).then((answer) =>
      answer.text(),
    );
    const row = table.split('\n').find((line) => line.startsWith(`processes,p${asked},`));
    return row?.split(',')[17] === 'UP';
  };
  const allAreUp = async () =>
    (await Promise.all(ports.map((each) => isUp(each).catch(() => false)))).every(Boolean);
  await until(allAreUp, 'all processes being up');
  return { url: `http://127.0.0.1:${port}`, isUp };
}

function configuration(port: number, statusPort: number, ports: readonly number[]): string {
  return `
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout check 10s
  option redispatch
  retries 3
frontend clients
  bind 127.0.0.1:${port}
  default_backend processes
frontend status
  bind 127.0.0.1:${statusPort}
  stats enable
  stats uri /
backend processes
  balance roundrobin
  option httpchk GET /__lbheartbeat__
  default-server check inter 100ms fall 1 rise 1
${ports.map((each) => `  server p${each} 127.0.0.1:${each}`).join('\n')}
`;
}
