/**
 * The bytes of artifacts in a bucket of a store with S3's protocol: clients upload and download them by URLs
 * that are signed for one request each, so that the bytes never pass through this process.
 *
 * AWS's own variables name the store and its credentials, as AWS's client library reads them. The library
 * is loaded only when a bucket is opened.
 *
 * It knows nothing of artifacts or scopes, and never reads an object.
 */
import { randomUUID } from 'node:crypto';
import type { S3Client } from '@aws-sdk/client-s3';

/** A bucket and the prefix of all keys in it: empty, or without slashes at its ends. */
export interface BucketAddress {
  readonly bucket: string;
  readonly prefix: string;
}

/** The store cannot be used. The message says what to do. */
export class ObjectBucketError extends Error {
  override readonly name = 'ObjectBucketError';
}

type Library = typeof import('@aws-sdk/client-s3');
type Presigner = typeof import('@aws-sdk/s3-request-presigner');
type Variables = Readonly<Record<string, string | undefined>>;

/** Time-outs to connect to the store, and for its answer, in milliseconds. */
const CONNECTION_TIMEOUT = 5_000;
const REQUEST_TIMEOUT = 20_000;

/** AWS: 'The name for a key is a sequence of Unicode characters whose UTF-8 encoding is up to 1,024 bytes.' */
const LONGEST_KEY = 1024;

export class ObjectBucket {
  /** `s3://bucket/prefix`. */
  readonly address: string;
  readonly #place: BucketAddress;
  readonly #client: S3Client;
  readonly #library: Library;
  readonly #presigner: Presigner;

  private constructor(
    place: BucketAddress,
    client: S3Client,
    library: Library,
    presigner: Presigner,
  ) {
    this.address = serializeAddress(place);
    this.#place = place;
    this.#client = client;
    this.#library = library;
    this.#presigner = presigner;
  }

  /**
   * Opens the bucket, and checks that it can write and delete an object.
   *
   * @throws ObjectBucketError
   */
  static async open(address: string, variables: Variables = process.env): Promise<ObjectBucket> {
    const place = readAddress(address);
    const settings = readVariables(variables);
    const [library, presigner] = await Promise.all([
      import('@aws-sdk/client-s3'),
      import('@aws-sdk/s3-request-presigner'),
    ]);
    const client = new library.S3Client({
      ...settings,
      // By default a signed URL requires a checksum of the body, which is not known yet.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      requestHandler: {
        connectionTimeout: CONNECTION_TIMEOUT,
        requestTimeout: REQUEST_TIMEOUT,
        throwOnRequestTimeout: true,
      },
    });
    const bucket = new ObjectBucket(place, client, library, presigner);
    try {
      await bucket.#try();
    } catch (error) {
      client.destroy();
      throw refused(bucket.address, variables, error);
    }
    return bucket;
  }

  /** Whether the store takes an object of this name: keys are shorter than the longest names. */
  takes(name: string): boolean {
    return Buffer.byteLength(this.#key(name)) <= LONGEST_KEY;
  }

  /** A URL to upload an object, with this type only, for `lifetime` seconds. */
  putUrl(name: string, contentType: string, lifetime: number): Promise<string> {
    const command = new this.#library.PutObjectCommand({
      ...this.#object(name),
      ContentType: contentType,
    });
    return this.#presigner.getSignedUrl(this.#client, command, {
      expiresIn: lifetime,
      signableHeaders: new Set(['content-type']),
    });
  }

  /** A URL to download an object, for `lifetime` seconds. */
  getUrl(name: string, lifetime: number): Promise<string> {
    const command = new this.#library.GetObjectCommand(this.#object(name));
    return this.#presigner.getSignedUrl(this.#client, command, { expiresIn: lifetime });
  }

  /** Removes at most a thousand objects; missing ones are no error. */
  async remove(names: readonly string[]): Promise<void> {
    const { Errors: errors = [] } = await this.#client.send(
      new this.#library.DeleteObjectsCommand({
        Bucket: this.#place.bucket,
        Delete: { Quiet: true, Objects: names.map((name) => ({ Key: this.#key(name) })) },
      }),
    );
    const [first] = errors;
    if (first !== undefined) {
      throw new ObjectBucketError(
        `${this.address} keeps ${errors.length} objects that were to be removed: ${first.Code}`,
      );
    }
  }

  close(): void {
    this.#client.destroy();
  }

  async #try(): Promise<void> {
    const name = `taskcluster-local-${randomUUID()}`;
    await this.#client.send(
      new this.#library.PutObjectCommand({ ...this.#object(name), Body: 'can be written' }),
    );
    await this.#client.send(new this.#library.HeadObjectCommand(this.#object(name)));
    await this.remove([name]);
  }

  #object(name: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.#place.bucket, Key: this.#key(name) };
  }

  #key(name: string): string {
    const { prefix } = this.#place;
    return `${prefix === '' ? '' : `${prefix}/`}${objectKey(name)}`;
  }
}

/**
 * A key that URLs and paths keep unchanged: no client resolves a `..` in it, and no store merges two
 * slashes. Different names have different keys.
 */
export function objectKey(name: string): string {
  return name
    .replaceAll('%', '%25')
    .split('/')
    .map((part) => (part === '' ? '%' : /^\.\.?$/.test(part) ? part.replaceAll('.', '%2E') : part))
    .join('/');
}

/** @throws ObjectBucketError */
export function readAddress(text: string): BucketAddress {
  const [, bucket, prefix = ''] = /^s3:\/\/([^/]*)(?:\/(.*?)\/?)?$/s.exec(text) ?? [];
  if (bucket === undefined) {
    throw new ObjectBucketError(
      `'${text}' is not an object store: give s3://bucket or s3://bucket/prefix`,
    );
  }
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket)) {
    throw new ObjectBucketError(
      `'${text}' names no bucket: give s3://bucket, with 3 to 63 of a-z, 0-9, '.' and '-'`,
    );
  }
  if (prefix !== '' && !prefix.split('/').every(isPrefixPart)) {
    throw new ObjectBucketError(
      `'${text}' has a prefix that cannot be used: give parts of letters, digits and '_.-', with one '/' between them`,
    );
  }
  return { bucket, prefix };
}

function isPrefixPart(part: string): boolean {
  return /^[\w.-]+$/.test(part) && !/^\.\.?$/.test(part);
}

function serializeAddress({ bucket, prefix }: BucketAddress): string {
  return `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
}

/** Variables that AWS's client library reads: it takes an empty one for an unset one. */
const READ_BY_LIBRARY = [
  'AWS_ENDPOINT_URL_S3',
  'AWS_ENDPOINT_URL',
  'AWS_REGION',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_PROFILE',
];

const PATH_STYLE = 'AWS_S3_FORCE_PATH_STYLE';

interface ClientSettings {
  readonly endpoint?: string;
  readonly region?: string;
  readonly forcePathStyle: boolean;
}

/** @throws ObjectBucketError */
export function readVariables(variables: Variables): ClientSettings {
  for (const name of [...READ_BY_LIBRARY, PATH_STYLE]) {
    if (variables[name]?.trim() === '') {
      throw new ObjectBucketError(`${name} is empty: give it a value, or unset it`);
    }
  }
  const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret, AWS_REGION: region } = variables;
  if ((id === undefined) !== (secret === undefined)) {
    throw new ObjectBucketError('give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or neither');
  }
  const endpoint = endpointOf(variables);
  const style = variables[PATH_STYLE];
  if (style !== undefined && style !== 'true' && style !== 'false') {
    throw new ObjectBucketError(`${PATH_STYLE} is '${style}': give true or false, or unset it`);
  }
  return {
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    // A private store rarely has a DNS name for each bucket.
    forcePathStyle: style === undefined ? endpoint !== undefined : style === 'true',
  };
}

function endpointOf(variables: Variables): string | undefined {
  for (const name of ['AWS_ENDPOINT_URL_S3', 'AWS_ENDPOINT_URL']) {
    const text = variables[name];
    if (text === undefined) {
      continue;
    }
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol) || url.username || url.password) {
      // The value is not shown: it may contain a password.
      throw new ObjectBucketError(`${name} is not a URL: give http://host:port or https://host`);
    }
    return text;
  }
  return undefined;
}

/** Advice for each error of a store; the store's own message may contain secrets. */
const ADVICE: Readonly<Record<string, string>> = {
  NoSuchBucket: 'make the bucket, or name another one',
  CredentialsProviderError:
    'there are no credentials: give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY',
  InvalidAccessKeyId: 'the store does not know AWS_ACCESS_KEY_ID',
  SignatureDoesNotMatch: 'AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID',
  AccessDenied: 'allow its credentials to put, get and delete objects there',
  PermanentRedirect: 'the bucket is in another region than AWS_REGION says',
  AuthorizationHeaderMalformed: 'the bucket is in another region than AWS_REGION says',
};

function refused(address: string, variables: Variables, error: unknown): ObjectBucketError {
  const { name, message, code, $metadata } = error as Error & {
    readonly code?: string;
    readonly $metadata?: { readonly httpStatusCode?: number };
  };
  const at = endpointOf(variables);
  const where = at === undefined ? address : `${address} at ${at}`;
  if (message === 'Region is missing') {
    return new ObjectBucketError(`the object store ${where} has no region: give AWS_REGION`);
  }
  if ($metadata?.httpStatusCode === undefined && name !== 'CredentialsProviderError') {
    return new ObjectBucketError(
      `the object store ${where} cannot be reached (${code ?? name}): see that it runs, and AWS_ENDPOINT_URL_S3`,
    );
  }
  const advice = ADVICE[name] ?? 'see what the store says about it in its own log';
  return new ObjectBucketError(`the object store ${where} cannot be used (${name}): ${advice}`);
}
