/** What the endpoints of auth work with. */
import type { SignatureValidator } from '../api/authenticate.js';
import type { Store } from '../storage/store.js';
import type { ScopeResolver } from './clients.js';

export interface AuthContext {
  readonly store: Store;
  readonly resolver: ScopeResolver;
  readonly validator: SignatureValidator;
}
