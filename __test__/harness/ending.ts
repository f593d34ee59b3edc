// How a file of tests ends. Ava waits for the process that has run them to end by itself, and where a
// test has failed before it had closed what it opened, a deployment or a child, that would be never.
// So the process is ended here, with a word on what was left; and where ava or a user ends it in the
// middle, or ava is killed itself, what runs at its exit still does.
//
// Ava loads it before each file of tests; nothing imports it.
import { registerCompletionHandler } from 'ava';
import { PATIENCE_MS } from './deadline.js';

/**
 * The time for what is still closing: connections that are kept for another request, a server's
 * children.
 */
const { CLOSING_MS = PATIENCE_MS } = process.env;

registerCompletionHandler(() => {
  const timer = setTimeout(() => {
    const left = [...new Set(process.getActiveResourcesInfo())].join(', ');
    console.error(`the tests have ended and left open: ${left}`);
    process.exit(1);
  }, Number(CLOSING_MS));
  timer.unref();
});

for (const [signal, number] of [
  ['SIGINT', 2],
  ['SIGTERM', 15],
] as const) {
  process.once(signal, () => process.exit(128 + number));
}

// Ava talks to this process until its end.
process.once('disconnect', () => process.exit(1));
