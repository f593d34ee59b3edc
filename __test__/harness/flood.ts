// A process that repeats one request on several connections, and prints the counts of answers. Its standard
// input has the address, the request, the number of connections and the duration.
import { once } from 'node:events';
import { Agent, type IncomingMessage, request } from 'node:http';
import { text } from 'node:stream/consumers';

export interface Flood {
  readonly port: number;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly connections: number;
  readonly milliseconds: number;
}

const flood = JSON.parse(await text(process.stdin)) as Flood;
const { port, method, path, headers, body, connections, milliseconds } = flood;
const agent = new Agent({ keepAlive: true, maxSockets: connections });
const content = Buffer.from(body);
const end = Date.now() + milliseconds;
const counts: Record<string, number> = {};

async function send(): Promise<number> {
  const sent = request({ host: '127.0.0.1', port, method, path, headers, agent });
  sent.end(content);
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  await once(response, 'close');
  return response.statusCode ?? 0;
}

async function sendAll(): Promise<void> {
  while (Date.now() < end) {
    // A server that answers before all has been sent may close the connection.
    const status = await send().catch(() => 'broken');
    counts[status] = (counts[status] ?? 0) + 1;
  }
}

await Promise.all(Array.from({ length: connections }, sendAll));
agent.destroy();
process.stdout.write(JSON.stringify(counts));
