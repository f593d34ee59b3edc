/**
 * The web server as a service of the API, with the monitoring endpoints of every service. The pages for
 * users are in `index.ts`.
 */
import { ApiBuilder } from '../api/builder.js';

export const webServer = new ApiBuilder<undefined>({
  serviceName: 'web-server',
  apiVersion: 'v1',
  title: 'Web Server Service',
  description: 'Signs users in and issues their credentials.',
});
