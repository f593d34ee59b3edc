/** Finds the name that a misspelt word most likely means, so that an error can suggest it. */
import { closestMatch } from 'leven';

/** A word with more differences than this is another word. */
const SLIPS = 3;

/**
 * The only name that begins with `word` (`root` for `rootUrl`), else the name closest to it, else the
 * only name that contains it (`scopes` for `authorizedScopes`). Case and dashes are ignored.
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
