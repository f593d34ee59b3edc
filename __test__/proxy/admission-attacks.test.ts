// Another user of the machine tries to use the task's credentials: thousands of connections, in every way
// in which the kernel may name the wrong owner of a socket. Not one request may run.
import type { ExecutionContext } from 'ava';
import { pause, STILL_MS } from '../harness/deadline.js';
import { requestBytes, startProxy } from '../harness/proxy.js';
import { permanentCredentials } from '../harness/signature.js';
import { startUpstream } from '../harness/upstream.js';
import { allowed, askAs, attack, other, type Tally, testAsRoot } from '../harness/users.js';
import { value } from '../harness/wire.js';

const testUsers = testAsRoot();

/** A proxy on all addresses, and the judgement after attacks on it. */
async function start(t: ExecutionContext) {
  const upstream = await startUpstream(t);
  const flags = ['--allowed-user', allowed.name, '--log-level', 'warn'];
  const proxy = await startProxy(t, { rootUrl: upstream.url, flags, addresses: [] });
  const tallies: Tally[] = [];

  const attacked = async (line: string) => {
    const given = line.replace('PID', String(proxy.pid)).replace('PORT', String(proxy.port));
    const tally = await attack(`--uid ${other.uid} ${given}`);
    tallies.push(tally);
    t.is(tally.answered, 0, `${line}: ${JSON.stringify(tally)}`);
    return tally;
  };

  /** No request of the attacker's ran, and the credentials are those of the start. */
  const judge = async () => {
    await pause(STILL_MS);
    const bytes = requestBytes('GET', '/queue/v1/innocent');
    const answer = await askAs(t, allowed, proxy.port, bytes);
    t.is(answer?.status, 200);
    const { clientId } = permanentCredentials();
    t.is(value(answer?.fields ?? [], 'x-taskcluster-proxy-perm-clientid'), clientId);
    const targets = upstream.exchanges.map(({ target }) => target);
    const ran = targets.filter((target) => target.includes('/attack/'));
    t.deepEqual(ran, [], 'requests of the attacker ran');
    for (const { mode, tries, sent } of tallies) {
      t.log(`${mode}: ${sent} of ${tries} sent, none ran`);
    }
  };
  return { attacked, judge };
}

const TARGETS = ['127.0.0.1:PORT', '[::1]:PORT', '[::ffff:127.0.0.1]:PORT'];

for (const mode of [
  'plain',
  'close',
  'shutdown-write',
  'shutdown-both',
  'exit',
  'kill',
  'linger0',
  'fastopen',
  'time-wait',
]) {
  testUsers(`no request of another user runs: ${mode}`, async (t) => {
    const { attacked, judge } = await start(t);
    for (const target of TARGETS) {
      const line = `--target ${target} --mode ${mode}`;
      const first = target === TARGETS[0];
      const { sent } = await attacked(`${line} --tries ${first ? 2000 : 300}`);
      t.true(sent > 0);
      await attacked(`${line} --tries 300 --request put`);
      // Made and ended before the proxy accepts.
      await attacked(`${line} --tries ${first ? 1000 : 300} --stop PID`);
      await attacked(`${line} --tries 300 --stop PID --request put`);
    }
    for (const more of ['--device lo', '--protocol mptcp', '--stop PID --protocol mptcp']) {
      await attacked(`--target 127.0.0.1:PORT --mode ${mode} --tries 300 ${more}`);
    }
    await judge();
  });
}

testUsers('no request of another user runs: from one port again and again', async (t) => {
  const { attacked, judge } = await start(t);
  for (const target of TARGETS) {
    await attacked(`--target ${target} --mode rebind --tries 1000`);
  }
  await judge();
});

for (const [mode, tries, what] of [
  ['shared-port', 3000, 'from a port that the allowed user uses towards elsewhere'],
  ['reused', 2000, 'the pair taken over by the allowed user before it is accepted'],
  ['given-up', 2000, 'the pair taken over from the allowed user before it is accepted'],
  ['reused-late', 400, 'the pair taken over when the attacker is forgotten'],
  ['twin', 600, "bound to a device, beside the allowed user's socket of the same pair"],
  ['twin-reversed', 600, "beside the allowed user's socket of the same pair, bound to a device"],
] as const) {
  testUsers(`no request of another user runs beside the allowed user: ${what}`, async (t) => {
    const { attacked, judge } = await start(t);
    const beside = `--allowed-uid ${allowed.uid} --batch 200 --mode ${mode}`;
    for (const target of TARGETS) {
      const count = target === TARGETS[0] ? tries : Math.ceil(tries / 5);
      const { sent } = await attacked(`--target ${target} ${beside} --tries ${count} --stop PID`);
      t.true(sent > count / 2, `${sent} of ${count} sent`);
    }
    const put = Math.ceil(tries / 5);
    await attacked(`--target ${TARGETS[0]} ${beside} --tries ${put} --stop PID --request put`);
    await attacked(`--target ${TARGETS[0]} ${beside} --tries ${put}`);
    await judge();
  });
}
