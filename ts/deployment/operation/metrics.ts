/**
 * Metrics in Prometheus' format, on an address of their own. They belong to who operates the machine
 * and not to the API: no scope stands for reading them, so the API's address has no endpoint for them,
 * and what is in front of it cannot hand them out.
 *
 * No label names a task, a client or a path. What the database has is asked for at each reading.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { native } from 'taskcluster-proxy/internal';
import { type MetricsAddress, MetricsAddressError } from './metrics-address.js';
import type { EndedRequest, RequestListener } from './requests.js';

/** What is measured anew whenever it is asked for. */
export interface Measured {
  /** By result: verified, refused, anonymous. */
  authentications(): Readonly<Record<string, number>>;
  isListenHeard(): boolean;
  lostLogLines(): number;
  /** Tasks that are not resolved, by the state of their last run. Rejects where the database cannot be asked. */
  tasks(): Promise<Readonly<Record<string, number>>>;
}

const PREFIX = 'taskcluster_local_';

/** From a look-up to a long poll, in seconds. */
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
      help: 'Requests that run now, workers that wait for a task included',
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
      help: 'What was answered with an incident, or failed without a request',
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

  /** Starts to serve them. @throws MetricsAddressError */
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

  /** Where they can be read. */
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
    help: 'Always 1: its labels say what runs',
    labelNames: ['version', 'revision'],
    registers,
  }).set({ version: native.version(), revision: native.revision() }, 1);
  new Gauge({
    name: `${PREFIX}listen_heard`,
    help: 'Whether notices of other processes arrive',
    registers,
    collect() {
      this.set(measured.isListenHeard() ? 1 : 0);
    },
  });
  new Counter({
    name: `${PREFIX}authentications_total`,
    help: 'What callers have turned out to be: verified, refused, anonymous',
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
    help: 'Lines of the log that found no room, since nothing waits for its reader',
    registers,
    collect() {
      this.reset();
      this.inc(measured.lostLogLines());
    },
  });
}

/** What the database tells, to be asked before the metrics are read. */
function fromDatabase(registry: Registry, { tasks }: Measured): () => Promise<void> {
  const registers = [registry];
  const isUp = new Gauge({
    name: `${PREFIX}database_up`,
    help: 'Whether the database answered when this was read',
    registers,
  });
  const states = new Gauge({
    name: `${PREFIX}tasks`,
    help: 'Tasks that are not resolved, by the state of their last run; absent without a database',
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
