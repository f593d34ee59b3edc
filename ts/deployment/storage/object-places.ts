/**
 * Which place an artifact's bytes are in: the bucket, if there is one, for all that are new, and the
 * folder for the others. Each artifact says where it is, so that a bucket can be added to older data.
 *
 * What it is not: a place itself. Those are `object-store.ts` and `object-bucket.ts`.
 */
import { type ObjectBucket, ObjectBucketError } from './object-bucket.js';
import type { ObjectStore } from './object-store.js';
import type { ObjectContent, Store } from './store.js';

export class ObjectPlaces {
  readonly #folder: ObjectStore;
  readonly #bucket: ObjectBucket | undefined;

  constructor(folder: ObjectStore, bucket: ObjectBucket | undefined) {
    this.#folder = folder;
    this.#bucket = bucket;
  }

  /** Where a new object is to be; undefined where its name is too long for that. */
  place(objectName: string): ObjectContent | undefined {
    const bucket = this.#bucket;
    if (bucket === undefined) {
      return { storageType: 's3', objectName };
    }
    return bucket.takes(objectName)
      ? { storageType: 's3', objectName, bucket: bucket.address }
      : undefined;
  }

  /** Where it can be put for `lifetime` seconds, by a caller who reaches us at `rootUrl`. */
  async putUrl(
    content: ObjectContent,
    contentType: string,
    lifetime: number,
    rootUrl: string,
  ): Promise<string> {
    const { objectName } = content;
    return content.bucket === undefined
      ? rootUrl + this.#folder.putTarget(objectName, contentType, lifetime)
      : this.#named(content.bucket).putUrl(objectName, contentType, lifetime);
  }

  /** Where it can be had for `lifetime` seconds, by a caller who reaches us at `rootUrl`. */
  async getUrl(content: ObjectContent, lifetime: number, rootUrl: string): Promise<string> {
    const { objectName } = content;
    return content.bucket === undefined
      ? rootUrl + this.#folder.getTarget(objectName, lifetime)
      : this.#named(content.bucket).getUrl(objectName, lifetime);
  }

  #named(address: string): ObjectBucket {
    const bucket = this.#bucket;
    if (bucket?.address !== address) {
      throw new ObjectBucketError(otherBucket(address));
    }
    return bucket;
  }
}

/** @throws ObjectBucketError where artifacts are in another bucket than the one that is open. */
export async function checkBucket(store: Store, bucket: ObjectBucket | undefined): Promise<void> {
  const other = await store.artifacts.otherBucket(bucket?.address);
  if (other !== undefined) {
    throw new ObjectBucketError(otherBucket(other));
  }
}

function otherBucket(address: string): string {
  return `there are artifacts in ${address}: start with --object-store ${address} until they have expired`;
}
