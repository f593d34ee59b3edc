/**
 * Names and kinds of what a program or a user passes, judged at run time by the table of settings. A
 * name that is misspelt, or a value of another kind, would otherwise be ignored or read as something
 * else, whatever it was to restrict. What a value of the right kind means is judged elsewhere.
 */
import { nearest } from './nearest.js';
import { CREDENTIAL_KEYS, KINDS, type Kind, type Row, SETTINGS } from './settings.js';

/** An option that is missing, malformed or out of range; the sentence names it and the remedy. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError';
  readonly code = 'ERR_OPTIONS';
}

/**
 * Refuses what is no object of options, and options by another name than `known`.
 *
 * @param call - The function that the options are of.
 * @throws {@link OptionsError}
 */
export function refuseUnknown<Key extends string>(
  options: unknown,
  known: readonly Key[],
  call: string,
): asserts options is { readonly [Each in Key]?: unknown } {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new OptionsError(`${call} is given ${named(options)}: pass an object of options`);
  }
  for (const key in options) {
    if (!known.includes(key as Key)) {
      throw new OptionsError(`${key} is not an option of ${call}: ${suggest(key, known)}`);
    }
  }
}

function suggest(word: string, known: readonly string[]): string {
  const inCredentials = CREDENTIAL_KEYS.map((key) => `credentials.${key}`);
  const names = known.includes('credentials') ? [...known, ...inCredentials] : known;
  const name = nearest(word, names);
  return name === undefined ? `its options are ${known.join(', ')}` : `did you mean ${name}?`;
}

/** What is signed may name the scope that is empty: it grants nothing. */
const SIGNED_SCOPES: Row = { ...SETTINGS.authorizedScopes, empty: 'not given' };

/**
 * Checks the scopes that are to restrict a call, `undefined` where it is given none: a string is no
 * list of its letters, an `*` among them.
 *
 * @throws {@link OptionsError}
 */
export function checkRestriction(options: { authorizedScopes?: unknown }): string[] | undefined {
  const key = 'authorizedScopes';
  return key in options ? checkList(options[key], SIGNED_SCOPES, key) : undefined;
}

/**
 * Checks scopes that a call cannot do without.
 *
 * @throws {@link OptionsError}
 */
export function checkScopes(scopes: unknown): string[] {
  return checkList(scopes, { ...SIGNED_SCOPES, required: true }, 'scopes');
}

/**
 * Checks a value by its row. Of a list it returns a copy, and a list of what may be given as one.
 *
 * @throws {@link OptionsError}
 */
export function checkValue(value: unknown, row: Row, name: string): unknown {
  return row.many === undefined ? checkOne(value, row, name) : checkList(value, row, name);
}

function checkList(value: unknown, row: Row, name: string): string[] {
  const list = row.many === 'array or one' && typeof value === 'string' ? [value] : value;
  if (!Array.isArray(list)) {
    throw mistyped(value, row, `${name} is`);
  }
  // What is taken from it counts: an array can say another length than it has values.
  const values = Array.from(list, (one) => checkOne(one, row, name) as string);
  if (values.length === 0 && row.emptyArray === undefined) {
    throw empty(row, name);
  }
  return values;
}

/** Where a value is refused it is not repeated: it may be a secret that slipped to a wrong place. */
function checkOne(value: unknown, row: Row, name: string): unknown {
  if (value === '' && row.empty === 'refused') {
    throw empty(row, name);
  }
  if (!IS[row.kind](value)) {
    throw mistyped(value, row, row.many === undefined ? `${name} is` : `${name} holds`);
  }
  return value;
}

const isString = (value: unknown) => typeof value === 'string' && value.isWellFormed();
const isNumber = (value: unknown) => typeof value === 'number';

const IS: Record<Kind, (value: unknown) => boolean> = {
  switch: (value) => typeof value === 'boolean',
  text: isString,
  port: isNumber,
  duration: (value) => isNumber(value) || isString(value),
  size: (value) => isNumber(value) || isString(value),
  choice: isString,
  // `credentials.ts` judges them.
  credentials: () => true,
};

function mistyped(value: unknown, row: Row, nameIs: string): OptionsError {
  const one = KINDS[row.kind];
  const many = { array: 'an array of strings', 'array or one': `${one}, or an array of them` };
  const kind = row.many === undefined ? one : many[row.many];
  return new OptionsError(`${nameIs} ${named(value)}: pass ${kind}${orLeaveOut(row)}`);
}

function empty(row: Row, name: string): OptionsError {
  return new OptionsError(`${name} is empty: give it a value${orLeaveOut(row)}`);
}

function orLeaveOut({ required, without }: Row): string {
  if (required) {
    return '';
  }
  return `, or leave it out${without === undefined ? '' : ` to ${without}`}`;
}

/** What a value is, and nothing of what it holds. */
function named(value: unknown): string {
  if (value === null || value === undefined) {
    return `${value}`;
  }
  if (typeof value === 'string' && !value.isWellFormed()) {
    return 'a string with half a surrogate pair';
  }
  const kind = Array.isArray(value) ? 'array' : typeof value;
  return /^[aeiou]/.test(kind) ? `an ${kind}` : `a ${kind}`;
}
