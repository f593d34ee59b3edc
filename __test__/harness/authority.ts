// A certificate authority for tests: its root and leaf certificates, generated in every run, so that no
// key is stored.
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import * as x509 from '@peculiar/x509';

const DAY_MS = 24 * 3_600_000;
const KEY = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export interface Leaf {
  /** PEM: the leaf alone; its issuer is the root. */
  cert: string;
  key: string;
}

export interface LeafOptions {
  notBefore?: Date;
  notAfter?: Date;
  /** The common name. */
  subject?: string;
  /** The extended key usages: any use where the list is empty, a server's when absent. */
  purposes?: readonly ('server' | 'client')[];
  /** Whether it may sign others. */
  isAuthority?: boolean;
  /** A key of RSA, of so many bits, in the place of one of P-256. */
  rsa?: number;
}

const PURPOSES = {
  server: x509.ExtendedKeyUsage.serverAuth,
  client: x509.ExtendedKeyUsage.clientAuth,
};

export class Authority {
  readonly #root: x509.X509Certificate;
  readonly #keys: webcrypto.CryptoKeyPair;

  private constructor(root: x509.X509Certificate, keys: webcrypto.CryptoKeyPair) {
    this.#root = root;
    this.#keys = keys;
  }

  static async create(name = 'Authority of the tests'): Promise<Authority> {
    const keys = await newKeys();
    const root = await x509.X509CertificateGenerator.createSelfSigned({
      name: `CN=${name}`,
      keys,
      signingAlgorithm: KEY,
      notBefore: new Date(Date.now() - DAY_MS),
      notAfter: new Date(Date.now() + DAY_MS),
      extensions: [
        new x509.BasicConstraintsExtension(true, 1, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ],
    });
    return new Authority(root, keys);
  }

  get pem(): string {
    return `${this.#root.toString('pem')}\n`;
  }

  /** Issues a certificate for these DNS names and IP addresses. */
  async issue(names: string[], options: LeafOptions = {}): Promise<Leaf> {
    const keys = await newKeys(options.rsa);
    const certificate = await this.#sign(keys, names, { purposes: ['server'], ...options });
    return { cert: `${certificate.toString('pem')}\n`, key: await privateKeyPem(keys) };
  }

  /** One that signs in this one's place; its `pem` is its certificate. */
  async issueAuthority(options: LeafOptions): Promise<Authority> {
    const keys = await newKeys();
    const subject = 'Authority between';
    return new Authority(await this.#sign(keys, [], { subject, ...options }), keys);
  }

  #sign(
    keys: webcrypto.CryptoKeyPair,
    names: string[],
    { notBefore, notAfter, subject, purposes = [], isAuthority = false }: LeafOptions,
  ): Promise<x509.X509Certificate> {
    const usages = purposes.map((purpose) => PURPOSES[purpose]);
    const alternatives = names.map((value) => ({
      type: /^[\d.]+$|:/.test(value) ? ('ip' as const) : ('dns' as const),
      value,
    }));
    return x509.X509CertificateGenerator.create({
      subject: `CN=${subject ?? 'Server of the tests'}`,
      issuer: this.#root.subject,
      publicKey: keys.publicKey,
      signingKey: this.#keys.privateKey,
      signingAlgorithm: KEY,
      notBefore: notBefore ?? new Date(Date.now() - DAY_MS),
      notAfter: notAfter ?? new Date(Date.now() + DAY_MS),
      extensions: [
        new x509.BasicConstraintsExtension(isAuthority),
        ...(usages.length > 0 ? [new x509.ExtendedKeyUsageExtension(usages)] : []),
        ...(names.length > 0 ? [new x509.SubjectAlternativeNameExtension(alternatives)] : []),
      ],
    });
  }

  /** Writes the root to `directory`, as `SSL_CERT_FILE` wants it, and gives the file's path. */
  writeRoot(directory: string): string {
    mkdirSync(directory, { recursive: true });
    const file = path.join(directory, 'authority.pem');
    writeFileSync(file, this.pem);
    return file;
  }
}

function newKeys(rsa?: number): Promise<webcrypto.CryptoKeyPair> {
  const usages = ['sign', 'verify'] as const;
  if (rsa === undefined) {
    return webcrypto.subtle.generateKey(KEY, true, usages);
  }
  const publicExponent = Uint8Array.of(1, 0, 1);
  const key = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: rsa, publicExponent };
  return webcrypto.subtle.generateKey(key, true, usages);
}

async function privateKeyPem({ privateKey }: webcrypto.CryptoKeyPair): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey));
  const lines = der.toString('base64').replace(/.{64}/g, '$&\n').trimEnd();
  return `-----BEGIN PRIVATE KEY-----\n${lines}\n-----END PRIVATE KEY-----\n`;
}
