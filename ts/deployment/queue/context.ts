/** What the queue's endpoints work with. */
import type { ObjectPlaces } from '../storage/object-places.js';
import type { Store } from '../storage/store.js';
import type { Claims } from './claims.js';

export interface QueueContext {
  readonly store: Store;
  readonly claims: Claims;
  readonly objects: ObjectPlaces;
}
