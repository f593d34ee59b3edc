/** The form of a reason: a sentence, and the sentences that it rests on. */

/** A statement and its reasons. */
export interface Tree {
  readonly text: string;
  readonly parts: readonly Tree[];
}
