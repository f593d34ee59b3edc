// A download from a deployment that is far away: windows and buffers limit the bytes of a round trip,
// and so its rate, on any machine. It is compared with curl that goes there directly, over TLS as the
// proxies do. Each has a new connection, since the proxy is a new one each time.
import { findCurl, runCurl } from '../load.js';
import { PART_BYTES, rootUrl, TARGETS } from '../upstream.js';
import { inTurn, type Scenario, url } from './scenario.js';

export const distance: Scenario = inTurn({
  name: 'distance',
  about: '200 MiB down from 50 ms away',
  endpoint: 'far',
  isFresh: true,
  takes: () => true,
  missing: () => (findCurl() ? undefined : 'curl is not installed (Debian: apt-get install curl)'),
  measure: async (running, { upstream }) => {
    const isDirect = running.pid === undefined;
    const where = isDirect
      ? `${rootUrl(upstream, 'far')}${TARGETS.part}`
      : url(running, TARGETS.part);
    const { seconds } = await runCurl(where, upstream.authority, PART_BYTES);
    return { 'distance.rate': PART_BYTES / seconds };
  },
});
