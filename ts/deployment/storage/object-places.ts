/**
 * Chooses the store of an artifact's bytes: the bucket, if there is one, for all new artifacts, and the
 * folder for the others. Each artifact records its store, so that a bucket can be added to older data.
 *
 * The stores themselves are `object-store.ts` and `object-bucket.ts`.
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

  /** The store of a new object; undefined if its name is too long for that. */
  place(objectName: string): ObjectContent | undefined {
    const bucket = this.#bucket;
    if (bucket === undefined) {
      return { storageType: 's3', objectName };
    }
    return bucket.takes(objectName)
      ? { storageType: 's3', objectName, bucket: bucket.address }
      : undefined;
  }

  /** The upload URL, valid for `lifetime` seconds, for a client that uses `rootUrl`. */
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

  /** The download URL, valid for `lifetime` seconds, for a client that uses `rootUrl`. */
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

/** @throws ObjectBucketError if artifacts are in another bucket than the open one. */
export async function checkBucket(store: Store, bucket: ObjectBucket | undefined): Promise<void> {
  const other = await store.artifacts.otherBucket(bucket?.address);
  if (other !== undefined) {
    throw new ObjectBucketError(otherBucket(other));
  }
}

function otherBucket(address: string): string {
  return `there are artifacts in ${address}: start with --object-store ${address} until they have expired`;
}
