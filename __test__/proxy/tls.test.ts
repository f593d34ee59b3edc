// Outgoing connections: certificates, roots, and the outgoing proxies that the environment names.
import { execFile, execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import { freshDirectory } from '../harness/directory.js';
import { startNginx } from '../harness/nginx.js';
import { startOutgoingProxy } from '../harness/outgoing-proxy.js';
import { unusedPort } from '../harness/port.js';
import { startProxy } from '../harness/proxy.js';
import { pathOf, testWith } from '../harness/tools.js';
import { startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

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

/** What `openssl req -x509` makes for these names, as a contributor's machine has it. */
function selfSigned(t: ExecutionContext, names: string): { cert: string; key: string } {
  const directory = freshDirectory(t);
  const [cert = '', key = ''] = ['cert.pem', 'key.pem'].map((each) => path.join(directory, each));
  execFileSync(
    pathOf('openssl'),
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'],
      ...['-keyout', key, '-out', cert, '-subj', '/CN=localhost', '-days', '2'],
      ...['-addext', `subjectAltName=${names}`],
    ],
    { stdio: 'pipe' },
  );
  return { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') };
}

testWith('openssl', 'curl')("a server's own self-signed certificate is trusted", async (t) => {
  const own = selfSigned(t, 'DNS:localhost,IP:127.0.0.1');
  const stranger = selfSigned(t, 'DNS:localhost');
  const upstream = await startUpstream(t, { tls: own });
  const directory = path.join(freshDirectory(t), 'certs');
  mkdirSync(directory);
  const file = path.join(directory, 'own.pem');
  // Among others, as in the file of a company.
  writeFileSync(file, stranger.cert + own.cert + authority.pem);
  // What this proxy is measured by.
  await promisify(execFile)(pathOf('curl'), ['--silent', '--cacert', file, upstream.url]);
  execFileSync(pathOf('openssl'), ['rehash', directory], { stdio: 'pipe' });
  for (const env of [{ SSL_CERT_FILE: file }, { SSL_CERT_DIR: directory }]) {
    const proxy = await startProxy(t, { rootUrl: upstream.url, env, flags: NO_RETRY });
    for (const method of ['GET', 'POST']) {
      const answer = await proxy.request(method, '/queue/v1/x');
      t.is(answer.status, 200, `${Object.keys(env)}: ${answer.body}`);
    }
  }
});

testWith('openssl')(
  'a self-signed certificate that was not named, or is for another host, is refused',
  async (t) => {
    const own = selfSigned(t, 'DNS:localhost');
    const elsewhere = selfSigned(t, 'DNS:elsewhere.example.com,IP:127.0.0.2');
    for (const [served, named, says] of [
      [
        own,
        selfSigned(t, 'DNS:localhost'),
        "it is an authority's and not a server's: name it in SSL_CERT_FILE to trust it itself",
      ],
      [elsewhere, elsewhere, 'it is not for this host, but for elsewhere.example.com, 127.0.0.2'],
    ] as const) {
      const upstream = await startUpstream(t, { tls: served });
      const SSL_CERT_FILE = path.join(freshDirectory(t), 'named.pem');
      writeFileSync(SSL_CERT_FILE, named.cert);
      const proxy = await startProxy(t, { rootUrl: upstream.url, env: { SSL_CERT_FILE } });
      const answer = await proxy.get('/queue/v1/x');
      const host = new URL(upstream.url).host;
      t.is(answer.status, 502);
      t.is(answer.body.toString(), `the certificate of ${host} does not verify: ${says}\n`);
      t.is(upstream.exchanges.length, 0);
    }
  },
);

test('a server whose certificate does not verify gets no request, and the client gets 502 at once', async (t) => {
  const other = await Authority.create();
  const day = 24 * 3_600_000;
  const rows = [
    [
      'unknown authority',
      // The authority has the same name as the trusted one.
      "it is not signed by the authority of its issuer's name that is trusted here",
      await other.issue(['localhost']),
    ],
    [
      'another name',
      'it is not for this host, but for elsewhere.example.com',
      await authority.issue(['elsewhere.example.com']),
    ],
    [
      'expired',
      `it expired at ${new Date(Date.now() - day).toISOString().slice(0, 13)}`,
      await authority.issue(['localhost'], {
        notBefore: new Date(Date.now() - 2 * day),
        notAfter: new Date(Date.now() - day),
      }),
    ],
    [
      'not yet valid',
      `it is not valid before ${new Date(Date.now() + day).toISOString().slice(0, 13)}`,
      await authority.issue(['localhost'], {
        notBefore: new Date(Date.now() + day),
        notAfter: new Date(Date.now() + 2 * day),
      }),
    ],
  ] as const;
  const SSL_CERT_FILE = authority.writeRoot(freshDirectory(t));
  for (const [what, says, leaf] of rows) {
    const upstream = await startUpstream(t, { tls: leaf });
    const handshakes = countConnections(upstream.server);
    const proxy = await startProxy(t, { rootUrl: upstream.url, env: { SSL_CERT_FILE } });
    const answer = await proxy.get('/queue/v1/x');
    t.is(answer.status, 502, what);
    const sentence = `the certificate of ${new URL(upstream.url).host} does not verify: ${says}`;
    t.true(answer.body.toString().startsWith(sentence), answer.body.toString());
    t.is(value(answer.fields, 'x-taskcluster-endpoint'), `${upstream.url}/api/queue/v1/x`);
    t.is(upstream.exchanges.length, 0, what);
    t.is(handshakes(), 1, `${what}: tried again`);
  }
});

testWith('nginx')('the proxy reaches servers of TLS 1.2 alone and of TLS 1.3 alone', async (t) => {
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

test('the proxy sends absolute targets to HTTP_PROXY, with the user and password of its URL', async (t) => {
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

test('requests to loopback and to hosts of NO_PROXY do not go to the outgoing proxy', async (t) => {
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

/**
 * Environments in which the proxy starts with a warning, and the root URL of a deployment that it
 * cannot ask then.
 */
const WARNED: Record<string, { env: Record<string, string>; says: RegExp; rootUrl?: string }> = {
  'an SSL_CERT_FILE that is not there': {
    env: { SSL_CERT_FILE: '/nowhere/ca.pem' },
    says: /SSL_CERT_FILE names \/nowhere\/ca\.pem, which cannot be read: No such file.*/,
  },
  'an SSL_CERT_FILE without a certificate': {
    env: { SSL_CERT_FILE: import.meta.filename },
    says: /SSL_CERT_FILE names \S+, which holds no certificate in PEM form/,
  },
  'an SSL_CERT_DIR that is not there': {
    env: { SSL_CERT_DIR: '/nowhere' },
    says: /SSL_CERT_DIR names \/nowhere, which cannot be read: No such file.*/,
  },
  'an HTTPS_PROXY that is no URL': {
    env: { HTTPS_PROXY: 'http://user:secret@' },
    says: /HTTPS_PROXY does not hold the URL of a proxy, such as http:\/\/proxy\.example\.com:3128/,
    rootUrl: 'https://tc.example.com',
  },
  'an HTTP_PROXY of an unknown kind': {
    env: { HTTP_PROXY: 'gopher://secret' },
    says: /HTTP_PROXY names a proxy of an unknown kind: .*/,
    rootUrl: 'http://tc.example.com',
  },
};

for (const [what, { env, says, rootUrl }] of Object.entries(WARNED)) {
  test(`the proxy starts with a warning, and only a request that needs the setting gets 502: ${what}`, async (t) => {
    const upstream = await startUpstream(t);
    const secure = await startUpstream(t, { tls: await authority.issue(['localhost']) });
    const proxy = await startProxy(t, { rootUrl: upstream.url, env });
    const sentence = await proxy.logged(says);
    t.true(proxy.log.includes(`warning: ${sentence}\n`), proxy.log);
    // This machine is asked of no outgoing proxy and here shows no certificate.
    t.is((await proxy.get('/queue/v1/x')).status, 200);

    const failing = await startProxy(t, { rootUrl: rootUrl ?? secure.url, env });
    for (const method of ['GET', 'POST']) {
      const answer = await failing.request(method, '/queue/v1/x');
      t.is(answer.status, 502);
      t.is(answer.body.toString(), `${sentence}\n`);
    }
    t.is(secure.exchanges.length, 0);
    t.notRegex(proxy.log + failing.log, /secret/);
  });
}

testWith('openssl')('the proxy reads the folders of SSL_CERT_DIR that exist', async (t) => {
  const upstream = await startUpstream(t, { tls: await authority.issue(['localhost']) });
  const strange = await startUpstream(t, {
    tls: await (await Authority.create('Another')).issue(['localhost']),
  });
  const directory = path.join(freshDirectory(t), 'certs');
  authority.writeRoot(directory);
  execFileSync(pathOf('openssl'), ['rehash', directory]);
  const env = { SSL_CERT_DIR: `/nowhere:${directory}` };
  const proxy = await startProxy(t, { rootUrl: upstream.url, env });
  await proxy.logged(/warning: SSL_CERT_DIR names \/nowhere, which cannot be read: /);
  t.is((await proxy.get('/queue/v1/x')).status, 200);
  // The authority of the other server may be in the folder that is missing.
  const other = await startProxy(t, { rootUrl: strange.url, env });
  const answer = await other.get('/queue/v1/x');
  t.is(answer.status, 502);
  t.regex(answer.body.toString(), /signed by no authority.*; SSL_CERT_DIR names \/nowhere, which/);
});

test('the client gets 502 with a sentence if the outgoing proxy refuses', async (t) => {
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
