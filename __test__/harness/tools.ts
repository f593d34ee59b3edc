// Tests that need a program which a contributor's machine may lack: they are skipped with a line.
// With CI=true nothing is skipped, since `tools/test-setup.mjs` has installed all of them.
import test, { type TestFn } from 'ava';
import { find, type Tool } from './programs.js';

export { find, pathOf, type Tool } from './programs.js';

const { CI = '' } = process.env;

/** `test`, or `test.skip` with a line that says what is missing. */
export function testWith(...needed: Tool[]): TestFn | TestFn['skip'] {
  const missing = needed.filter((tool) => find(tool) === undefined);
  if (missing.length === 0 || CI === 'true') {
    return test;
  }
  console.log(`skipped here: tests that need ${missing.join(' and ')}, not found on this machine`);
  return test.skip;
}
