/**
 * The entry point of the one-file build, a Node single executable application: the command, on a Node that
 * ignores the machine's variables. tools/one-file.mjs builds it.
 */
import { withoutVariables } from './environment.js';

void (withoutVariables() ?? import('../taskcluster-proxy.js'));
