/** What a misspelt name most likely stands for, so that an error can say so. */
import { closestMatch } from 'leven';

/** More than this many slips of a key are another word. */
const SLIPS = 3;

/**
 * The name that `word` comes closest to, or that alone has `word` in it (`scopes` for
 * `authorizedScopes`). Case and dashes do not count.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const wanted = plain(word);
  const known = new Map(names.map((name) => [plain(name), name]));
  const maxDistance = Math.min(SLIPS, Math.floor(wanted.length / 2));
  const close = closestMatch(wanted, [...known.keys()], { maxDistance });
  return known.get(close ?? alone([...known.keys()], wanted));
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '');
}

/** The one of `names` that has `part` in it; empty for none, or more than one. */
function alone(names: readonly string[], part: string): string {
  const [found = '', ...more] = part === '' ? [] : names.filter((name) => name.includes(part));
  return more.length === 0 ? found : '';
}
