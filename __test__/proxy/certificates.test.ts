// Which https servers the proxy accepts: names, times, purposes, chains, versions and cipher suites,
// each with a server that differs from a good one in this alone. A refused server gets no byte of a
// request. The trusted roots are in tls.test.ts.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import test from 'ava';
import { Authority, type Leaf, type LeafOptions } from '../harness/authority.js';
import { freshDirectory } from '../harness/directory.js';
import { startOutgoingProxy } from '../harness/outgoing-proxy.js';
import { startProxy } from '../harness/proxy.js';

const DAY_MS = 24 * 3_600_000;
const days = (count: number) => new Date(Date.now() + count * DAY_MS);

interface Server {
  /** What the client asks for. */
  readonly host: string;
  /** What the server's certificate is for; the host when absent. */
  readonly names?: readonly string[];
  readonly leaf?: LeafOptions;
  /** The authority between the trusted root and the server; none when absent. */
  readonly between?: LeafOptions;
  /** Whether the server sends that authority's certificate; it does when absent. */
  readonly sendsBetween?: boolean;
  readonly isUnknown?: boolean;
  readonly options?: tls.TlsOptions;
}

const SERVED: Record<string, Server> = {
  'its name': { host: 'own.example' },
  'its name among others': { host: 'own.example', names: ['a.example', 'own.example'] },
  'its name in other letters': { host: 'own.example', names: ['OWN.Example'] },
  'a wildcard for one label': { host: 'a.wild.example', names: ['*.wild.example'] },
  'its address': { host: '192.0.2.1', names: ['192.0.2.1'] },
  'an authority between': { host: 'own.example', between: { isAuthority: true } },
  'any purpose': { host: 'own.example', leaf: { purposes: [] } },
  'a key of RSA': { host: 'own.example', leaf: { rsa: 2048 } },
  'TLS 1.2': { host: 'own.example', options: { maxVersion: 'TLSv1.2' } },
  'TLS 1.3': { host: 'own.example', options: { minVersion: 'TLSv1.3' } },
};

const suite = (ciphers: string): tls.TlsOptions => ({
  maxVersion: 'TLSv1.2',
  ciphers: `${ciphers}:@SECLEVEL=0`,
});

const VERSION = 'no version of TLS in common';
const SUITE = 'no cipher or key exchange in common';

/** With the refusal's sentence. */
const REFUSED: Record<string, Server & { says: string }> = {
  'another name': {
    says: 'it is not for this host',
    host: 'own.example',
    names: ['other.example'],
  },
  'a name that ends in its': {
    says: 'it is not for this host',
    host: 'own.example',
    names: ['x.own.example'],
  },
  'its name as a subject alone': {
    says: 'names none',
    host: 'own.example',
    names: [],
    leaf: { subject: 'own.example' },
  },
  'a wildcard for two labels': {
    says: 'it is not for this host',
    host: 'a.b.wild.example',
    names: ['*.wild.example'],
  },
  'a wildcard for none': {
    says: 'it is not for this host',
    host: 'wild.example',
    names: ['*.wild.example'],
  },
  'a wildcard within a label': {
    says: 'it is not for this host',
    host: 'abc.wild.example',
    names: ['a*.wild.example'],
  },
  'a wildcard for all': { says: 'it is not for this host', host: 'own.example', names: ['*'] },
  'another address': { says: 'it is not for this host', host: '192.0.2.1', names: ['192.0.2.2'] },
  'its address as a subject alone': {
    says: 'names none',
    host: '192.0.2.1',
    names: [],
    leaf: { subject: '192.0.2.1' },
  },
  'a time that is over': {
    says: 'it expired at',
    host: 'own.example',
    leaf: { notBefore: days(-2), notAfter: days(-1) },
  },
  'a time to come': {
    says: 'it is not valid before',
    host: 'own.example',
    leaf: { notBefore: days(1), notAfter: days(2) },
  },
  'an unknown authority': {
    says: 'not signed by the authority',
    host: 'own.example',
    isUnknown: true,
  },
  'the purpose of a client': {
    says: 'it is not for servers',
    host: 'own.example',
    leaf: { purposes: ['client'] },
  },
  'an authority between that is none': {
    says: 'issued by what is no authority',
    host: 'own.example',
    between: { isAuthority: false },
  },
  'an authority between that is not sent': {
    says: 'signed by no authority',
    host: 'own.example',
    between: { isAuthority: true },
    sendsBetween: false,
  },
  'an expired intermediate authority': {
    says: 'it expired at',
    host: 'own.example',
    between: { isAuthority: true, notBefore: days(-2), notAfter: days(-1) },
  },
  'an authority between for clients': {
    says: 'it is not for servers',
    host: 'own.example',
    between: { isAuthority: true, purposes: ['client'] },
  },
  'a short key of RSA': {
    says: 'does not verify',
    host: 'own.example',
    leaf: { rsa: 1024 },
    options: suite('DEFAULT'),
  },
  'TLS 1.0': {
    says: VERSION,
    host: 'own.example',
    options: { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'ALL:@SECLEVEL=0' },
  },
  'TLS 1.1': {
    says: VERSION,
    host: 'own.example',
    options: { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' },
  },
  'a suite without forward secrecy': {
    says: SUITE,
    host: 'own.example',
    leaf: { rsa: 2048 },
    options: suite('AES128-GCM-SHA256'),
  },
  'a suite of CBC': {
    says: SUITE,
    host: 'own.example',
    options: suite('ECDHE-ECDSA-AES128-SHA256'),
  },
  'a suite without encryption': {
    says: SUITE,
    host: 'own.example',
    options: suite('ECDHE-ECDSA-NULL-SHA'),
  },
  'a suite without a certificate': {
    says: SUITE,
    host: 'own.example',
    options: suite('AECDH-AES128-SHA'),
  },
};

test('the proxy sends a request only to a server with the right certificate and a secure TLS', async (t) => {
  // One proxy for all, which changes where the names of all lead.
  const [trusted, unknown] = await Promise.all([Authority.create(), Authority.create()]);
  const routes: Record<string, number> = {};
  const outgoing = await startOutgoingProxy(t, { routes });
  const env = {
    SSL_CERT_FILE: trusted.writeRoot(freshDirectory(t)),
    HTTPS_PROXY: outgoing.url,
  };
  const rootUrl = 'https://deployment.example.com';
  const proxy = await startProxy(t, { rootUrl, env, flags: ['--retry-for', '0'] });

  for (const [table, status] of [
    [SERVED, 200],
    [REFUSED, 502],
  ] as const) {
    for (const [what, server] of Object.entries<Server | (Server & { says: string })>(table)) {
      const leaf = await certificate(server.isUnknown ? unknown : trusted, server);
      const { port, requests, close } = await serve({ ...leaf, ...server.options });
      routes[`${server.host}:443`] = port;
      const connection = await proxy.connect();
      const answer = await connection.exchange(
        `GET /${server.host}/x HTTP/1.1\r\nHost: taskcluster\r\n\r\n`,
      );
      connection.destroy();
      t.is(answer.status, status, `${what}: ${answer.body}`);
      t.true(`${answer.body}`.includes('says' in server ? server.says : ''), `${answer.body}`);
      t.is(requests(), status === 200 ? 1 : 0, what);
      close();
    }
  }
});

async function certificate(authority: Authority, server: Server): Promise<Leaf> {
  const { host, names = [host], leaf, between, sendsBetween = true } = server;
  if (between === undefined) {
    return authority.issue([...names], leaf);
  }
  const middle = await authority.issueAuthority(between);
  const { cert, key } = await middle.issue([...names], leaf);
  return { cert: sendsBetween ? cert + middle.pem : cert, key };
}

/** Counts every decrypted request, and answers it. */
async function serve(options: tls.TlsOptions) {
  let count = 0;
  const server = tls.createServer(options, (socket) => {
    socket.on('error', () => {});
    socket.on('data', () => {
      count += 1;
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    });
  });
  server.on('tlsClientError', () => {});
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return { port, requests: () => count, close: () => server.close() };
}
