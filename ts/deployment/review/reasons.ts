/**
 * Why a subject passes an endpoint: from each scope that the endpoint needs, over the scopes that grant it
 * and the roles that have those, to the subject's own scopes. It lists all ways, since an operator who
 * closes an endpoint must close each of them.
 */
import { granters, type Passage, passage } from '../api/passage.js';
import type { ScopeTemplatePart } from '../api/scope-template.js';
import type { Origin, RoleExpansion } from '../auth/roles.js';
import type { Exposure } from '../exposure.js';
import { ANONYMOUS, described, type Subject } from './subject.js';
import type { Tree } from './tree.js';
import { WORDS } from './wording.js';

/** @param granted - The subject's own scopes, roles not expanded. */
export async function reasons(
  row: Exposure,
  expansion: RoleExpansion,
  subject: Subject,
  granted: readonly string[],
): Promise<Tree> {
  const origins = await expansion.origins([...granted, ANONYMOUS]);
  const text = `${row.service}.${row.endpoint}: ${WORDS[row.passes]}`;
  if (row.scopes === null) {
    return { text: `${row.service}.${row.endpoint}: needs no scopes`, parts: [] };
  }
  const ways = new Ways(origins, granted, described(subject));
  return { text, parts: [ways.to(row.scopes)] };
}

class Ways {
  readonly #origins: ReadonlyMap<string, readonly Origin[]>;
  readonly #granted: ReadonlySet<string>;
  readonly #who: string;
  readonly #held: readonly string[];
  readonly #explained = new Set<string>();

  constructor(
    origins: ReadonlyMap<string, readonly Origin[]>,
    granted: readonly string[],
    who: string,
  ) {
    this.#origins = origins;
    this.#granted = new Set(granted);
    this.#who = who;
    this.#held = [...origins.keys()];
  }

  to(template: ScopeTemplatePart): Tree {
    if (typeof template === 'string') {
      const found = granters(template, this.#held);
      const nothing = [{ text: `nothing that ${this.#who} holds grants it`, parts: [] }];
      const parts = found.length === 0 ? nothing : found.map((scope) => this.#from(scope));
      return { text: `${template}: ${this.#word(template)}`, parts };
    }
    if ('AllOf' in template) {
      return this.#several('all of', template, template.AllOf);
    }
    if ('AnyOf' in template) {
      return this.#several('any of', template, template.AnyOf);
    }
    if ('for' in template) {
      return this.#several(`for each of ${template.in}`, template, [template.each]);
    }
    const branches = [
      { text: `if ${template.if}`, parts: [this.to(template.then)] },
      ...(template.else === undefined
        ? []
        : [{ text: `if not ${template.if}`, parts: [this.to(template.else)] }]),
    ];
    return { text: `as ${template.if} is: ${this.#word(template)}`, parts: branches };
  }

  #several(title: string, whole: ScopeTemplatePart, parts: readonly ScopeTemplatePart[]): Tree {
    const [first] = parts;
    return parts.length === 1 &&
      first !== undefined &&
      typeof whole === 'object' &&
      !('for' in whole)
      ? this.to(first)
      : { text: `${title}: ${this.#word(whole)}`, parts: parts.map((part) => this.to(part)) };
  }

  #word(template: ScopeTemplatePart): string {
    const passes: Passage = passage(template, this.#held);
    return WORDS[passes];
  }

  /** Explains each scope once. */
  #from(scope: string): Tree {
    const own = this.#granted.has(scope) ? [{ text: `granted to ${this.#who}`, parts: [] }] : [];
    const all = scope === ANONYMOUS ? [{ text: 'which every caller has', parts: [] }] : [];
    if (this.#explained.has(scope)) {
      return { text: `${scope} (see above)`, parts: [] };
    }
    this.#explained.add(scope);
    const roles = (this.#origins.get(scope) ?? []).map(({ roleId, assumedBy }) => ({
      text: `the role ${roleId}`,
      parts: [this.#from(assumedBy)],
    }));
    return { text: scope, parts: [...own, ...all, ...roles] };
  }
}
