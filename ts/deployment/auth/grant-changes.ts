/**
 * The effect of a change of a role or a client: the scopes before and after, and the endpoints that it
 * opens or closes, for every caller and for the holder of the role or client. It is computed in the
 * transaction of the change, from the data that the transaction sees, and stored with it.
 */
import { type ApiReference, apiReference, type Declarations } from '../api/reference.js';
import { exposure } from '../exposure.js';
import { type Change, changes } from '../review/changes.js';
import type { AuditEntry, Author, Client, GrantChange, Store } from '../storage/store.js';
import { eachInSlices } from '../turns.js';
import { RoleExpansion, type RoleScopes } from './roles.js';

const ANONYMOUS = 'assume:anonymous';

/** Creates an expansion of roles. */
type ExpansionOf = (roles: readonly RoleScopes[]) => RoleExpansion;

type Expand = (scopes: readonly string[]) => Promise<readonly string[]>;

/** The author of what the operator's commands change, a start of the deployment included. */
export function operatorBy(command: string): Author {
  return { clientId: 'static/taskcluster/root', address: command };
}

type Grantee = Pick<Client, 'scopes' | 'disabled'>;

export class GrantChanges {
  readonly #declared: () => readonly Declarations[];
  /** References with one endpoint each. */
  #endpoints: readonly ApiReference[] | undefined;

  /** @param declared - The services of the deployment, whose endpoints a change opens or closes. */
  constructor(declared: () => readonly Declarations[]) {
    this.#declared = declared;
  }

  /**
   * @param before - All roles before the change; `after`, those after it.
   * @param expansionOf - Creates an expansion of roles.
   */
  async ofRole(
    roleId: string,
    before: readonly RoleScopes[],
    after: readonly RoleScopes[],
    expansionOf: ExpansionOf,
  ): Promise<GrantChange | undefined> {
    const [old, now] = [before, after].map((roles) => roles.find((role) => role.roleId === roleId));
    if (isSame(old?.scopes, now?.scopes)) {
      return undefined;
    }
    const [was, is] = [expansionOf(before), expansionOf(after)];
    const own = [`assume:${roleId}`, ANONYMOUS];
    return {
      before: old?.scopes ?? null,
      after: now?.scopes ?? null,
      anonymous: await this.#between(await was.expand([ANONYMOUS]), await is.expand([ANONYMOUS])),
      holder: await this.#between(await was.expand(own), await is.expand(own)),
    };
  }

  /** The history's entry for a role that a command of the operator's has created or updated. */
  async roleNote(
    roleId: string,
    command: string,
    before: readonly RoleScopes[],
    after: readonly RoleScopes[],
    expansionOf: ExpansionOf = (all) => new RoleExpansion(all),
  ): Promise<AuditEntry> {
    const actionType = before.some((role) => role.roleId === roleId) ? 'updated' : 'created';
    const grants = await this.ofRole(roleId, before, after, expansionOf);
    return { entityType: 'role', entityId: roleId, ...operatorBy(command), actionType, grants };
  }

  /** The scopes of a client; none if it is disabled, since its calls are refused. */
  async ofClient(
    before: Grantee | undefined,
    after: Grantee | undefined,
    expand: Expand,
  ): Promise<GrantChange | undefined> {
    const [was, is] = [before, after].map((client) =>
      client === undefined || client.disabled ? undefined : client.scopes,
    );
    if (isSame(was, is)) {
      return undefined;
    }
    const held = (scopes: readonly string[] | undefined) => expand([...(scopes ?? []), ANONYMOUS]);
    return {
      before: was ?? null,
      after: is ?? null,
      anonymous: [],
      holder: await this.#between(await held(was), await held(is)),
    };
  }

  async #between(before: readonly string[], after: readonly string[]): Promise<Change[]> {
    if (isSame(before, after)) {
      return [];
    }
    this.#endpoints ??= this.#declared()
      .map(apiReference)
      .flatMap((api) => api.entries.map((entry) => ({ ...api, entries: [entry] })));
    const found = await eachInSlices(this.#endpoints, async (endpoint) =>
      changes(exposure([endpoint], before), exposure([endpoint], after)),
    );
    return found.flat();
  }
}

/**
 * Expands by the roles that a transaction sees. It must not query the database outside the transaction: an
 * embedded database serves only the transaction until that ends.
 */
export function expandingIn(
  { roles }: Pick<Store, 'roles'>,
  expansionOf: ExpansionOf = (all) => new RoleExpansion(all),
): Expand {
  let expansion: Promise<RoleExpansion> | undefined;
  return async (scopes) => {
    expansion ??= roles.all().then(expansionOf);
    return (await expansion).expand(scopes);
  };
}

function isSame(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
