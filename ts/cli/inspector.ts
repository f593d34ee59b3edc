/**
 * Closes what Node opens by the environment or by a signal: its inspector, which runs any code, and
 * snapshots of its memory. Nothing here needs the addon.
 *
 * It is no defence against code that the environment loads (`--require`, `--import`).
 */

/** Closes the inspector. */
export async function closeInspector(): Promise<void> {
  // The same as `close` of node:inspector, which takes a quarter of the start to load.
  const { _debugEnd: close } = process as unknown as { _debugEnd?: () => void };
  if (close !== undefined) {
    close();
  } else if (process.features.inspector) {
    const inspector = await import('node:inspector');
    inspector.close();
  }
}

/** In milliseconds after the process is hardened; longer than a thread waits to be scheduled. */
const LATE = [500, 5_000];

/**
 * Closes the inspector later. To be called once SIGUSR1 is ignored: a thread of Node may still handle an
 * earlier signal and then open an inspector.
 */
export async function keepInspectorClosed(): Promise<void> {
  await closeInspector();
  for (const delay of LATE) {
    setTimeout(closeInspector, delay).unref();
  }
}

/** Removes the signal handlers of `NODE_OPTIONS`: `--heapsnapshot-signal` writes all secrets to a file. */
export function forgetSignals(): void {
  for (const event of process.eventNames()) {
    if (typeof event === 'string' && event.startsWith('SIG')) {
      process.removeAllListeners(event);
    }
  }
}
