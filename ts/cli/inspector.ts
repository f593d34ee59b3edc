/**
 * Closes what Node, by the environment or by a signal, opens to others: its inspector, which runs
 * any code, and snapshots of its memory. Nothing here needs the addon.
 *
 * What it is not: a defence against code that the environment loads (`--require`, `--import`).
 */

/**
 * No inspector is open afterwards. A SIGUSR1 that came before the process was hardened may open one
 * later, so this is to be called again then.
 */
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

/** Takes back what signals do by `NODE_OPTIONS`: `--heapsnapshot-signal` writes all secrets down. */
export function forgetSignals(): void {
  for (const event of process.eventNames()) {
    if (typeof event === 'string' && event.startsWith('SIG')) {
      process.removeAllListeners(event);
    }
  }
}
