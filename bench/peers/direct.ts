// No proxy at all: what the upstream and the load generator do by themselves.
import type { Peer } from './peer.js';

export const direct: Peer = {
  name: 'direct',
  settings:
    'the client talks to the upstream itself, by plain HTTP, or, where that is far, by curl over TLS',
  version: '',
  start: async ({ upstream, endpoint }) => ({
    port: upstream.ports[endpoint],
    pid: undefined,
    stop: async () => {},
  }),
};
