/**
 * What the command asks of its own process: to end with the one that started it, and to wait for no
 * reader of what it says. Loading this loads the addon.
 */
import { native } from '../native.js';

/** Goes out as soon as there is a reader, which nothing waits for. */
export function sayOnStdout(text: string): void {
  native.say(1, text, 0);
}

/** Long enough, in milliseconds, for every reader that is there. */
const PATIENCE = 1_000;

/** Waits a moment for the reader, since it is the last that is said on stdout (1) or stderr (2). */
export function sayLast(stream: 1 | 2, text: string): void {
  native.say(stream, text, PATIENCE);
}

/** @param launcher - The id of the process that started this one, read as early as could be. */
export function endWithLauncher(launcher: number): void {
  native.endWithLauncher(launcher);
}
