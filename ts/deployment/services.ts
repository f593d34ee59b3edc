/** The declared services of a deployment. */
import type { Declarations } from './api/reference.js';
import { auth } from './auth/index.js';
import { queue } from './queue/index.js';
import { secrets } from './secrets/index.js';
import { webServer } from './web/service.js';

/** Evaluated late: auth uses the list of all services and is one of them. */
export function services(): readonly Declarations[] {
  return [auth, queue, secrets, webServer];
}
