/** The declared services of a deployment. */
import type { Declarations } from './api/reference.js';
import { GrantChanges } from './auth/grant-changes.js';
import { auth } from './auth/index.js';
import { queue } from './queue/index.js';
import { secrets } from './secrets/index.js';
import { webServer } from './web/service.js';

export function services(): readonly Declarations[] {
  return [auth, queue, secrets, webServer];
}

/**
 * Finds what changes of grants open and close. One for all services, since it prepares every endpoint
 * once.
 */
export const grantChanges = new GrantChanges(services);
