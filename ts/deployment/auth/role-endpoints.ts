/** Endpoints that list, create, change and delete roles. */
import type { ApiBuilder, ApiRequest } from '../api/builder.js';
import { checkDescription } from '../api/description.js';
import { ApiError } from '../api/errors.js';
import { PAGE_QUERY } from '../api/pages.js';
import type { ScopeTemplate } from '../api/scope-template.js';
import { granting, ordered } from '../scopes.js';
import type { AuditEntry, Author, GrantChange, Role, Store } from '../storage/store.js';
import { eachInSlices } from '../turns.js';
import { authorOf, checkGrantable } from './client-endpoints.js';
import type { ScopeResolver } from './clients.js';
import type { AuthContext } from './context.js';
import { RoleError, type RoleScopes } from './roles.js';
import {
  createRoleRequest,
  getRoleResponse,
  listRoleIdsResponse,
  listRoles2Response,
  listRolesResponse,
} from './schemas.js';

type Auth = ApiBuilder<AuthContext>;

const CATEGORY = 'Roles';

export function declareRoleEndpoints(auth: Auth): void {
  declareLists(auth);
  declareReading(auth);
  declareCreation(auth);
  declareUpdate(auth);
  declareRemoval(auth);
}

function declareLists(auth: Auth): void {
  const list = {
    method: 'get',
    category: CATEGORY,
    anonymous: true,
    scopes: 'auth:list-roles',
  } as const;
  auth.declare(
    {
      ...list,
      name: 'listRoles',
      route: '/roles/',
      title: 'List Roles (no pagination)',
      output: listRolesResponse,
    },
    async (_request, { store, resolver }) => rolesJson(await store.roles.all(), resolver),
  );
  auth.declare(
    {
      ...list,
      name: 'listRoles2',
      route: '/roles2/',
      title: 'List Roles',
      description: 'Roles by their ids; all of them without a `limit`.',
      query: PAGE_QUERY,
      output: listRoles2Response,
    },
    async ({ query }, { store, resolver }) => {
      const { roles, continuationToken } = rolesOfPage(query, await store.roles.all());
      return { roles: await rolesJson(roles, resolver), continuationToken };
    },
  );
  auth.declare(
    {
      ...list,
      name: 'listRoleIds',
      route: '/roleids/',
      title: 'List Role IDs',
      description: 'The ids of roles; all of them without a `limit`.',
      query: PAGE_QUERY,
      output: listRoleIdsResponse,
    },
    async ({ query }, { store }) => {
      const { roles, continuationToken } = rolesOfPage(query, await store.roles.all());
      return { roleIds: roles.map(({ roleId }) => roleId), continuationToken };
    },
  );
}

/** Unlike other lists, this one has no default limit: Taskcluster's clients rely on it. */
function rolesOfPage(
  { continuationToken, limit }: Readonly<Record<string, string | undefined>>,
  all: readonly Role[],
): { roles: readonly Role[]; continuationToken: string | undefined } {
  const after = Buffer.from(continuationToken ?? '', 'base64url').toString();
  if (tokenOf(after) !== (continuationToken ?? '')) {
    throw new ApiError('InputError', 'Invalid continuationToken');
  }
  const left = all.filter(({ roleId }) => roleId > after);
  const roles = left.slice(0, Number(limit ?? 0) || left.length);
  const last = roles.length < left.length ? roles.at(-1) : undefined;
  return { roles, continuationToken: last && tokenOf(last.roleId) };
}

function tokenOf(roleId: string): string {
  return Buffer.from(roleId).toString('base64url');
}

function declareReading(auth: Auth): void {
  auth.declare(
    {
      name: 'role',
      method: 'get',
      route: '/roles/:roleId',
      title: 'Get Role',
      category: CATEGORY,
      anonymous: true,
      scopes: 'auth:get-role:<roleId>',
      output: getRoleResponse,
    },
    async ({ params: { roleId } }, { store, resolver }) => {
      const role = await get(store, roleId);
      if (role === undefined) {
        throw new ApiError('ResourceNotFound', 'Role not found');
      }
      return roleJson(role, resolver);
    },
  );
}

function declareCreation(auth: Auth): void {
  auth.declare(
    {
      name: 'createRole',
      method: 'put',
      route: '/roles/:roleId',
      title: 'Create Role',
      description:
        'Creates a role. The caller needs all of its scopes; a role that leads back to itself is ' +
        'refused.',
      category: CATEGORY,
      scopes: CREATING,
      input: createRoleRequest,
      output: getRoleResponse,
    },
    async ({ params: { roleId }, body, ...caller }, context) =>
      roleJson(await createRole(caller, { ...body, roleId }, context), context.resolver),
  );
}

function declareUpdate(auth: Auth): void {
  auth.declare(
    {
      name: 'updateRole',
      method: 'post',
      route: '/roles/:roleId',
      title: 'Update Role',
      description:
        'Changes a role. The caller needs the scopes that the role did not have, by itself or by ' +
        'other roles; a role that leads back to itself is refused.',
      category: CATEGORY,
      scopes: UPDATING,
      input: createRoleRequest,
      output: getRoleResponse,
    },
    async ({ params: { roleId }, body, ...caller }, context) =>
      roleJson(await updateRole(caller, { ...body, roleId }, context), context.resolver),
  );
}

/** The scopes that a caller needs to create a role, and to change one. */
export const CREATING: ScopeTemplate = {
  AllOf: ['auth:create-role:<roleId>', { for: 'scope', in: 'scopes', each: '<scope>' }],
};
export const UPDATING: ScopeTemplate = {
  AllOf: ['auth:update-role:<roleId>', { for: 'scope', in: 'scopesAdded', each: '<scope>' }],
};

/** The request of a caller that writes a role: `authorize` checks `CREATING` or `UPDATING`. */
export type RoleWriter = Pick<ApiRequest, 'authorize' | 'clientId' | 'address'>;

type WantedRole = Pick<Role, 'roleId' | 'scopes' | 'description'>;

type RoleContext = Pick<AuthContext, 'store' | 'resolver'>;

/** @throws ApiError */
export async function createRole(
  { authorize, ...caller }: RoleWriter,
  { roleId, scopes, description }: WantedRole,
  { store, resolver }: RoleContext,
): Promise<Role> {
  await authorize({ roleId, scopes });
  checkGrantable(scopes);
  checkDescription(description);
  const now = new Date();
  const wanted = { roleId, scopes: ordered(scopes), description };
  const by = await authorOf(caller);
  const role = await store.transaction(async ({ roles, audit }) => {
    let others: readonly Role[] | undefined;
    const after = await roles.change(roleId, (present, all) => {
      if (present === undefined) {
        checkTogether([...all, wanted], resolver);
        others = all;
        return { ...wanted, created: now, lastModified: now };
      }
      if (present.description !== wanted.description || !isSame(present.scopes, wanted.scopes)) {
        throw new ApiError('RequestConflict', `Role with roleId '${roleId}' already exists`);
      }
      return present;
    });
    if (others !== undefined) {
      const grants = await grantsOf(roleId, others, [...others, wanted], resolver);
      await audit.add(noteOf(by, roleId, 'created', grants));
    }
    return after;
  });
  resolver.rolesChanged();
  return found(role, roleId);
}

/** @throws ApiError */
export async function updateRole(
  { authorize, ...caller }: RoleWriter,
  { roleId, scopes, description }: WantedRole,
  { store, resolver }: RoleContext,
): Promise<Role> {
  // A caller that may not change the role at all does not learn whether it exists.
  await authorize({ roleId, scopesAdded: [] });
  checkGrantable(scopes);
  checkDescription(description);
  let after: Role | undefined;
  while (after === undefined) {
    const before = found(await get(store, roleId), roleId);
    const held = await resolver.expandScopes(before.scopes);
    const isHeld = granting(held);
    const scopesAdded = scopes.filter((scope) => !isHeld(scope));
    await authorize({ roleId, scopesAdded });
    const by = await authorOf(caller);
    after = await update({ store, resolver, by }, before, { scopes, description });
  }
  resolver.rolesChanged();
  return after;
}

/** Changes the role, unless its scopes have changed meanwhile. */
async function update(
  { store, resolver, by }: RoleContext & { readonly by: Author },
  { roleId, scopes: before }: Role,
  { scopes, description }: Pick<Role, 'scopes' | 'description'>,
): Promise<Role | undefined> {
  return store.transaction(async ({ roles, audit }) => {
    let together: readonly [before: readonly Role[], after: readonly Role[]] | undefined;
    const role = await roles.change(roleId, (role, all) => {
      const present = found(role, roleId);
      if (!isSame(present.scopes, before)) {
        return present;
      }
      const after = { ...present, scopes, description, lastModified: new Date() };
      together = [all, all.map((each) => (each === present ? after : each))];
      checkTogether(together[1], resolver);
      return after;
    });
    if (together === undefined) {
      return undefined;
    }
    const grants = await grantsOf(roleId, ...together, resolver);
    await audit.add(noteOf(by, roleId, 'updated', grants));
    return role;
  });
}

function declareRemoval(auth: Auth): void {
  auth.declare(
    {
      name: 'deleteRole',
      method: 'delete',
      route: '/roles/:roleId',
      title: 'Delete Role',
      description: 'Removes the role, if there is one.',
      category: CATEGORY,
      scopes: 'auth:delete-role:<roleId>',
    },
    async ({ params: { roleId }, ...caller }, { store, resolver }) => {
      const by = await authorOf(caller);
      await store.transaction(async ({ roles, audit }) => {
        let before: readonly Role[] = [];
        await roles.change(roleId, (_, all) => {
          before = all;
          return undefined;
        });
        const after = before.filter((role) => role.roleId !== roleId);
        const grants = await grantsOf(roleId, before, after, resolver);
        await audit.add(noteOf(by, roleId, 'deleted', grants));
      });
      resolver.rolesChanged();
      return undefined;
    },
  );
}

function grantsOf(
  roleId: string,
  before: readonly RoleScopes[],
  after: readonly RoleScopes[],
  resolver: ScopeResolver,
): Promise<GrantChange | undefined> {
  return resolver.grantChanges.ofRole(roleId, before, after, (roles) =>
    resolver.expansionOf(roles),
  );
}

function noteOf(
  by: Author,
  entityId: string,
  actionType: AuditEntry['actionType'],
  grants: GrantChange | undefined,
): AuditEntry {
  return { entityType: 'role', entityId, ...by, actionType, grants };
}

async function get(store: Store, roleId: string): Promise<Role | undefined> {
  return (await store.roles.all()).find((role) => role.roleId === roleId);
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** @throws ApiError */
function checkTogether(roles: readonly RoleScopes[], resolver: ScopeResolver): void {
  try {
    resolver.checkRoles(roles);
  } catch (error) {
    throw error instanceof RoleError ? new ApiError('InputError', error.message) : error;
  }
}

function found(role: Role | undefined, roleId: string): Role {
  if (role === undefined) {
    throw new ApiError('ResourceNotFound', `Role with roleId '${roleId}' not found`);
  }
  return role;
}

async function roleJson(role: Role, resolver: ScopeResolver) {
  return { ...role, expandedScopes: await resolver.expandScopes([`assume:${role.roleId}`]) };
}

function rolesJson(roles: readonly Role[], resolver: ScopeResolver) {
  return eachInSlices(roles, (role) => roleJson(role, resolver));
}
