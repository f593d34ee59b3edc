/** The services that a deployment has, as they are declared. */
import type { Declarations } from './api/reference.js';
import { auth } from './auth/index.js';
import { queue } from './queue/index.js';
import { secrets } from './secrets/index.js';
import { webServer } from './web/service.js';

/** Not before it is asked for: auth works with all of them, and is one of them. */
export function services(): readonly Declarations[] {
  return [auth, queue, secrets, webServer];
}
