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
  | Condition;

interface Condition {
  readonly if: string;
  readonly then: ScopeTemplate;
  readonly else?: ScopeTemplate;
}

interface Loop {
  readonly for: string;
  readonly in: string;
  readonly each: string;
}

/** The elements of `AllOf` and `AnyOf`: templates, or loops, which add a scope for each value. */
export type ScopeTemplatePart = ScopeTemplate | Loop;

/** Values for the parameters: text for `<…>`, lists for `in`, booleans for `if`. */
export type ScopeParameters = Readonly<
  Record<string, string | number | boolean | readonly string[]>
>;

/** A malformed template, or a parameter that is missing or of the wrong kind. */
export class ScopeTemplateError extends Error {
  override readonly name = 'ScopeTemplateError';
}

const PARAMETER = /<([a-zA-Z][a-zA-Z0-9_]*)>/g;

const NAME = /^[a-zA-Z][a-zA-Z0-9_]*$/;

/** The kind of a parameter: text for `<…>`, a list for `in`, a boolean for `if`. */
export type ParameterKind = 'text' | 'list' | 'boolean';

/**
 * Checks that a value is a template and uses each parameter as one kind only.
 *
 * @throws ScopeTemplateError
 */
export function checkTemplate(template: ScopeTemplate): void {
  if (typeof template === 'object' && template !== null && 'for' in template) {
    throw new ScopeTemplateError('a scope expression cannot be a loop: put it into an AllOf');
  }
  parameterKinds(template);
}

/**
 * The parameters of a template and their kinds.
 *
 * @throws ScopeTemplateError
 */
export function parameterKinds(template: ScopeTemplatePart): Map<string, ParameterKind> {
  if (typeof template === 'string') {
    if (template === '') {
      throw new ScopeTemplateError('a scope cannot be empty: write one');
    }
    return new Map(parametersOf(template).map((name) => [name, 'text']));
  }
  const isObject = typeof template === 'object' && template !== null;
  switch (isObject ? Object.keys(template).sort().join() : '') {
    case 'AllOf':
    case 'AnyOf':
      return kindsOfParts(template);
    case 'each,for,in':
      return kindsOfLoop(template as Loop);
    case 'if,then':
    case 'else,if,then':
      return kindsOfCondition(template as Condition);
    default:
      throw noTemplate(template);
  }
}

function noTemplate(value: unknown): ScopeTemplateError {
  return new ScopeTemplateError(
    `${JSON.stringify(value)} is no scope expression: write text, AllOf, AnyOf, for/in/each or if/then/else`,
  );
}

function kindsOfParts(template: object): Map<string, ParameterKind> {
  const [parts] = Object.values(template);
  if (!Array.isArray(parts)) {
    throw noTemplate(template);
  }
  if (parts.length === 0) {
    throw new ScopeTemplateError(
      `${JSON.stringify(template)} is empty, so it needs no scope or never passes: write its scopes`,
    );
  }
  return merged(...Array.from(parts, (part: ScopeTemplatePart) => parameterKinds(part)));
}

function kindsOfLoop({ for: variable, in: list, each }: Loop): Map<string, ParameterKind> {
  const lists = new Map([[named(list), 'list' as const]]);
  if (typeof each !== 'string') {
    throw new ScopeTemplateError(`the each of a loop over ${list} must be text`);
  }
  const kinds = parameterKinds(each);
  kinds.delete(named(variable));
  return merged(lists, kinds);
}

function kindsOfCondition(condition: Condition): Map<string, ParameterKind> {
  const branches = [condition.then, ...(condition.else === undefined ? [] : [condition.else])];
  for (const branch of branches) {
    checkTemplate(branch);
  }
  return merged(new Map([[named(condition.if), 'boolean']]), ...branches.map(parameterKinds));
}

function named(name: string): string {
  if (typeof name !== 'string') {
    throw new ScopeTemplateError(`${JSON.stringify(name)} is no name for a scope parameter`);
  }
  if (!NAME.test(name)) {
    throw new ScopeTemplateError(`'${name}' is no name for a scope parameter`);
  }
  return name;
}

function merged(
  ...maps: readonly ReadonlyMap<string, ParameterKind>[]
): Map<string, ParameterKind> {
  const kinds = new Map<string, ParameterKind>();
  for (const [name, kind] of maps.flatMap((map) => [...map])) {
    const other = kinds.get(name);
    if (other !== undefined && other !== kind) {
      throw new ScopeTemplateError(`scope parameter ${name} cannot be both ${other} and ${kind}`);
    }
    kinds.set(name, kind);
  }
  return kinds;
}

/**
 * The expression with the parameters filled in; `null` if an `if` leaves nothing, so that the caller needs
 * no scopes.
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

/** Whether text parameters of these names suffice to fill in the template. */
export function needsOnly(template: ScopeTemplate, names: ReadonlySet<string>): boolean {
  return [...parameterKinds(template)].every(([name, kind]) => kind === 'text' && names.has(name));
}

/** Whether these parameters, each of its kind, suffice to fill in a template that has those of `kinds`. */
export function areGiven(
  kinds: ReadonlyMap<string, ParameterKind>,
  given: ScopeParameters,
): boolean {
  for (const [name, kind] of kinds) {
    if (!isOfKind(given[name], kind)) {
      return false;
    }
  }
  return true;
}

function isOfKind(value: ScopeParameters[string] | undefined, kind: ParameterKind): boolean {
  if (kind === 'text') {
    return typeof value === 'string' || typeof value === 'number';
  }
  return kind === 'list' ? Array.isArray(value) : typeof value === 'boolean';
}

/**
 * The lists of those loops that go over one parameter of the path: where the path has a `name`, the list of
 * `for name in names` has this one value.
 */
export function listsOfOne(
  template: ScopeTemplatePart,
  path: Readonly<Record<string, string>>,
): Record<string, readonly string[]> {
  if (typeof template === 'string') {
    return {};
  }
  if (isLoop(template)) {
    const value = Object.hasOwn(path, template.for) ? path[template.for] : undefined;
    return value === undefined ? {} : { [template.in]: [value] };
  }
  const parts: readonly ScopeTemplatePart[] =
    'AllOf' in template
      ? template.AllOf
      : 'AnyOf' in template
        ? template.AnyOf
        : [template.then, ...(template.else === undefined ? [] : [template.else])];
  return Object.assign({}, ...parts.map((part) => listsOfOne(part, path)));
}

/** The template with the given text parameters filled in; the others stay. */
export function fillKnown(
  template: ScopeTemplatePart,
  given: Readonly<Record<string, string>>,
): ScopeTemplatePart {
  if (typeof template === 'string') {
    return template.replace(PARAMETER, (parameter, name: string) =>
      Object.hasOwn(given, name) ? (given[name] ?? parameter) : parameter,
    );
  }
  if ('AllOf' in template) {
    return { AllOf: template.AllOf.map((part) => fillKnown(part, given)) };
  }
  if ('AnyOf' in template) {
    return { AnyOf: template.AnyOf.map((part) => fillKnown(part, given)) };
  }
  if (isLoop(template)) {
    const { [template.for]: _, ...outside } = given;
    return { ...template, each: fillKnown(template.each, outside) as string };
  }
  const { then, else: otherwise } = template;
  return {
    if: template.if,
    // biome-ignore lint/suspicious/noThenProperty: scope expression templates have it
    then: fillKnown(then, given) as ScopeTemplate,
    ...(otherwise && { else: fillKnown(otherwise, given) as ScopeTemplate }),
  };
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

function isLoop(part: ScopeTemplatePart): part is Loop {
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
