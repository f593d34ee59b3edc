/**
 * Password hashes: `$scrypt$ln=..,r=..,p=..$<salt>$<hash>` (the PHC string format), so that a later version
 * can raise the cost and still verify stored hashes.
 *
 * Checking a password takes the same time for an unknown user. `sign-in-queue.ts` decides the order in
 * which passwords are checked, one at a time.
 */
import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

/** One of OWASP's equivalent parameter sets, the one that takes 16 MiB. `ln` is log2 of N. */
const COST = { ln: 14, r: 8, p: 5 } as const;

const SALT_LENGTH = 16;
const HASH_LENGTH = 32;

/** The hash to store for a password. */
export async function hashPassword(password: string): Promise<string> {
  return written(COST, randomBytes(SALT_LENGTH), password);
}

/** Whether a stored hash has older, cheaper parameters. */
export function isCheaper(kept: string): boolean {
  const { ln, r, p } = read(kept);
  return 2 ** ln * r * p < 2 ** COST.ln * COST.r * COST.p;
}

/** Whether the password matches the stored hash `kept`, which is absent for an unknown user. */
export async function isPassword(password: string, kept: string | undefined): Promise<boolean> {
  return (await check(password, kept ?? MATCHES_NO_PASSWORD)) && kept !== undefined;
}

/** A hash that matches no password. */
const MATCHES_NO_PASSWORD = phcString(COST, randomBytes(SALT_LENGTH), randomBytes(HASH_LENGTH));

interface Cost {
  readonly ln: number;
  readonly r: number;
  readonly p: number;
}

const FORM =
  /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]{43})$/;

async function check(password: string, kept: string): Promise<boolean> {
  const { salt, hash, ...cost } = read(kept);
  return timingSafeEqual(await derive(cost, salt, password), hash);
}

function read(kept: string): Cost & { readonly salt: Buffer; readonly hash: Buffer } {
  const [, ln, r, p, salt, hash] = FORM.exec(kept) ?? [];
  if (salt === undefined || hash === undefined) {
    throw new Error('a stored password hash does not have the form that this program writes');
  }
  return {
    ...{ ln: Number(ln), r: Number(r), p: Number(p) },
    salt: Buffer.from(salt, 'base64'),
    hash: Buffer.from(hash, 'base64'),
  };
}

async function written(cost: Cost, salt: Buffer, password: string): Promise<string> {
  return phcString(cost, salt, await derive(cost, salt, password));
}

function phcString({ ln, r, p }: Cost, salt: Buffer, hash: Buffer): string {
  return `$scrypt$ln=${ln},r=${r},p=${p}$${unpadded(salt)}$${unpadded(hash)}`;
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replace(/=+$/, '');
}

const scryptAsync = promisify<string, Buffer, number, object, Buffer>(scrypt);

function derive({ ln, r, p }: Cost, salt: Buffer, password: string): Promise<Buffer> {
  const N = 2 ** ln;
  // Keyboards compose the same character differently.
  const text = password.normalize('NFKC');
  return scryptAsync(text, salt, HASH_LENGTH, { N, r, p, maxmem: 128 * r * (N + p + 2) });
}
