/** Has the tests of Taskcluster's services import the helper beside this file instead of their own. */
import { register } from 'node:module';

const HELPER = new URL('helper.mjs', import.meta.url).href;

/** What Node's loader runs, in a thread of its own; the helper's packages are those of the checkout. */
const HOOK = `export async function resolve(name, context, next) {
  const { parentURL = '' } = context;
  if (name === './helper.js' && /[/]services[/][a-z]+[/]test[/]/.test(parentURL)) {
    return { url: '${HELPER}', shortCircuit: true };
  }
  const isOfCheckout = parentURL === '${HELPER}' && name.startsWith('@');
  return next(name, isOfCheckout ? { ...context, parentURL: process.env.SUITES_CHECKOUT_URL } : context);
}`;

register(`data:text/javascript,${encodeURIComponent(HOOK)}`);
