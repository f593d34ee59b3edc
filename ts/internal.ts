/**
 * What the package taskcluster-local imports from this one beside the API. Both packages have exactly the
 * same version, so one addon serves both. Not for other programs: any version may change it.
 */
export {
  type Native,
  type NativeClaim,
  type NativeCredentials,
  type NativeRefusal,
  type NativeRequest,
  type NativeVerified,
  native,
} from './native.js';
export { nearest } from './nearest.js';
export { readDuration, readPort, readSize } from './options.js';
