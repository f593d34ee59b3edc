// A real browser for one test.
import type { ExecutionContext } from 'ava';
import { type Browser, chromium } from 'playwright-core';
import { freshDirectory } from './directory.js';
import { pathOf } from './tools.js';

/** Chromium as a task would start it, with a name of public DNS that leads here. */
export async function launch(t: ExecutionContext): Promise<Browser> {
  const browser = await chromium.launch({
    executablePath: pathOf('chromium'),
    env: { ...process.env, HOME: freshDirectory(t) },
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--host-resolver-rules=MAP rebound.example.com 127.0.0.1',
    ],
  });
  t.teardown(() => browser.close());
  return browser;
}
