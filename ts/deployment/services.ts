/** The services that a deployment has, as they are declared. */
import type { Declarations } from './api/reference.js';
import { auth } from './auth/index.js';
import { queue } from './queue/index.js';
import { secrets } from './secrets/index.js';
import { webServer } from './web/service.js';

export const SERVICES: readonly Declarations[] = [auth, queue, secrets, webServer];
