// What a client of the soak works with: one proxy, the way from it to its upstream, and the upstream.
import type http from 'node:http';
import type { Ledger } from './ledger.js';
import type { Subject } from './subject.js';
import type { Kind, Upstream } from './upstream.js';
import type { Weather } from './weather.js';

export interface Site {
  readonly kind: Kind;
  readonly subject: Subject;
  readonly upstream: Upstream;
  readonly weather: Weather;
  readonly ledger: Ledger;
  /** Whether what fails in fair weather is a fault. */
  readonly judgesFair: boolean;
  /** The longest pause of a client between two exchanges, in milliseconds. */
  readonly pause: number;
  /** Whether the proxy may send a request again. */
  readonly retries: boolean;
  /** Connections to the proxy that are kept. */
  readonly agent: http.Agent;
  /** A number that no request has had. */
  next(): number;
}
