/**
 * The checkout's testing library for the services' tests. What it does with a fake of auth is done with the deployment,
 * and what the tests fetch from the internet is answered here.
 */
import testing from '@taskcluster/lib-testing';
import nock from 'nock';
import { withAnonymousScopes } from './helper.mjs';

export * from '@taskcluster/lib-testing';
export default { ...testing, fakeauth: { ...testing.fakeauth, withAnonymousScopes } };

/** The networks of a region, and the page that a reference artifact leads to. */
nock('https://ip-ranges.amazonaws.com')
  .persist()
  .get('/ip-ranges.json')
  .reply(200, {
    prefixes: [{ ip_prefix: '192.0.2.0/24', region: 'us-east-1', service: 'EC2' }],
  });
nock('https://google.com').persist().get('/').reply(200, 'a page');
