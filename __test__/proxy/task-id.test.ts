// `--task-id`: the proxy reads the task over its own outgoing connections, logs each retry, and ends at
// once on an error that no retry can mend.
import { once } from 'node:events';
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { Authority } from '../harness/authority.js';
import { ENOUGH, runCommand } from '../harness/command.js';
import { within } from '../harness/deadline.js';
import { freshDirectory } from '../harness/directory.js';
import { startOutgoingProxy } from '../harness/outgoing-proxy.js';
import { unusedPort } from '../harness/port.js';
import { startProxy } from '../harness/proxy.js';
import { permanentCredentials } from '../harness/signature.js';
import { answerOk, type Exchange, refuse, startUpstream } from '../harness/upstream.js';
import { value } from '../harness/wire.js';

const TASK_ID = 'fN1SbArXTPSVFNUvaOlinQ';
const TARGET = `/api/queue/v1/task/${TASK_ID}`;
const SCOPES = ['queue:get-artifact:private/*', 'a:b'];
const FLAGS = ['--task-id', TASK_ID];
const HOUR_MS = 3_600_000;

/** A queue that knows the task, if the signature verifies. */
async function answerTask(exchange: Exchange): Promise<void> {
  if (exchange.signature instanceof Error) {
    await refuse(exchange, exchange.signature);
  } else {
    await exchange.respond(200, { body: JSON.stringify({ scopes: SCOPES }) });
  }
}

/** The restriction of a proxy that was started for the task. */
async function restriction(
  t: ExecutionContext,
  rootUrl: string,
  env: Record<string, string> = {},
  flags: string[] = [],
) {
  const proxy = await startProxy(t, { rootUrl, env, flags: [...FLAGS, ...flags] });
  const answer = await proxy.get('/none');
  const header = value(answer.fields, 'x-taskcluster-authorized-scopes');
  return { proxy, scopes: header && JSON.parse(header) };
}

/** A start that fails, with the retries of a quarter of an hour unless `flags` say otherwise. */
async function failure(
  t: ExecutionContext,
  rootUrl: string,
  env: Record<string, string> = {},
  flags: string[] = [],
) {
  const { clientId, accessToken } = permanentCredentials();
  const { code, stdout, stderr } = await runCommand(t, [...FLAGS, ...flags], {
    ...ENOUGH,
    TASKCLUSTER_ROOT_URL: rootUrl,
    TASKCLUSTER_CLIENT_ID: clientId,
    TASKCLUSTER_ACCESS_TOKEN: accessToken,
    ...env,
  });
  t.deepEqual([code, stdout], [1, ''], stderr);
  const lines = stderr.trimEnd().split('\n');
  const start = `taskcluster-proxy: could not fetch taskcluster task '${TASK_ID}' : `;
  const last = lines.pop() ?? '';
  t.true(last.startsWith(start), stderr);
  return { tries: lines, says: last.slice(start.length) };
}

test('the task is read through HTTPS_PROXY, with the roots of SSL_CERT_FILE', async (t) => {
  const authority = await Authority.create();
  const queue = await startUpstream(t, {
    handler: answerTask,
    tls: await authority.issue(['tc.example.com']),
  });
  const outgoing = await startOutgoingProxy(t, { routes: { 'tc.example.com:443': queue.port } });
  const env = {
    SSL_CERT_FILE: authority.writeRoot(freshDirectory(t)),
    HTTPS_PROXY: outgoing.url,
  };
  const { scopes } = await restriction(t, 'https://tc.example.com', env);
  t.deepEqual(scopes, SCOPES);
  t.is(queue.last.target, TARGET);
  queue.assertAllSigned(t);
  t.is(outgoing.heads[0]?.startLine, 'CONNECT tc.example.com:443 HTTP/1.1');
});

test('the task is read from ports that browsers refuse', async (t) => {
  // https://fetch.spec.whatwg.org/#port-blocking
  for (const port of [6665, 6666, 6667, 6668, 6669, 10080, 6000]) {
    const server = net.createServer().listen(port, '127.0.0.1');
    const [event] = await Promise.race([
      once(server, 'listening').then(() => ['listening']),
      once(server, 'error').then(() => ['error']),
    ]);
    if (event === 'listening') {
      t.teardown(() => server.close());
      server.on('connection', (socket) => {
        const body = JSON.stringify({ scopes: SCOPES });
        socket.once('data', () =>
          socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`),
        );
      });
      t.deepEqual((await restriction(t, `http://127.0.0.1:${port}`)).scopes, SCOPES);
      return;
    }
  }
  t.pass('none of them is free');
});

test('a wrong clock is corrected for the lookup, too', async (t) => {
  const queue = await startUpstream(t, { clockOffsetMs: HOUR_MS });
  queue.handler = async (exchange) => {
    if (exchange.signature instanceof Error) {
      const date = new Date(Date.now() + HOUR_MS).toUTCString();
      await exchange.respond(401, {
        fields: [
          ['WWW-Authenticate', 'hawk'],
          ['Date', date],
        ],
      });
    } else {
      await answerTask(exchange);
    }
  };
  t.deepEqual((await restriction(t, queue.url)).scopes, SCOPES);
});

test('each try that fails is logged with its reason, and the lookup goes on', async (t) => {
  const queue = await startUpstream(t);
  const fails = [
    (exchange: Exchange) => exchange.respond(503, { fields: [['Connection', 'close']] }),
    (exchange: Exchange) => exchange.connection.destroy(),
    async (exchange: Exchange) => {
      await exchange.sendHead(200, { fields: [['Content-Length', '100']] });
      await exchange.send('{"scopes"');
      exchange.connection.destroy();
    },
  ];
  queue.handler = (exchange) => (fails.shift() ?? answerTask)(exchange);
  const flags = ['--retry-first', '20ms', '--retry-cap', '20ms'];
  const { proxy, scopes } = await restriction(t, queue.url, {}, flags);
  t.deepEqual(scopes, SCOPES);
  t.is(queue.exchanges.length, 4);
  queue.assertAllSigned(t);
  const line = new RegExp(`warning: Retrying ${queue.url}${TARGET} in \\d+ ms: (.*)$`, 'gm');
  const reasons = [...proxy.log.matchAll(line)].map(([, reason]) => reason);
  const host = new URL(queue.url).host;
  t.is(reasons.length, 3, proxy.log);
  t.is(reasons[0], '503');
  t.true(reasons[1]?.startsWith(`${host} broke off before it had answered: `));
  t.true(reasons[2]?.startsWith(`${host} broke off before it had answered: `));
});

test('each try to reach the queue in vain is logged, in text and in JSON', async (t) => {
  const rootUrl = `http://127.0.0.1:${await unusedPort()}`;
  const flags = ['--retry-first', '100ms', '--retry-for', '3s'];
  const says = `cannot reach ${new URL(rootUrl).host}: Connection refused`;
  const text = await failure(t, rootUrl, {}, flags);
  t.true(text.says.startsWith(says), text.says);
  t.true(text.tries.length > 0);
  for (const line of text.tries) {
    t.true(line.includes(`warning: Retrying ${rootUrl}${TARGET} in `) && line.includes(says), line);
  }
  const json = await failure(t, rootUrl, {}, [...flags, '--log-format', 'json']);
  t.true(json.tries.length > 0);
  for (const line of json.tries) {
    t.like(JSON.parse(line), { level: 'warn' });
  }
});

const FINAL: Record<string, readonly [status: number, expected: string, scopes?: unknown[]]> = {
  'a task that is not there': [404, 'the queue answered 404: no such task'],
  'credentials that are not known': [401, 'the queue answered 401: no such task'],
  'credentials that may not read it': [403, 'the queue answered 403: no such task'],
  'a redirect': [302, 'the queue answered 302: no such task'],
  'an answer that is none': [200, 'the answer is not a task definition with scopes'],
  'a task with an empty scope': [200, 'the answer is not a task definition with scopes', ['a', '']],
};

for (const [what, [status, expected, scopes]] of Object.entries(FINAL)) {
  test(`the lookup ends at once, without a retry: ${what}`, async (t) => {
    const queue = await startUpstream(t, (exchange) =>
      exchange.respond(status, {
        body: JSON.stringify({ message: 'no such task\nat all', scopes }),
      }),
    );
    const { tries, says } = await within(failure(t, queue.url), 'the end');
    t.deepEqual([tries, says], [[], expected]);
    t.is(queue.exchanges.length, 1);
  });
}

const NO_ROOTS =
  'SSL_CERT_FILE names /nowhere/ca.pem, which cannot be read: No such file or directory (os error 2)';
const NO_PROXY_URL =
  'HTTPS_PROXY does not hold the URL of a proxy, such as http://proxy.example.com:3128';

test('the lookup ends at once, without a retry: wrong TLS roots or a wrong outgoing proxy', async (t) => {
  const authority = await Authority.create();
  const queue = await startUpstream(t, { tls: await authority.issue(['localhost']) });
  const refusing = await startOutgoingProxy(t, { routes: {}, refuseWith: '407 Not Yours' });
  const host = new URL(queue.url).host;
  const mozilla = await Authority.create('Another authority');
  for (const [rootUrl, env, expected, warning] of [
    [
      queue.url,
      { SSL_CERT_FILE: mozilla.writeRoot(freshDirectory(t)) },
      `the certificate of ${host} does not verify: it is signed by no authority that is trusted here (SSL_CERT_FILE names others)`,
    ],
    [queue.url, { SSL_CERT_FILE: '/nowhere/ca.pem' }, NO_ROOTS, NO_ROOTS],
    // Nothing listens there: the roots are missing before a connection is tried.
    [
      `https://127.0.0.1:${await unusedPort()}`,
      { SSL_CERT_FILE: '/nowhere/ca.pem' },
      NO_ROOTS,
      NO_ROOTS,
    ],
    ['https://tc.example.com', { HTTPS_PROXY: 'http://' }, NO_PROXY_URL, NO_PROXY_URL],
    [
      'https://tc.example.com',
      { HTTPS_PROXY: refusing.url },
      `the outgoing proxy ${new URL(refusing.url).host} refused a tunnel to tc.example.com with status 407`,
    ],
  ] as const) {
    const { tries, says } = await within(failure(t, rootUrl, env), 'the end');
    t.is(says, expected);
    const logged = tries.map((line) => line.replace(/^\S+ \S+ /, ''));
    t.deepEqual(logged, warning === undefined ? [] : [`warning: ${warning}`]);
  }
  t.is(queue.exchanges.length, 0);
});

test('the lookup gives up an answer that does not end', async (t) => {
  const queue = await startUpstream(t, async (exchange) => {
    await exchange.sendHead(200, { fields: [['Content-Length', String(2 ** 40)]] });
    for (;;) {
      await exchange.send(Buffer.alloc(2 ** 20, ' '));
    }
  });
  const { says } = await failure(t, queue.url);
  t.is(says, 'the answer is not a task definition with scopes');
});

test('the credentials sign the lookup without a restriction', async (t) => {
  const queue = await startUpstream(t, async (exchange) => {
    await (exchange.target === TARGET ? answerTask(exchange) : answerOk(exchange));
  });
  const { proxy } = await restriction(t, queue.url);
  await proxy.get('/queue/v1/x');
  const [lookup, forwarded] = queue.exchanges.map((exchange) => exchange.signed());
  t.is(lookup?.authorizedScopes, undefined);
  t.deepEqual(forwarded?.authorizedScopes, SCOPES);
});

test('warnings are logged once, before the task is read', async (t) => {
  const queue = await startUpstream(t, answerTask);
  const { proxy } = await restriction(t, queue.url, { HTTPS_PROXY: 'http://' });
  await proxy.get('/none');
  t.is(proxy.log.split(NO_PROXY_URL).length, 2, proxy.log);
});
