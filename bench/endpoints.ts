// Where the upstream listens, and what names and tables call it.

/**
 * `alpn` offers HTTP/2 and HTTP/1.1 over TLS, as load balancers do; `far` is the same one behind a
 * relay that takes 25 ms each way.
 */
export type Endpoint = 'plain' | 'tls' | 'alpn' | 'far';

export const ENDPOINTS: Record<Endpoint, string> = {
  plain: 'plain upstream',
  tls: 'TLS upstream',
  alpn: 'TLS upstream that offers h2',
  far: 'TLS upstream that offers h2, 50 ms away',
};

/** What stands behind the names of scenarios and figures; nothing for the plain endpoint. */
export function suffix(endpoint: Endpoint): string {
  return endpoint === 'plain' ? '' : `-${endpoint}`;
}

export function isTls(endpoint: Endpoint): boolean {
  return endpoint !== 'plain';
}
