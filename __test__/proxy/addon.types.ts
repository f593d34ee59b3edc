// No test to run: `tsc` compares the surface of the addon, as napi derives it from the Rust source,
// with the types written by hand in `ts/native.ts`.
import type * as built from '../../build/addon.js';
import type { Native } from '../../ts/native.js';

type Built = Omit<typeof built, 'NativeProxy'>;

declare const addon: Built;

/** The addon does what the types say. */
export const written: Native = addon;

/** And no more. */
export const unknown: Exclude<keyof Built, keyof Native>[] = [] satisfies never[];
