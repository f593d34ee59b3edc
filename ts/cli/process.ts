/**
 * The command's own process: it ends with its parent, and never waits long for a reader of its output.
 * Loading this module loads the addon.
 */
import { native } from '../native.js';

/** Writes to stdout as soon as there is a reader; nothing waits for it. */
export function sayOnStdout(text: string): void {
  native.say(1, text, 0);
}

/** Long enough, in milliseconds, for every live reader. */
const PATIENCE = 1_000;

/** Writes the last output to stdout (1) or stderr (2), and waits a moment for the reader. */
export function sayLast(stream: 1 | 2, text: string): void {
  native.say(stream, text, PATIENCE);
}

/** @param launcher - The id of the process that started this one, read as early as possible. */
export function endWithLauncher(launcher: number): void {
  native.endWithLauncher(launcher);
}
