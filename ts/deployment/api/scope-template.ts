/**
 * Scope expression templates: what an endpoint declares, with `<parameter>` in its scopes,
 * `for … in … each …` over lists and `if … then … else …` over booleans. Filling in the
 * parameters of a request gives the expression that its caller must satisfy.
 */
import type { ScopeExpression } from '../scopes.js';

/** As in Taskcluster's API references. */
export type ScopeTemplate =
  | string
  | { readonly AllOf: readonly ScopeTemplatePart[] }
  | { readonly AnyOf: readonly ScopeTemplatePart[] }
  | {
      readonly if: string;
      readonly then: ScopeTemplate;
      readonly else?: ScopeTemplate;
    };

/** What may stand inside `AllOf` and `AnyOf`: also a loop, which adds a scope for each value. */
export type ScopeTemplatePart =
  | ScopeTemplate
  | { readonly for: string; readonly in: string; readonly each: string };

/** Values for the parameters: text for `<…>`, lists for `in`, booleans for `if`. */
export type ScopeParameters = Readonly<
  Record<string, string | number | boolean | readonly string[]>
>;

/** A template that cannot be read, or a parameter that is missing or of the wrong kind. */
export class ScopeTemplateError extends Error {
  override readonly name = 'ScopeTemplateError';
}

const PARAMETER = /<([a-zA-Z][a-zA-Z0-9_]*)>/g;

/**
 * The expression that remains once the parameters are filled in; `null` where an `if` leaves
 * nothing, which means that nothing is asked of the caller.
 *
 * @throws ScopeTemplateError
 */
export function render(template: ScopeTemplate, given: ScopeParameters): ScopeExpression | null {
  if (typeof template === 'string') {
    return fill(template, given);
  }
  if ('AllOf' in template) {
    return { AllOf: template.AllOf.flatMap((part) => renderPart(part, given)) };
  }
  if ('AnyOf' in template) {
    return { AnyOf: template.AnyOf.flatMap((part) => renderPart(part, given)) };
  }
  const condition = given[template.if];
  if (typeof condition !== 'boolean') {
    throw new ScopeTemplateError(`scope parameter ${template.if} must be a boolean`);
  }
  const branch = condition ? template.then : template.else;
  return branch === undefined ? null : render(branch, given);
}

/** Whether text parameters of these names are all that the template needs. */
export function needsOnly(template: ScopeTemplate, names: ReadonlySet<string>): boolean {
  if (typeof template === 'string') {
    return parametersOf(template).every((name) => names.has(name));
  }
  const parts = 'AllOf' in template ? template.AllOf : 'AnyOf' in template ? template.AnyOf : null;
  return parts?.every((part) => !isLoop(part) && needsOnly(part, names)) ?? false;
}

function renderPart(part: ScopeTemplatePart, given: ScopeParameters): ScopeExpression[] {
  if (!isLoop(part)) {
    const rendered = render(part, given);
    return rendered === null ? [] : [rendered];
  }
  const values = given[part.in];
  if (!Array.isArray(values)) {
    throw new ScopeTemplateError(`scope parameter ${part.in} must be a list`);
  }
  return values.map((value: string) => fill(part.each, { ...given, [part.for]: value }));
}

function isLoop(
  part: ScopeTemplatePart,
): part is Extract<ScopeTemplatePart, { readonly for: string }> {
  return typeof part === 'object' && 'for' in part;
}

function fill(text: string, given: ScopeParameters): string {
  return text.replace(PARAMETER, (_, name: string) => {
    const value = given[name];
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw new ScopeTemplateError(`scope parameter ${name} must be text`);
    }
    return String(value);
  });
}

function parametersOf(text: string): string[] {
  return [...text.matchAll(PARAMETER)].map(([, name]) => name ?? '');
}
