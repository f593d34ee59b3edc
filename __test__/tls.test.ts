// The way out: certificates, roots, and the outgoing proxies that the environment names.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import test from 'ava';
import { Authority } from './harness/authority.js';
import { freshDirectory } from './harness/directory.js';
import { startNginx } from './harness/nginx.js';
import { startOutgoingProxy } from './harness/outgoing-proxy.js';
import { unusedPort } from './harness/port.js';
import { startProxy } from './harness/proxy.js';
import { pathOf, testWith } from './harness/tools.js';
import { startUpstream } from './harness/upstream.js';
import { value } from './harness/wire.js';

const authority = await Authority.create();
const NO_RETRY = ['--retry-for', '0'];

test('a root named by SSL_CERT_FILE is trusted', async (t) => {
  const upstream = await startUpstream(t, { tls: await authority.issue(['localhost']) });
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  const proxy = await startProxy(t, { rootUrl: upstream.url, env: { SSL_CERT_FILE } });
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 200, answer.body.toString());
  t.is(value(answer.fields, 'x-taskcluster-endpoint'), `${upstream.url}/api/queue/v1/x`);
  upstream.assertAllSigned(t);
});

testWith('openssl')('roots in a directory named by SSL_CERT_DIR are trusted', async (t) => {
  const upstream = await startUpstream(t, { tls: await authority.issue(['localhost']) });
  const SSL_CERT_DIR = path.join(freshDirectory(t), 'certs');
  mkdirSync(SSL_CERT_DIR);
  authority.writeRoot(SSL_CERT_DIR);
  execFileSync(pathOf('openssl'), ['rehash', SSL_CERT_DIR]);
  const proxy = await startProxy(t, { rootUrl: upstream.url, env: { SSL_CERT_DIR } });
  t.is((await proxy.get('/queue/v1/x')).status, 200);
  upstream.assertAllSigned(t);
});

test('a certificate that does not verify is 502 at once and sees no request', async (t) => {
  const other = await Authority.create();
  const day = 24 * 3_600_000;
  const rows = [
    ['unknown authority', await other.issue(['localhost'])],
    ['another name', await authority.issue(['elsewhere.example.com'])],
    [
      'expired',
      await authority.issue(['localhost'], {
        notBefore: new Date(Date.now() - 2 * day),
        notAfter: new Date(Date.now() - day),
      }),
    ],
    [
      'not yet valid',
      await authority.issue(['localhost'], {
        notBefore: new Date(Date.now() + day),
        notAfter: new Date(Date.now() + 2 * day),
      }),
    ],
  ] as const;
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  for (const [what, leaf] of rows) {
    const upstream = await startUpstream(t, { tls: leaf });
    const handshakes = countConnections(upstream.server);
    const proxy = await startProxy(t, { rootUrl: upstream.url, env: { SSL_CERT_FILE } });
    const answer = await proxy.get('/queue/v1/x');
    t.is(answer.status, 502, what);
    t.regex(answer.body.toString(), /certificate/i, what);
    t.is(value(answer.fields, 'x-taskcluster-endpoint'), `${upstream.url}/api/queue/v1/x`);
    t.is(upstream.exchanges.length, 0, what);
    t.is(handshakes(), 1, `${what}: tried again`);
  }
});

testWith('nginx')('TLS 1.2 alone and TLS 1.3 alone both serve', async (t) => {
  const leaf = await authority.issue(['localhost']);
  const upstream = await startUpstream(t);
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  for (const protocols of ['TLSv1.2', 'TLSv1.3']) {
    const nginx = await startNginx(t, { leaf, passTo: upstream.url, protocols });
    const proxy = await startProxy(t, { rootUrl: nginx.url, env: { SSL_CERT_FILE } });
    const answer = await proxy.get('/queue/v1/a//b%2Fc?');
    t.is(answer.status, 200, `${protocols}: ${answer.body}`);
    t.is(upstream.last.target, '/api/queue/v1/a//b%2Fc?');
  }
  upstream.assertAllSigned(t);
});

test('a name with a dot is a host, reached by https through HTTPS_PROXY', async (t) => {
  const hosts = ['queue.example.com', 'xn--bcher-kva.example', 'a.b', '1.example'];
  const upstream = await startUpstream(t, { tls: await authority.issue(hosts) });
  const routes = Object.fromEntries(hosts.map((host) => [`${host}:443`, upstream.port]));
  const outgoing = await startOutgoingProxy(t, { routes });
  const proxy = await startProxy(t, {
    rootUrl: 'https://deployment.example.com',
    env: {
      SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)),
      HTTPS_PROXY: outgoing.url,
    },
  });
  for (const host of hosts) {
    for (const rest of ['/', '', '/a//b%2Fc/../d;e?x=%252F&', '/api/queue/v1/x?', '/?a', '?a/b']) {
      const answer = await proxy.get(`/${host}${rest}`);
      t.is(answer.status, 200, `${host}${rest}: ${answer.body}`);
      const sent = rest.startsWith('/') ? rest : `/${rest}`;
      t.is(upstream.last.target, sent);
      t.is(value(upstream.last.fields, 'host'), host);
      t.is(value(answer.fields, 'x-taskcluster-endpoint'), `https://${host}${sent}`);
    }
  }
  upstream.assertAllSigned(t);
  t.deepEqual(
    [...new Set(outgoing.heads.map((head) => head.startLine))].sort(),
    hosts.map((host) => `CONNECT ${host}:443 HTTP/1.1`).sort(),
  );
  t.is(value(outgoing.heads[0]?.fields ?? [], 'authorization'), undefined);
});

test('HTTP_PROXY gets absolute targets, and its user and password', async (t) => {
  const upstream = await startUpstream(t);
  const outgoing = await startOutgoingProxy(t, {
    routes: { 'deployment.example.com:8080': upstream.port },
  });
  for (const name of ['HTTP_PROXY', 'http_proxy']) {
    const proxy = await startProxy(t, {
      rootUrl: 'http://deployment.example.com:8080',
      env: { [name]: `http://user:p%40ss@127.0.0.1:${outgoing.port}` },
    });
    const answer = await proxy.get('/queue/v1/a//b?x=%2F');
    t.is(answer.status, 200, `${name}: ${answer.body}`);
    const head = outgoing.heads.at(-1);
    t.is(
      head?.startLine,
      'GET http://deployment.example.com:8080/api/queue/v1/a//b?x=%2F HTTP/1.1',
    );
    const expected = `Basic ${Buffer.from('user:p@ss').toString('base64')}`;
    t.is(value(head?.fields ?? [], 'proxy-authorization'), expected);
    t.is(value(upstream.last.fields, 'host'), 'deployment.example.com:8080');
  }
  upstream.assertAllSigned(t);
});

test('NO_PROXY, and loopback without being named, go direct', async (t) => {
  const upstream = await startUpstream(t);
  const outgoing = await startOutgoingProxy(t, { routes: {} });
  const loopback = await startProxy(t, {
    rootUrl: upstream.url,
    env: { HTTP_PROXY: outgoing.url, HTTPS_PROXY: outgoing.url },
  });
  t.is((await loopback.get('/queue/v1/x')).status, 200);

  const excluded = await startProxy(t, {
    rootUrl: `http://deployment.invalid:${await unusedPort()}`,
    env: { HTTP_PROXY: outgoing.url, NO_PROXY: 'example.com,.invalid' },
    flags: NO_RETRY,
  });
  t.is((await excluded.get('/queue/v1/x')).status, 502);
  t.is(outgoing.heads.length, 0);
});

test('an outgoing proxy that refuses is 502 with a sentence', async (t) => {
  const outgoing = await startOutgoingProxy(t, {
    routes: {},
    refuseWith: '407 Proxy Authentication Required',
  });
  const proxy = await startProxy(t, {
    rootUrl: 'https://deployment.example.com',
    env: { HTTPS_PROXY: outgoing.url },
    flags: NO_RETRY,
  });
  const answer = await proxy.get('/queue/v1/x');
  t.is(answer.status, 502);
  t.regex(answer.body.toString(), /407/);
});

function countConnections(server: { on(event: 'connection', listener: () => void): void }) {
  let count = 0;
  server.on('connection', () => {
    count += 1;
  });
  return () => count;
}
