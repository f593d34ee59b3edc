// Which clients the proxy serves with --allowed-user: by user, by network, by path, and under the load of
// refused clients.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { endsWith } from '../harness/child.js';
import { ENOUGH, runCommand } from '../harness/command.js';
import type { Connection } from '../harness/connection.js';
import { PROMPT_MS, pause, until, within } from '../harness/deadline.js';
import { makeNamespace } from '../harness/namespace.js';
import {
  type ProxyOptions,
  type RunningProxy,
  requestBytes,
  startProxy,
} from '../harness/proxy.js';
import { permanentCredentials } from '../harness/signature.js';
import { startUpstream } from '../harness/upstream.js';
import {
  allowed,
  askAs,
  attack,
  attackerProgram,
  connectAs,
  other,
  owner,
  quiet,
  testAsRoot,
  type User,
} from '../harness/users.js';
import { value } from '../harness/wire.js';

const testUsers = testAsRoot();
const ROOT_USER: User = { name: 'root', uid: 0 };

async function start(t: ExecutionContext, options: Partial<ProxyOptions> = {}) {
  const upstream = await startUpstream(t);
  const { flags = [] } = options;
  const proxy = await startProxy(t, {
    rootUrl: upstream.url,
    ...options,
    flags: ['--allowed-user', allowed.name, ...flags],
  });
  const ask = (user: User, method: string, target: string, body?: string) =>
    askAs(t, user, proxy.port, requestBytes(method, target, body === undefined ? {} : { body }));
  return { upstream, proxy, ask };
}

const update = (clientId: string) => JSON.stringify(permanentCredentials(clientId));

testUsers('the proxy serves the allowed user and root, and answers no other user', async (t) => {
  const { upstream, proxy, ask } = await start(t);
  t.is((await ask(allowed, 'GET', '/queue/v1/allowed'))?.status, 200);
  t.is((await ask(ROOT_USER, 'GET', '/queue/v1/root'))?.status, 200);
  for (const target of ['/queue/v1/other', '/credentials', '/bewit', '/__version__', '/none']) {
    t.is(await ask(other, 'GET', target), null);
  }
  t.is(await ask(other, 'PUT', '/credentials', update('tests/other')), null);
  t.deepEqual(
    upstream.exchanges.map(({ target }) => target),
    ['/api/queue/v1/allowed', '/api/queue/v1/root'],
  );
  upstream.assertAllSigned(t);
  await proxy.logged(/^.*Refused a connection from 127\.0\.0\.1:\d+: it belongs to uid \d+$/m);
});

testUsers('only root may update the credentials where the proxy runs as root', async (t) => {
  const { ask } = await start(t);
  t.is((await ask(allowed, 'PUT', '/credentials', update('tests/task')))?.status, 403);
  t.is((await ask(ROOT_USER, 'PUT', '/credentials', update('tests/worker')))?.status, 200);
  const answer = await ask(allowed, 'GET', '/queue/v1/x');
  t.is(
    value(answer?.fields ?? [], 'x-taskcluster-proxy-perm-clientid'),
    permanentCredentials('tests/worker').clientId,
  );
});

testUsers("the proxy's own user may update the credentials, but gets nothing signed", async (t) => {
  const { upstream, ask } = await start(t, { uid: owner.uid });
  t.is((await ask(owner, 'PUT', '/credentials', update('tests/worker')))?.status, 200);
  t.is((await ask(ROOT_USER, 'PUT', '/credentials', update('tests/root')))?.status, 200);
  t.is((await ask(allowed, 'PUT', '/credentials', update('tests/task')))?.status, 403);
  t.is(await ask(other, 'PUT', '/credentials', update('tests/other')), null);
  for (const user of [owner, ROOT_USER, allowed]) {
    t.is((await ask(user, 'GET', '/__heartbeat__'))?.status, 200, user.name);
  }
  t.is((await ask(owner, 'GET', '/queue/v1/owner'))?.status, 403);
  t.is((await ask(owner, 'POST', '/bewit', 'https://example.com/'))?.status, 403);
  t.is(upstream.exchanges.length, 0);
  t.is((await ask(allowed, 'GET', '/queue/v1/allowed'))?.status, 200);
});

testUsers('a client that shuts down writing gets its answer', async (t) => {
  const { upstream, proxy } = await start(t);
  upstream.handler = async (exchange) => {
    await pause(400);
    await exchange.respond(200, { body: 'late' });
  };
  const bytes = requestBytes('GET', '/queue/v1/half');
  const answers = [allowed, ROOT_USER].map(async (user) => {
    const connection = await connectAs(t, user, proxy.port);
    await connection.send(bytes);
    connection.end();
    return connection.response();
  });
  for (const answer of answers) {
    t.is((await answer).body.toString(), 'late');
  }
});

for (const [name, target] of [
  ['IPv4', '127.0.0.1'],
  ['another address of loopback', '127.11.12.13'],
  ['IPv6', '[::1]'],
  ['an IPv4-mapped address', '[::ffff:127.0.0.1]'],
]) {
  testUsers(`clients of every kind are served over ${name}`, async (t) => {
    const { proxy } = await start(t, { addresses: [] });
    const kinds = ['plain', 'shutdown-write', 'plain --device lo', 'plain --protocol mptcp'];
    for (const { uid } of [allowed, ROOT_USER]) {
      for (const kind of kinds) {
        for (const held of ['', ` --stop ${proxy.pid}`]) {
          const tally = await attack(
            `--target ${target}:${proxy.port} --uid ${uid} --who friend --tries 50 --mode ${kind}${held}`,
          );
          t.is(tally.answered + tally.failed, 50, `${kind}${held} ${JSON.stringify(tally)}`);
          t.deepEqual(tally.statuses, { 200: tally.answered });
          t.true(tally.failed === 0 || kind.includes('mptcp'));
        }
      }
    }
  });
}

async function refused(ask: Awaited<ReturnType<typeof start>>['ask']): Promise<number> {
  const metrics = await ask(ROOT_USER, 'GET', '/__metrics__');
  const [, number] = /refused_connections_total (\d+)/.exec(`${metrics?.body}`) ?? [];
  return Number(number);
}

/** Stops a process, and waits until each of its threads has heard of it. */
async function holdStill({ child, pid }: RunningProxy): Promise<void> {
  child.kill('SIGSTOP');
  const threads = `/proc/${pid}/task`;
  const isStill = (thread: string) =>
    /\) T /.test(readFileSync(`${threads}/${thread}/stat`, 'utf8'));
  await until(() => readdirSync(threads).every(isStill), 'the stop');
}

testUsers('a connection that ends before its first byte does not count as refused', async (t) => {
  const { proxy, ask } = await start(t);
  const come = async (user: User, bytes: string, leave: (connection: Connection) => void) => {
    // Held still, the proxy looks at a connection when its client has left.
    await holdStill(proxy);
    const connection = await connectAs(t, user, proxy.port);
    await connection.send(bytes);
    leave(connection);
    await pause(20);
    proxy.child.kill('SIGCONT');
  };
  const closes = (connection: Connection) => connection.destroy();
  const resets = (connection: Connection) => connection.reset();
  for (const user of [ROOT_USER, allowed, other]) {
    for (const leave of [closes, resets]) {
      await come(user, '', leave);
    }
  }
  t.is(await refused(ask), 0);
  t.notRegex(proxy.log, /Refused/);

  await come(ROOT_USER, 'G', closes);
  t.is(await refused(ask), 1, 'a byte was sent');
  await proxy.logged(/Refused a connection .* has closed its end/);
  const silent = await connectAs(t, other, proxy.port);
  await silent.closed();
  t.is(await refused(ask), 2, 'its client was there');
});

testUsers('the proxy warns of processes that already run as the allowed user', async (t) => {
  const run = (uid: number) => {
    const child = spawn('sleep', ['600'], { uid, stdio: 'ignore' });
    endsWith(t, child);
    return child.pid;
  };
  const [left, others] = [run(quiet.uid), run(other.uid)];
  const warning = /^.*Processes of the allowed user.*$/m;
  const upstream = await startUpstream(t);
  const startFor = (user: User) =>
    startProxy(t, { rootUrl: upstream.url, flags: ['--allowed-user', user.name] });

  const proxy = await startFor(quiet);
  const line = await proxy.logged(warning);
  const [, user, ids = ''] =
    /\((uid \d+)\) run already .*: ([0-9, ]+).*; end those/.exec(line) ?? [];
  t.is(user, `uid ${quiet.uid}`);
  const named = ids.split(', ').map(Number);
  t.deepEqual(
    [left, others, proxy.pid].map((id) => named.includes(Number(id))),
    [true, false, false],
  );
  const { log } = await startFor(ROOT_USER);
  t.notRegex(log, warning, 'root is always served');
});

// === Refusals at start ===

for (const [args, sentence] of [
  [['--allowed-user', 'no-such-user'], /there is no user "no-such-user" on this machine/],
  [['--allowed-user', '65534'], /"65534" stands for all users that a user namespace does not map/],
  [['--allowed-network', '10.0.0.0/8'], /--allowed-network needs --allowed-user beside it/],
  [['--allowed-user', 'root', '--allowed-network', '0.0.0.0/0'], /"0\.0\.0\.0\/0" is too broad/],
  [['--allowed-user', 'root', '--allowed-network', '9.9.9.9/0'], /"9\.9\.9\.9\/0" is too broad/],
  [['--allowed-user', 'root', '--allowed-network', '::/0'], /"::\/0" is too broad/],
  [
    ['--allowed-user', 'root', '--allowed-network', '::ffff:0:0/96'],
    /"::ffff:0:0\/96" is too broad/,
  ],
  [
    ['--allowed-user', 'root', '--allowed-network', '127.0.0.0/16'],
    /"127\.0\.0\.0\/16" overlaps loopback/,
  ],
  [['--allowed-user', 'root', '--allowed-network', '::/16'], /"::\/16" overlaps loopback/],
  [
    ['--allowed-user', 'root', '--allowed-network', '0.0.0.0/1'],
    /"0\.0\.0\.0\/1" overlaps loopback/,
  ],
  [['--allowed-user', 'root', '--allowed-network', 'docker0'], /write it as 172\.17\.0\.0\/16/],
  [
    ['--allowed-user', 'root', '--allowed-network', '::ffff:0:0/95'],
    /"::ffff:0:0\/95" is too broad/,
  ],
  [
    ['--allowed-user=root', '--allowed-network=10.0.0.0/8', '--allowed-network', '::/0'],
    /"::\/0" is too broad/,
  ],
] as const) {
  const linux = process.platform === 'linux' ? test : test.skip;
  linux(`the proxy refuses to start with ${args.join(' ')}`, async (t) => {
    const run = await runCommand(t, ['--port', '0', ...args], ENOUGH);
    t.true(run.code === 1 || run.code === 64, `exit code ${run.code}`);
    t.is(run.stdout, '');
    t.regex(run.stderr, sentence);
    t.is(run.stderr.trim().split('\n').length, 1);
  });
}

test('the proxy does not start if --allowed-user is the name of the overflow user', async (t) => {
  const table = process.platform === 'linux' ? readFileSync('/etc/passwd', 'utf8') : '';
  if (!/^nobody:[^:]*:65534:/m.test(table)) {
    t.log('skipped: nobody is not the overflow user here');
    t.pass();
    return;
  }
  const run = await runCommand(t, ['--port', '0', '--allowed-user', 'nobody'], ENOUGH);
  t.not(run.code, 0);
  t.regex(run.stderr, /"nobody" stands for all users/);
});

// === Networks ===

testUsers(
  'the proxy serves the clients of a network namespace by their address, and only with --allowed-network',
  async (t) => {
    const namespace = makeNamespace(t);
    if (namespace === null) {
      t.pass();
      return;
    }
    const { name } = namespace;
    const { host, guest } = namespace.v4;
    const addresses = [host];
    const line = (port: number, uid: number) =>
      `--target ${host}:${port} --uid ${uid} --who guest --tries 20 --mode plain`;
    const asked = (port: number, uid: number) => attack(line(port, uid), name);

    const without = await start(t, { addresses });
    t.is((await asked(without.proxy.port, allowed.uid)).answered, 0);

    const outside = await start(t, { addresses, flags: ['--allowed-network', '192.0.2.0/24'] });
    t.is((await asked(outside.proxy.port, allowed.uid)).answered, 0);

    for (const network of [`${guest}/32`, `${host}/24`, `::ffff:${host}/120`]) {
      const { proxy, upstream, ask } = await start(t, {
        addresses,
        flags: ['--allowed-network', network],
      });
      // Which user it is cannot be seen from here.
      for (const { uid } of [allowed, other, ROOT_USER]) {
        t.deepEqual((await asked(proxy.port, uid)).statuses, { 200: 20 }, network);
      }
      const guests = upstream.exchanges.length;
      // Networks have no user who may update.
      const put = await attack(`${line(proxy.port, 0)} --request put`, name);
      t.deepEqual(put.statuses, { 403: 20 });
      // On the machine itself the user decides, not the address.
      t.is((await attack(line(proxy.port, other.uid))).answered, 0);
      for (const mode of ['close', 'linger0', 'exit', 'kill', 'shutdown-both']) {
        for (const held of ['', ` --stop ${proxy.pid}`]) {
          const line = `--target ${host}:${proxy.port} --uid ${other.uid} --tries 100`;
          await attack(`${line} --mode ${mode}${held}`);
        }
      }
      // The launcher comes by loopback, where nothing rewrites its address.
      t.is((await ask(ROOT_USER, 'PUT', '/credentials', update('tests/worker')))?.status, 200);
      t.is((await ask(allowed, 'GET', '/queue/v1/x'))?.status, 200);
      t.is(upstream.exchanges.length, guests + 1);
    }
  },
);

testUsers('a task network may have an IPv4 and an IPv6 range', async (t) => {
  const namespace = makeNamespace(t);
  if (namespace === null) {
    t.pass();
    return;
  }
  const { name, v4, v6 } = namespace;
  const answered = async (networks: string[]) => {
    const flags = networks.flatMap((network) => ['--allowed-network', network]);
    const { proxy } = await start(t, { addresses: [v4.host, v6.host], flags });
    const tallies = [v4.host, `[${v6.host}]`].map((to) =>
      attack(
        `--target ${to}:${proxy.port} --uid ${other.uid} --who guest --tries 5 --mode plain`,
        name,
      ),
    );
    return (await Promise.all(tallies)).map((tally) => tally.answered);
  };
  t.deepEqual(await answered([`${v4.guest}/32`, `${v6.guest}/128`]), [5, 5]);
  t.deepEqual(await answered([`${v6.guest}/64`, `${v4.host}/24`]), [5, 5]);
  t.deepEqual(await answered([`${v4.guest}/32`]), [5, 0]);
  t.deepEqual(await answered([`${v6.guest}/128`]), [0, 5]);
});

// === Under load ===

testUsers('a task with hundreds of open connections does not keep an update out', async (t) => {
  const { proxy, ask, upstream } = await start(t, { descriptors: 256 });
  const hoard: Connection[] = [];
  for (let count = 0; count < 400; count += 1) {
    hoard.push(await connectAs(t, allowed, proxy.port));
  }
  const bytes = requestBytes('GET', '/queue/v1/x');
  await Promise.all(hoard.map((connection) => connection.send(bytes).catch(() => {})));
  t.is((await ask(ROOT_USER, 'PUT', '/credentials', update('tests/worker')))?.status, 200);
  t.is((await ask(ROOT_USER, 'GET', '/__heartbeat__'))?.status, 200);
  // A flood of refused connections does not keep the update out either.
  const flood = attack(
    `--target 127.0.0.1:${proxy.port} --uid ${other.uid} --mode close --tries 2000`,
  );
  t.is((await ask(ROOT_USER, 'PUT', '/credentials', update('tests/again')))?.status, 200);
  await flood;
  for (const connection of hoard) {
    connection.destroy();
  }
  const isServed = async () => (await ask(allowed, 'GET', '/queue/v1/x'))?.status === 200;
  await until(isServed, 'a place');
  upstream.assertAllSigned(t);
});

testUsers('the allowed user is served while another user connects without a pause', async (t) => {
  attackerProgram();
  const { proxy, ask, upstream } = await start(t);
  const line = `--target 127.0.0.1:${proxy.port} --uid ${other.uid} --tries 15000 --mode`;
  const began = Date.now();
  let over = false;
  const floods = Promise.all([attack(`${line} close`), attack(`${line} linger0`)]).then((sent) => {
    over = true;
    return sent;
  });
  let served = 0;
  while (!over || served < 20) {
    const answer = await within(ask(allowed, 'GET', '/queue/v1/x'), 'an answer', PROMPT_MS);
    t.is(answer?.status, 200);
    served += 1;
  }
  const sent = (await floods).reduce((sum, tally) => sum + tally.sent, 0);
  t.true(sent > 25_000, `${sent} sent`);
  t.is(upstream.exchanges.length, served);

  const seconds = (Date.now() - began) / 1000;
  await pause(1_200);
  const lines = proxy.log.match(/^.*Refused a connection.*$/gm) ?? [];
  t.true(lines.length <= seconds + 3, `${lines.length} lines in ${seconds} s`);
  const metrics = await ask(ROOT_USER, 'GET', '/__metrics__');
  const refused = /refused[a-z_]*(?:\{[^}]*\})? (\d+)/.exec(metrics?.body.toString() ?? '')?.[1];
  t.true(Number(refused) > 20_000, `${refused} refused`);
});
