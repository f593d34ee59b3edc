/**
 * Checks at run time, by the table of settings, the names and kinds of the options that a program or a
 * user passes. Without it a misspelt name is ignored and a value of another kind misread, and the
 * restriction that the caller meant is lost. Other modules check what a value of the right kind means.
 */
import { nearest } from './nearest.js';
import { CREDENTIAL_KEYS, KINDS, type Kind, type Row, SETTINGS } from './settings.js';

/** An option that is missing, malformed or out of range; the sentence names it and the remedy. */
export class OptionsError extends Error {
  override readonly name = 'OptionsError';
  readonly code = 'ERR_OPTIONS';
}

/**
 * Refuses a value that is no object of options, and any option that is not in `known`.
 *
 * @param call - The function that takes the options.
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

/** The empty scope is accepted: it grants nothing. */
const SIGNED_SCOPES: Row = { ...SETTINGS.authorizedScopes, empty: 'not given' };

/**
 * Checks the scopes that restrict a call; `undefined` for none. A string is refused: read as a list of
 * its letters it may contain `*`.
 *
 * @throws {@link OptionsError}
 */
export function checkRestriction(options: { authorizedScopes?: unknown }): string[] | undefined {
  const key = 'authorizedScopes';
  return key in options ? checkList(options[key], SIGNED_SCOPES, key) : undefined;
}

/**
 * Checks the scopes of a call that requires them.
 *
 * @throws {@link OptionsError}
 */
export function checkScopes(scopes: unknown): string[] {
  return checkList(scopes, { ...SIGNED_SCOPES, required: true }, 'scopes');
}

/**
 * Checks a value by its row. Returns a copy of a list, and a list where a single value may stand for one.
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
  // Check the copy: an array can claim another length than it has values.
  const values = Array.from(list, (one) => checkOne(one, row, name) as string);
  if (values.length === 0 && row.emptyArray === undefined) {
    throw empty(row, name);
  }
  return values;
}

/** An error never repeats the refused value: it may be a secret in the wrong place. */
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

/** The kind of a value, without its content. */
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
