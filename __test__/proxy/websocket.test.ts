// Upgrades: signed, forwarded, and then a tunnel that the proxy does not inspect.
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { WebSocket, WebSocketServer } from 'ws';
import { Authority, type Leaf } from '../harness/authority.js';
import { PROMPT_MS, within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { type RunningProxy, requestBytes, startProxy } from '../harness/proxy.js';
import { type Signature, splitAuthority, verifySignature } from '../harness/signature.js';
import { startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

interface Echo {
  url: string;
  signatures: Signature[];
  requests: http.IncomingMessage[];
  sockets: WebSocket[];
}

/** Sends every message back; refuses what is not signed; speaks the subprotocol `echo`. */
async function startEcho(t: ExecutionContext, leaf?: Leaf): Promise<Echo> {
  const server = leaf ? https.createServer(leaf) : http.createServer();
  const signatures: Signature[] = [];
  const requests: http.IncomingMessage[] = [];
  const sockets: WebSocket[] = [];
  const websockets = new WebSocketServer({
    server,
    handleProtocols: (offered) => (offered.has('echo') ? 'echo' : false),
    verifyClient: ({ req }, decide) => {
      requests.push(req);
      verify(req, leaf ? 443 : 80).then(
        (signature) => {
          signatures.push(signature);
          decide(true);
        },
        (error: Error) => decide(false, 401, error.message),
      );
    },
  });
  websockets.on('connection', (socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    for (const socket of sockets) {
      socket.terminate();
    }
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const url = leaf ? `https://localhost:${port}` : `http://127.0.0.1:${port}`;
  return { url, signatures, requests, sockets };
}

function verify({ method, url, headers }: http.IncomingMessage, defaultPort: number) {
  return verifySignature({
    method: method ?? '',
    target: url ?? '',
    ...splitAuthority(headers.host ?? '', defaultPort),
    authorization: headers.authorization ?? '',
  });
}

async function open(t: ExecutionContext, proxy: RunningProxy, protocols: string[] = []) {
  const url = `${proxy.url.replace('http', 'ws')}/queue/v1/socket?a=%2F`;
  const socket = new WebSocket(url, protocols);
  socket.on('error', () => {});
  t.teardown(() => socket.terminate());
  await within(once(socket, 'open'), 'the open socket');
  return socket;
}

async function echo(socket: WebSocket, message: string | Buffer): Promise<Buffer> {
  socket.send(message);
  const [data] = await within(once(socket, 'message'), 'the echo');
  return data as Buffer;
}

test('messages of every kind and size come back', async (t) => {
  const server = await startEcho(t);
  const proxy = await startProxy(t, { rootUrl: server.url });
  const socket = await open(t, proxy, ['other', 'echo']);
  t.is(socket.protocol, 'echo');
  t.is((await echo(socket, 'hello')).toString(), 'hello');
  t.is((await echo(socket, '')).length, 0);
  const large = Buffer.alloc(5_000_000, 'pattern');
  t.true(large.equals(await echo(socket, large)));
  for (let count = 0; count < 200; count += 1) {
    t.is((await echo(socket, `${count}`)).toString(), `${count}`);
  }
  socket.ping('are you there');
  const [pong] = await within(once(socket, 'pong'), 'the pong');
  t.is(String(pong), 'are you there');

  t.is(server.signatures.length, 1);
  t.is(server.signatures[0]?.clientId, 'tests/permanent');
  t.is(server.requests[0]?.url, '/api/queue/v1/socket?a=%2F');
});

test('closes pass both ways with their code and reason', async (t) => {
  const server = await startEcho(t);
  const proxy = await startProxy(t, { rootUrl: server.url });

  const one = await open(t, proxy);
  const [upstream] = server.sockets;
  const closed = once(upstream ?? t.fail(), 'close');
  one.close(4001, 'done');
  const [code, reason] = await within(closed, 'the close at upstream');
  t.is(code, 4001);
  t.is(String(reason), 'done');

  const two = await open(t, proxy);
  server.sockets[1]?.close(4002, 'enough');
  const [otherCode, otherReason] = await within(once(two, 'close'), 'the close at the client');
  t.is(otherCode, 4002);
  t.is(String(otherReason), 'enough');
});

test('the tunnel ends for one side within a second when the other side vanishes', async (t) => {
  const server = await startEcho(t);
  const proxy = await startProxy(t, { rootUrl: server.url });
  const one = await open(t, proxy);
  const closed = once(server.sockets[0] ?? t.fail(), 'close');
  one.terminate();
  await within(closed, 'the end at upstream', PROMPT_MS);

  const two = await open(t, proxy);
  const ended = once(two, 'close');
  server.sockets[1]?.terminate();
  await within(ended, 'the end at the client', PROMPT_MS);
  t.pass();
});

test('a refused upgrade is an answer like any other', async (t) => {
  const upstream = await startUpstream(t, (exchange) =>
    exchange.respond(403, { fields: [['X-Reason', 'no']], body: 'not you' }),
  );
  const proxy = await startProxy(t, { rootUrl: upstream.url });
  const socket = new WebSocket(`${proxy.url.replace('http', 'ws')}/queue/v1/socket`);
  t.teardown(() => socket.terminate());
  socket.on('error', () => {});
  const [, response] = await within(once(socket, 'unexpected-response'), 'the refusal');
  t.is((response as http.IncomingMessage).statusCode, 403);
  t.is((response as http.IncomingMessage).headers['x-reason'], 'no');
  t.is(value(upstream.last.fields, 'upgrade')?.toLowerCase(), 'websocket');
  t.regex(value(upstream.last.fields, 'connection') ?? '', /upgrade/i);
  upstream.assertAllSigned(t);
});

test('an upgrade passes to an upstream with TLS', async (t) => {
  const authority = await Authority.create();
  const server = await startEcho(t, await authority.issue(['localhost']));
  const proxy = await startProxy(t, {
    rootUrl: server.url,
    env: { SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)) },
  });
  const socket = await open(t, proxy);
  t.is((await echo(socket, 'hello')).toString(), 'hello');
  t.is(server.signatures.length, 1);
});

test('an upgrade to any protocol is a tunnel of bytes, half closes included', async (t) => {
  const upstream = await startUpstream(t, async (exchange) => {
    await exchange.sendHead(101, {
      reason: 'Switching Protocols',
      fields: [
        ['Connection', 'Upgrade'],
        ['Upgrade', 'reverse'],
        ['X-A', 'b'],
      ],
    });
    const { reader } = exchange.connection;
    const bytes = await reader.rest();
    await exchange.send(bytes.reverse());
    exchange.connection.end();
  });
  const proxy = await startProxy(t, { rootUrl: upstream.url });
  const connection = await proxy.connect();
  const fields: [string, string][] = [
    ['Connection', 'Upgrade'],
    ['Upgrade', 'reverse'],
  ];
  // What follows the head at once belongs to the tunnel.
  await connection.send(`${requestBytes('GET', '/queue/v1/x', { fields })}abc`);
  const answer = await connection.response();
  t.is(answer.status, 101);
  t.is(value(answer.fields, 'upgrade'), 'reverse');
  t.is(value(answer.fields, 'x-a'), 'b');
  t.is(value(answer.fields, 'x-taskcluster-endpoint'), `${upstream.url}/api/queue/v1/x`);
  await connection.send('\0\xff\r\n\r\nGET / HTTP/1.1\r\n');
  connection.end();
  const expected = Buffer.from('abc\0\xff\r\n\r\nGET / HTTP/1.1\r\n', 'latin1').reverse();
  t.deepEqual(await connection.closed(), expected);
  upstream.assertAllSigned(t);
});

test('an open tunnel holds an update no longer than --drain-timeout', async (t) => {
  const server = await startEcho(t);
  const proxy = await startProxy(t, {
    rootUrl: server.url,
    flags: ['--drain-timeout', '500ms'],
  });
  const socket = await open(t, proxy);
  const next = JSON.stringify({ clientId: 'tests/next', accessToken: 'x'.repeat(44) });
  t.is((await proxy.updateCredentials(next)).status, 200);
  t.is((await echo(socket, 'still here')).toString(), 'still here');
});
