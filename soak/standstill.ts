// Whether this machine stood still, as a virtual one does that is moved or copied. Exchanges that are late
// or given up then tell nothing of the proxy.

const LOOK_MS = 250;

/** No load keeps a timer waiting for so long. */
const STILL_MS = 2_000;

let looked = Date.now();
let stillUntil = 0;

setInterval(look, LOOK_MS).unref();

export function stoodStillSince(since: number): boolean {
  look();
  return stillUntil > since;
}

function look(): void {
  const now = Date.now();
  if (now - looked > STILL_MS) {
    stillUntil = now;
  }
  looked = now;
}
