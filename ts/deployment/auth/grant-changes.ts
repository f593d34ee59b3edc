/**
 * What a change of a role or a client gives and takes away: its scopes, and the endpoints that it opens or
 * closes, for everybody and for who has it. It is worked out in the transaction of the change, from what
 * that one sees, and kept with it.
 */
import { type ApiReference, apiReference } from '../api/reference.js';
import { exposure } from '../exposure.js';
import { type Change, changes } from '../review/changes.js';
import { services } from '../services.js';
import type { Client, GrantChange, Store } from '../storage/store.js';
import { eachInSlices } from '../turns.js';
import { RoleExpansion, type RoleScopes } from './roles.js';

const ANONYMOUS = 'assume:anonymous';

/** Makes an expansion of roles. */
type ExpansionOf = (roles: readonly RoleScopes[]) => RoleExpansion;

type Expand = (scopes: readonly string[]) => Promise<readonly string[]>;

/**
 * @param before - All roles, and those after it.
 * @param expansionOf - Makes an expansion of them.
 */
export async function changeOfRole(
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
    everybody: await between(await was.expand([ANONYMOUS]), await is.expand([ANONYMOUS])),
    holder: await between(await was.expand(own), await is.expand(own)),
  };
}

type Grantee = Pick<Client, 'scopes' | 'disabled'>;

/** One that is disabled may do nothing: its calls are refused. */
export async function changeOfClient(
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
    everybody: [],
    holder: await between(await held(was), await held(is)),
  };
}

/**
 * By the roles that a transaction sees. Nothing else may be asked of a database meanwhile: an embedded one
 * is the transaction's alone until it ends.
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

async function between(before: readonly string[], after: readonly string[]): Promise<Change[]> {
  if (isSame(before, after)) {
    return [];
  }
  const found = await eachInSlices(endpoints(), async (endpoint) =>
    changes(exposure([endpoint], before), exposure([endpoint], after)),
  );
  return found.flat();
}

let declared: readonly ApiReference[] | undefined;

/** One each. */
function endpoints(): readonly ApiReference[] {
  declared ??= services()
    .map(apiReference)
    .flatMap((api) => api.entries.map((entry) => ({ ...api, entries: [entry] })));
  return declared;
}

function isSame(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
