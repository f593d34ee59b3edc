/**
 * Lists in pages: a client gets as many entries as it asks for, up to a thousand, and a
 * `continuationToken` for the next page. The token is the key of the last entry, which stays valid when
 * entries are added or removed.
 */
import { ApiError } from './errors.js';

/** The start of a page of a list, and its greatest length. */
export interface PageRequest {
  /** The key of the last entry of the page before; empty for the first page. */
  readonly after: string;
  readonly limit: number;
}

/** The query parameters of an endpoint with pages. */
export const PAGE_QUERY = { continuationToken: /./, limit: /^[0-9]+$/ } as const;

/** The entries of a page, and the token if there are more. */
export interface Page<Entry> {
  readonly entries: readonly Entry[];
  readonly continuationToken: string | undefined;
}

const PAGE_SIZE = 1000;

/**
 * The page that a query asks for, of a list ordered by `keyOf`.
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
