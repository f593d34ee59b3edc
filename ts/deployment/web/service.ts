/**
 * The web server as a service of the API: what every service says of itself to those who watch it.
 * What people and third parties use is in `index.ts`.
 */
import { ApiBuilder } from '../api/builder.js';

export const webServer = new ApiBuilder<undefined>({
  serviceName: 'web-server',
  apiVersion: 'v1',
  title: 'Web Server Service',
  description: 'Signs people in, and lets third parties have credentials of theirs.',
});
