/**
 * What the package taskcluster-local takes from this one beside the API. It is of the same version, to
 * the digit, and so one addon serves both. For nothing else: any version may change it.
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
