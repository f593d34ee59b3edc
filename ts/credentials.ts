/**
 * Checks credentials from outside: those given at the start, and the body of `PUT /credentials`, which
 * is what `queue.claimWork` and `queue.reclaimTask` return. This module checks the shape; the Hawk
 * crate decides whether a client id or certificate fits into a header.
 *
 * No error repeats any of the input: it may be a secret.
 */
import { type NativeCredentials, native } from './native.js';
import { nearest } from './nearest.js';
import { API_KEYS, CREDENTIAL_KEYS } from './settings.js';

/** Taskcluster credentials. */
export interface Credentials {
  /** Letters, digits and `!@/:.+|_-`. */
  clientId: string;
  accessToken: string;
  /** JSON text of an object; empty, null or absent for permanent credentials. */
  certificate?: string | null | undefined;
}

/** Credentials that cannot be used; the message says what is wrong with them. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';
  readonly code = 'ERR_CREDENTIALS';
}

/**
 * Reads the body of a `PUT /credentials`.
 *
 * @throws {@link CredentialsError}
 */
export function parseCredentials(body: Uint8Array): NativeCredentials {
  return checkCredentials(parseJson(decode(body)));
}

/**
 * Checks credentials that a program passes. Of all other keys it refuses the likely mistakes: a misspelt
 * key, and an option that belongs beside the credentials.
 *
 * @throws {@link CredentialsError}
 */
export function checkPassed(value: unknown): NativeCredentials {
  const checked = checkCredentials(value);
  for (const key in value as object) {
    if (!CREDENTIAL_KEYS.includes(key)) {
      refuseSlip(key);
    }
  }
  return checked;
}

function refuseSlip(key: string): void {
  const name = nearest(key, [...CREDENTIAL_KEYS, ...API_KEYS]);
  if (name !== undefined) {
    const remedy = CREDENTIAL_KEYS.includes(name)
      ? `did you mean ${name}?`
      : `pass ${name} beside them`;
    throw new CredentialsError(`credentials hold ${key}: ${remedy}`);
  }
}

/**
 * Checks credentials of any origin. Other keys are ignored.
 *
 * @throws {@link CredentialsError}
 */
export function checkCredentials(value: unknown): NativeCredentials {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CredentialsError(
      'credentials are not a JSON object: send {"clientId": ..., "accessToken": ..., "certificate": ...}',
    );
  }
  const given = value as { [Key in keyof Credentials]?: unknown };
  const certificate = given.certificate ?? '';
  const checked: NativeCredentials = {
    clientId: checkText('clientId', given.clientId),
    accessToken: checkText('accessToken', given.accessToken),
    ...(certificate !== '' && { certificate: checkText('certificate', certificate) }),
  };
  try {
    native.checkCredentials(checked);
  } catch (error) {
    throw new CredentialsError((error as Error).message);
  }
  return checked;
}

/** A byte order mark is kept, so that the parser refuses it: RFC 8259 8.1 forbids to send one. */
const UTF_8 = { fatal: true, ignoreBOM: true } as const;

function decode(body: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', UTF_8).decode(body);
  } catch {
    throw new CredentialsError('credentials are not UTF-8: send JSON in UTF-8');
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes the text.
    throw new CredentialsError(
      'credentials are not JSON, or not the whole of it, or something follows: send one JSON object',
    );
  }
}

/** Half a surrogate pair (`"\\ud800"`) has no UTF-8 form; the conversion to Rust would replace it. */
function checkText(key: keyof Credentials, value: unknown): string {
  if (value === undefined || value === null) {
    throw new CredentialsError(`credentials have no ${key}: send it as a string`);
  }
  if (typeof value !== 'string') {
    throw new CredentialsError(`${key} is not a string: send it as it came from Taskcluster`);
  }
  if (!value.isWellFormed()) {
    throw new CredentialsError(`${key} holds half a surrogate pair: send valid Unicode`);
  }
  return value;
}
