/**
 * Closes what Node, by the environment or by a signal, opens to others: its inspector, which runs
 * any code, and snapshots of its memory. Nothing here needs the addon.
 *
 * What it is not: a defence against code that the environment loads (`--require`, `--import`).
 */

/** No inspector is open afterwards. */
export async function closeInspector(): Promise<void> {
  // What `close` of node:inspector is; loading that would take a quarter of the start.
  const { _debugEnd: close } = process as unknown as { _debugEnd?: () => void };
  if (close !== undefined) {
    close();
  } else if (process.features.inspector) {
    const inspector = await import('node:inspector');
    inspector.close();
  }
}

/** In milliseconds after the process was hardened; longer than any thread waits for its turn. */
const LATE = [500, 5_000];

/**
 * To be called once SIGUSR1 is ignored: one that came before may still be on its way through a
 * thread of Node's, which then opens an inspector.
 */
export async function keepInspectorClosed(): Promise<void> {
  await closeInspector();
  for (const delay of LATE) {
    setTimeout(closeInspector, delay).unref();
  }
}

/** Takes back what signals do by `NODE_OPTIONS`: `--heapsnapshot-signal` writes all secrets down. */
export function forgetSignals(): void {
  for (const event of process.eventNames()) {
    if (typeof event === 'string' && event.startsWith('SIG')) {
      process.removeAllListeners(event);
    }
  }
}
