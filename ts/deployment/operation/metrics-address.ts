/** The separate address and port of the metrics, by default on loopback. */
import { isIP } from 'node:net';

/** An invalid address, or one that the process cannot listen on. */
export class MetricsAddressError extends Error {
  override readonly name = 'MetricsAddressError';
}

export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

/** `9090` on loopback, `192.0.2.1:9090`, `[::]:9090`. @throws MetricsAddressError */
export function readMetricsAddress(text: string): MetricsAddress {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]:|([^:]*):)?(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain ?? '127.0.0.1';
  if (digits === undefined || Number(digits) > 65_535 || isIP(host) === 0) {
    throw new MetricsAddressError(
      `'${text}' is not where metrics can be read: write 9090, which is on loopback, or 192.0.2.1:9090`,
    );
  }
  return { host, port: Number(digits) };
}
