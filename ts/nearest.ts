/** What a misspelt name most likely stands for, so that an error can say so. */
import { closestMatch } from 'leven';

/** More than this many slips of a key are another word. */
const SLIPS = 3;

/**
 * The one name that begins with `word` (`root` for `rootUrl`), else the one that it comes closest to,
 * else the one that has it inside (`scopes` for `authorizedScopes`). Case and dashes do not count.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const wanted = plain(word);
  const known = new Map(names.map((name) => [plain(name), name]));
  const plainNames = [...known.keys()];
  const maxDistance = Math.min(SLIPS, Math.floor(wanted.length / 2));
  const found =
    only(plainNames, (name) => name.startsWith(wanted)) ??
    closestMatch(wanted, plainNames, { maxDistance }) ??
    only(plainNames, (name) => name.includes(wanted));
  return known.get(wanted === '' ? '' : (found ?? ''));
}

function plain(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, '');
}

/** The one of `names` for which `holds`; none where there are more. */
function only(names: readonly string[], holds: (name: string) => boolean): string | undefined {
  const found = names.filter(holds);
  return found.length === 1 ? found[0] : undefined;
}
