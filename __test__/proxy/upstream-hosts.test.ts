// `--upstream-host`: the hosts that the proxy signs for. Addresses and lists have their tables beside
// the rule (crates/proxy/src/decision/destination.rs); this file tests real names, sockets and the
// command.
import { writeFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { startProxy as startInProcess } from '../../ts/index.js';
import { Authority } from '../harness/authority.js';
import { ENOUGH, runCommand } from '../harness/command.js';
import { freshDirectory } from '../harness/directory.js';
import { startOutgoingProxy } from '../harness/outgoing-proxy.js';
import { type RunningProxy, startProxy } from '../harness/proxy.js';
import { startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

const NO_RETRY = ['--retry-for', '0'];
const REFUSED = /^taskcluster_proxy_refused_upstreams_total (\d+)$/m;

async function refusals(proxy: RunningProxy): Promise<number> {
  const { body } = await proxy.get('/__metrics__');
  return Number(REFUSED.exec(body.toString())?.[1]);
}

const lists = (names: string[]) => names.flatMap((name) => ['--upstream-host', name]);

/** An upstream behind an outgoing proxy under these names, and what it takes to reach it. */
async function behindOutgoing(t: ExecutionContext, hosts: string[]) {
  const authority = await Authority.create();
  const upstream = await startUpstream(t, { tls: await authority.issue(hosts) });
  const routes = Object.fromEntries(hosts.map((host) => [`${host}:443`, upstream.port]));
  const outgoing = await startOutgoingProxy(t, { routes });
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  return { upstream, outgoing, env: { SSL_CERT_FILE, HTTPS_PROXY: outgoing.url } };
}

test('the proxy sends nothing to a host that is not listed: it answers 403, and logs and counts the refusal', async (t) => {
  const served = ['tc.example.com', 'a.example.org', 'b.c.example.org'];
  const refused = ['example.org', 'a.example.net', 'a.example.org.example.net'];
  const { upstream, outgoing, env } = await behindOutgoing(t, [...served, ...refused]);
  const proxy = await startProxy(t, {
    rootUrl: 'https://tc.example.com',
    flags: [...lists(['*.example.org', 'x.example.com']), ...NO_RETRY],
    env,
  });
  for (const host of served) {
    t.is((await proxy.get(`/${host}/x`)).status, 200, host);
  }
  t.is((await proxy.get('/queue/v1/ping')).status, 200);
  upstream.assertAllSigned(t);
  const before = outgoing.heads.length;
  for (const [at, host] of refused.entries()) {
    const answer = await proxy.get(`/${host}/x?bewit=secret`);
    t.is(answer.status, 403, host);
    t.regex(answer.body.toString(), /^.*is not a host that this proxy signs for; .*\n$/);
    await proxy.logged(new RegExp(`warning: GET refused: ${host} is not a host that`));
    t.is(await refusals(proxy), at + 1);
  }
  t.is(outgoing.heads.length, before, 'the outgoing proxy was asked');
  t.false(proxy.log.includes('secret'));
});

test('/bewit signs for the hosts that are listed', async (t) => {
  const proxy = await startProxy(t, {
    rootUrl: 'http://127.0.0.1:1',
    flags: lists(['a.example.com']),
  });
  const sign = (body: string) => proxy.request('POST', '/bewit', { body });
  for (const url of [
    'http://127.0.0.1:1/x',
    'https://a.example.com/x',
    'http://A.example.com:81/',
  ]) {
    t.is((await sign(url)).status, 303, url);
  }
  for (const url of ['http://127.0.0.1:2/x', 'https://b.example.com/x', 'http://[::1]/']) {
    const answer = await sign(url);
    t.is(answer.status, 403, url);
    t.is(value(answer.fields, 'location'), undefined);
  }
  t.is(await refusals(proxy), 3);
});

/** Addresses of this machine's own that are neither loopback nor of a link. */
function ownAddresses(): string[] {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return all
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address);
}

test('the proxy refuses the addresses of its own machine and of its link', async (t) => {
  const proxy = await startProxy(t, { rootUrl: 'http://127.0.0.1:1', flags: NO_RETRY });
  const addresses = ['127.0.0.1', '127.1', '0.0.0.0', '0x7f.1', '169.254.169.254', 'x.localhost'];
  for (const address of [...addresses, ...ownAddresses()]) {
    const answer = await proxy.get(`/${address}/x`);
    t.is(answer.status, 403, `${address}: ${answer.body}`);
    t.regex(answer.body.toString(), /is an address of this machine or of its link, .*\n$/);
  }
  // The root URL is served wherever it is: here nothing listens.
  t.is((await proxy.get('/queue/v1/x')).status, 502);
});

const asRoot = process.platform === 'linux' && process.getuid?.() === 0 ? test : test.skip;

asRoot('the proxy refuses a name while it resolves to its own machine alone', async (t) => {
  const hosts = path.join(freshDirectory(t), 'hosts');
  const resolvesTo = (...addresses: string[]) =>
    writeFileSync(hosts, addresses.map((address) => `${address} rebound.example.com\n`).join(''));
  resolvesTo('127.0.0.1');
  const flags = NO_RETRY;
  const proxy = await startProxy(t, { rootUrl: 'http://127.0.0.1:1', flags, hosts });
  const listed = await startProxy(t, {
    rootUrl: 'http://127.0.0.1:1',
    flags: [...lists(['*', 'rebound.example.com']), ...flags],
    hosts,
  });
  const wildcard = await startProxy(t, {
    rootUrl: 'http://127.0.0.1:1',
    flags: [...lists(['*.example.com']), ...flags],
    hosts,
  });
  const status = async (from: RunningProxy) => (await from.get('/rebound.example.com/x')).status;
  for (const address of [
    '127.0.0.1',
    '::1',
    '169.254.1.1',
    '::ffff:127.0.0.1',
    ...ownAddresses(),
  ]) {
    resolvesTo(address);
    t.is(await status(proxy), 403, address);
    t.is(await status(wildcard), 403, address);
  }
  resolvesTo('127.0.0.1');
  t.is(await status(listed), 502, 'the operator has named it');
  // The addresses that are left are asked: nothing listens there.
  resolvesTo('127.0.0.1', '240.0.0.1');
  t.is(await status(proxy), 502);
});

test('the proxy does not start with an invalid list of hosts, as flag or as key', async (t) => {
  for (const [args, says] of [
    [['--upstream-host', ''], /--upstream-host is empty: give it a value/],
    [['--upstream-host', 'None'], /--upstream-host "None" is not a host/],
    [['--upstream-host', 'https://x.example.com'], /--upstream-host ".*" is not a host/],
    [[...lists(['none', 'x.example.com'])], /--upstream-host none stands beside another one/],
    [['--upstream-hosts', 'none'], /did you mean --upstream-host\?/],
    [['--upstream-host'], /--upstream-host needs a value/],
    [['--port', '0', '--upstream-host', 'none'], /--upstream-host follows --port/],
  ] as const) {
    const { code, stderr } = await runCommand(t, [...args], ENOUGH);
    t.is(code, 64, args.join(' '));
    t.regex(stderr, says);
  }
  const start = (more: object) =>
    startInProcess({
      rootUrl: 'http://127.0.0.1:1',
      credentials: { clientId: 'a', accessToken: 'b' },
      ipAddresses: ['127.0.0.1'],
      port: 0,
      ...more,
    } as Parameters<typeof startInProcess>[0]);
  for (const [more, says] of [
    [{ upstreamHosts: [] }, /^upstreamHosts is empty/],
    [{ upstreamHosts: undefined }, /^upstreamHosts is undefined/],
    [{ upstreamHosts: 'none' }, /^upstreamHosts is a string: pass an array of strings/],
    [{ upstreamHosts: ['.example.com'] }, /^upstreamHosts "\.example\.com" is not a host/],
    [{ upstreamHost: ['none'] }, /did you mean upstreamHosts\?/],
  ] as const) {
    await t.throwsAsync(start(more), { message: says, code: 'ERR_OPTIONS' });
  }
});
