/** The form of one migration. */
import type { Queryable } from '../database.js';

/** A migration. Its number is its position in the list, from 1 on. */
export interface Migration {
  readonly name: string;
  /** Statements, or a function that runs them, for statements that depend on the data. */
  readonly up: string | ((transaction: Queryable) => Promise<void>);
}
