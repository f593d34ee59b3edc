/** Has the tests of Taskcluster's services import the helper, the assertions and the testing library beside this file. */
import { register } from 'node:module';

const HELPER = new URL('helper.mjs', import.meta.url).href;
const ASSERT = new URL('assert.mjs', import.meta.url).href;
const TESTING = new URL('testing.mjs', import.meta.url).href;

/** What Node's loader runs, in a thread of its own; the helper's packages are those of the checkout. */
const HOOK = `export async function resolve(name, context, next) {
  const { parentURL = '' } = context;
  if (/[/]services[/][a-z]+[/]test[/]/.test(parentURL)) {
    const url = {
      './helper.js': '${HELPER}',
      'node:assert': '${ASSERT}',
      '@taskcluster/lib-testing': '${TESTING}',
    }[name];
    if (url !== undefined) {
      return { url, shortCircuit: true };
    }
  }
  const isOfCheckout = ['${HELPER}', '${TESTING}'].includes(parentURL) && /^(@|mocha$|nock$)/.test(name);
  return next(name, isOfCheckout ? { ...context, parentURL: process.env.SUITES_CHECKOUT_URL } : context);
}`;

register(`data:text/javascript,${encodeURIComponent(HOOK)}`);
