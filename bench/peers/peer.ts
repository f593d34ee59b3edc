// What is measured beside each other: a proxy that forwards to the upstream, however it is started.
import type { Endpoint } from '../endpoints.js';
import type { Upstream } from '../upstream.js';

export interface Peer {
  /** As tables and charts name it. */
  readonly name: string;
  /** How it is set up, in a sentence for the document. */
  readonly settings: string;
  /** Its version as it tells it. */
  readonly version: string;
  start(to: Destination): Promise<Running>;
}

export interface Destination {
  upstream: Upstream;
  endpoint: Endpoint;
  /** For configuration and logs of this peer alone. */
  directory: string;
}

export interface Running {
  /** It takes requests on this port of 127.0.0.1, by plain HTTP. */
  readonly port: number;
  /** Nothing where requests go to the upstream itself. */
  readonly pid: number | undefined;
  stop(): Promise<void>;
}
