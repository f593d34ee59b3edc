/**
 * Lists in pages: a client gets as many entries as it asks for, up to a thousand, and a
 * `continuationToken` to ask for those after them. The token is the key of the last entry, which
 * stays good whatever is added or removed meanwhile.
 */
import type { PageRequest } from '../storage/store.js';
import { ApiError } from './errors.js';

/** The parameters of the query that such an endpoint declares. */
export const PAGE_QUERY = { continuationToken: /./, limit: /^[0-9]+$/ } as const;

/** Some entries, and the token where there are more of them. */
export interface Page<Entry> {
  readonly entries: readonly Entry[];
  readonly continuationToken: string | undefined;
}

const PAGE_SIZE = 1000;

/**
 * The page that a query asks for, of a list that is ordered by `keyOf`.
 *
 * @throws ApiError `InputError`
 */
export async function page<Entry>(
  { continuationToken = '', limit }: Readonly<Record<string, string | undefined>>,
  fetch: (request: PageRequest) => Promise<readonly Entry[]>,
  keyOf: (entry: Entry) => string,
): Promise<Page<Entry>> {
  const size = Math.min(Number(limit ?? PAGE_SIZE), PAGE_SIZE);
  const after = Buffer.from(continuationToken, 'base64url').toString();
  if (after.includes('\0')) {
    throw new ApiError('InputError', 'Invalid continuation token');
  }
  const found = await fetch({ after, limit: size + 1 });
  const entries = found.slice(0, size);
  const last = found.length > size ? entries.at(-1) : undefined;
  return {
    entries,
    continuationToken: last && Buffer.from(keyOf(last)).toString('base64url'),
  };
}
