/** The form of one migration. */
import type { Queryable } from '../database.js';

/** A migration. Its number is its position in the list, from 1 on. */
export interface Migration {
  readonly name: string;
  /** Statements, or what runs them where they depend on what is there. */
  readonly up: string | ((transaction: Queryable) => Promise<void>);
}
