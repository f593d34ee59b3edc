/**
 * Metrics in Prometheus' format, on a separate address. They are for the machine's operator and not part of
 * the API: there is no scope to read them, so the API's address has no endpoint for them, and a reverse
 * proxy in front of it cannot expose them.
 *
 * No label names a task, a client or a path. Each reading queries the database.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { native } from 'taskcluster-proxy/internal';
import { type MetricsAddress, MetricsAddressError } from './metrics-address.js';
import type { EndedRequest, RequestListener } from './requests.js';

/** The values that are measured at each reading. */
export interface Measured {
  /** Callers by result: verified, refused, anonymous. */
  authentications(): Readonly<Record<string, number>>;
  isListenHeard(): boolean;
  lostLogLines(): number;
  /** Unresolved tasks, by the state of their last run. Rejects if the database is unreachable. */
  tasks(): Promise<Readonly<Record<string, number>>>;
}

const PREFIX = 'taskcluster_local_';

/** Buckets from a look-up to a long poll, in seconds. */
const BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 600];

export class Metrics implements RequestListener {
  readonly #registry = new Registry();
  readonly #running: Gauge;
  readonly #requests: Counter<'endpoint' | 'status'>;
  readonly #seconds: Histogram<'endpoint'>;
  readonly #faults: Counter;
  readonly #ask: () => Promise<void>;
  readonly #server: Server;

  private constructor(measured: Measured) {
    this.#server = createServer((request, response) => void this.#answer(request, response));
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#running = new Gauge({
      name: `${PREFIX}running_requests`,
      help: 'Requests that run now, including workers that wait for a task',
      registers,
    });
    this.#requests = new Counter({
      name: `${PREFIX}requests_total`,
      help: 'Requests that have ended, by endpoint and status; none where the client left before',
      labelNames: ['endpoint', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: `${PREFIX}request_duration_seconds`,
      help: 'From the head of a request to the end of its answer',
      labelNames: ['endpoint'],
      buckets: BUCKETS,
      registers,
    });
    this.#faults = new Counter({
      name: `${PREFIX}faults_total`,
      help: 'Faults: requests answered with an incident, and failures outside requests',
      registers,
    });
    measure(this.#registry, measured);
    this.#ask = fromDatabase(this.#registry, measured);
  }

  onBegin(): void {
    this.#running.inc();
  }

  onEnd({ endpoint = 'other', status, milliseconds }: EndedRequest): void {
    this.#running.dec();
    this.#requests.inc({ endpoint, status: status === undefined ? 'none' : String(status) });
    this.#seconds.observe({ endpoint }, milliseconds / 1000);
  }

  onFault(): void {
    this.#faults.inc();
  }

  /** Starts to serve the metrics. @throws MetricsAddressError */
  static async listen({ host, port }: MetricsAddress, measured: Measured): Promise<Metrics> {
    const metrics = new Metrics(measured);
    const server = metrics.#server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', ({ message }) => {
        reject(new MetricsAddressError(`metrics cannot be served: ${message}`));
      });
      server.listen(port, host, resolve);
    });
    return metrics;
  }

  /** The URL of the metrics. */
  get url(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return `http://${isIPv6(address) ? `[${address}]` : address}:${port}/metrics`;
  }

  stop(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer({ method, url }: IncomingMessage, response: ServerResponse): Promise<void> {
    if (url !== '/metrics') {
      response.writeHead(404).end();
    } else if (method !== 'GET' && method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end();
    } else {
      await this.#ask();
      const text = await this.#registry.metrics();
      response.writeHead(200, { 'Content-Type': this.#registry.contentType }).end(text);
    }
  }
}

function measure(registry: Registry, measured: Measured): void {
  const registers = [registry];
  new Gauge({
    name: `${PREFIX}build_info`,
    help: 'Always 1: its labels tell the version',
    labelNames: ['version', 'revision'],
    registers,
  }).set({ version: native.version(), revision: native.revision() }, 1);
  new Gauge({
    name: `${PREFIX}listen_heard`,
    help: 'Whether notifications of other processes arrive',
    registers,
    collect() {
      this.set(measured.isListenHeard() ? 1 : 0);
    },
  });
  new Counter({
    name: `${PREFIX}authentications_total`,
    help: 'Requests by the result of authentication: verified, refused, anonymous',
    labelNames: ['result'],
    registers,
    collect() {
      this.reset();
      for (const [result, count] of Object.entries(measured.authentications())) {
        this.inc({ result }, count);
      }
    },
  });
  new Counter({
    name: `${PREFIX}lost_log_lines_total`,
    help: 'Lines of the log that were lost because its reader was too slow',
    registers,
    collect() {
      this.reset();
      this.inc(measured.lostLogLines());
    },
  });
}

/** The values that come from the database, read before the others. */
function fromDatabase(registry: Registry, { tasks }: Measured): () => Promise<void> {
  const registers = [registry];
  const isUp = new Gauge({
    name: `${PREFIX}database_up`,
    help: 'Whether the database answered at this reading',
    registers,
  });
  const states = new Gauge({
    name: `${PREFIX}tasks`,
    help: 'Unresolved tasks, by the state of their last run; absent without a database',
    labelNames: ['state'],
    registers,
  });
  return async () => {
    states.reset();
    try {
      for (const [state, count] of Object.entries(await tasks())) {
        states.set({ state }, count);
      }
      isUp.set(1);
    } catch {
      isUp.set(0);
    }
  };
}
