/** The changes between two states of a deployment: which endpoints have been opened or closed. */
import type { Passage } from '../api/passage.js';
import type { Exposure } from '../exposure.js';
import { granting } from '../scopes.js';

/** `opens` lets more calls pass, `closes` fewer, `changes` both: other scopes let the caller pass. */
export type Direction = 'opens' | 'closes' | 'changes';

/** How far an endpoint is open, or that it does not exist. */
export type State = Passage | 'absent';

export interface Change {
  readonly service: string;
  readonly endpoint: string;
  readonly direction: Direction;
  readonly before: State;
  readonly after: State;
  readonly byBefore: readonly string[];
  readonly byAfter: readonly string[];
}

const RANK: Readonly<Record<State, number>> = { absent: 0, never: 0, sometimes: 1, always: 2 };

/** Omits endpoints that are open to the same extent by the same scopes. */
export function changes(before: readonly Exposure[], after: readonly Exposure[]): Change[] {
  const [old, now] = [byName(before), byName(after)];
  const names = new Set([...old.keys(), ...now.keys()]);
  return [...names].flatMap((name) => {
    const change = changeOf(old.get(name), now.get(name));
    return change === undefined ? [] : [change];
  });
}

function byName(rows: readonly Exposure[]): Map<string, Exposure> {
  return new Map(rows.map((row) => [`${row.service}.${row.endpoint}`, row]));
}

function changeOf(before: Exposure | undefined, after: Exposure | undefined): Change | undefined {
  const row = after ?? before;
  if (row === undefined) {
    return undefined;
  }
  const [more, less] = [isWider(before, after), isWider(after, before)];
  const isThere = (before === undefined) === (after === undefined);
  if (!more && !less && isThere) {
    return undefined;
  }
  return {
    service: row.service,
    endpoint: row.endpoint,
    direction: more === less ? 'changes' : more ? 'opens' : 'closes',
    before: before?.passes ?? 'absent',
    after: after?.passes ?? 'absent',
    byBefore: before?.by ?? [],
    byAfter: after?.by ?? [],
  };
}

/** Whether the second state lets a call pass that the first one refuses. */
export function isWider(
  before: Pick<Exposure, 'passes' | 'by'> | undefined,
  after: Pick<Exposure, 'passes' | 'by'> | undefined,
): boolean {
  if (after === undefined || after.passes === 'never') {
    return false;
  }
  const isRanked = RANK[after.passes] > RANK[before?.passes ?? 'absent'];
  // If all calls already pass, another scope adds nothing.
  const isFull = before?.passes === 'always';
  return isRanked || !(isFull || after.by.every(granting(before?.by ?? [])));
}
