// No proxy at all: what the upstream and the load generator do by themselves.
import type { Peer } from './peer.js';

export const direct: Peer = {
  name: 'direct',
  settings: 'the client talks to the upstream itself, by plain HTTP',
  version: '',
  start: async ({ upstream }) => ({
    port: upstream.ports.plain,
    pid: undefined,
    stop: async () => {},
  }),
};
