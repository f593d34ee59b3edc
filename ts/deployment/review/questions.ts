/**
 * The questions of a review and their answers, for commands and pages: what a subject may do, what other
 * roles would change, and why.
 */
import { RoleExpansion, type RoleScopes } from '../auth/roles.js';
import { type Exposure, exposure, exposureTo } from '../exposure.js';
import { reasons } from './reasons.js';
import { grantedTo, heldBy, heldUnder, type Source, type Subject } from './subject.js';
import type { Tree } from './tree.js';
import { withRoles } from './what-if.js';

/** The endpoints that the subject may use now. */
export async function exposureNow(source: Source, subject: Subject): Promise<Exposure[]> {
  return exposure(await source.references(), await heldBy(source, subject));
}

/** The same under the wanted roles, and which of these do not exist yet. @throws RoleError */
export async function exposureIf(
  source: Source,
  subject: Subject,
  now: readonly Exposure[],
  wanted: readonly RoleScopes[],
): Promise<{ readonly rows: Exposure[]; readonly made: readonly string[] }> {
  const roles = await source.roles();
  const there = new Set(roles.map(({ roleId }) => roleId));
  const made = wanted.map(({ roleId }) => roleId).filter((roleId) => !there.has(roleId));
  const held = await heldUnder(withRoles(roles, wanted), source, subject);
  return { rows: exposureTo(now, held), made };
}

/** Why the subject passes one of these endpoints, by the actual or the wanted roles. */
export async function whyOf(
  source: Source,
  subject: Subject,
  row: Exposure,
  wanted: readonly RoleScopes[],
): Promise<Tree> {
  const roles = withRoles(await source.roles(), wanted);
  const granted = await grantedTo(source, subject);
  const [then = row] = exposureTo([row], await heldUnder(roles, source, subject));
  return reasons(then, new RoleExpansion(roles), subject, granted);
}
