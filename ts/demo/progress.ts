/** Shows the progress of a transfer: a bar on a terminal, otherwise one line at the end. */
import cliProgress from 'cli-progress';
import type { ProgressListener, Transfer } from './transfer.js';

const MIB = 2 ** 20;

/** Runs a transfer of `size` bytes and shows its progress and, at the end, its speed. */
export async function showProgress(
  label: string,
  size: number,
  move: (onProgress: ProgressListener) => Promise<Transfer>,
): Promise<Transfer> {
  const started = performance.now();
  const bar = process.stdout.isTTY ? startBar(label, size) : undefined;
  let moved = 0;
  const transfer = await move((bytes) => {
    moved += bytes;
    bar?.update(moved / MIB);
  }).finally(() => bar?.stop());
  const seconds = (performance.now() - started) / 1000;
  const speed = Math.round(transfer.size / MIB / seconds);
  console.log(`${label} ${mebibytes(transfer.size)} in ${seconds.toFixed(1)} s (${speed} MiB/s)`);
  return transfer;
}

/** A size in MiB, as text. */
export function mebibytes(bytes: number): string {
  return `${Math.round((bytes / MIB) * 10) / 10} MiB`;
}

function startBar(label: string, size: number): cliProgress.SingleBar {
  const bar = new cliProgress.SingleBar(
    {
      format: `${label} {bar} {percentage}% of ${mebibytes(size)}`,
      hideCursor: true,
      clearOnComplete: true,
    },
    cliProgress.Presets.shades_classic,
  );
  bar.start(size / MIB, 0);
  return bar;
}
