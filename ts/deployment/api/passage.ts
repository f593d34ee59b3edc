/**
 * Analyses a scope expression template without a call: whether a set of scopes satisfies it for all
 * parameters, for some or for none; and which scopes satisfy it for all.
 *
 * A loop counts as one over a list that is not empty: a call about nothing reveals nothing.
 */
import { grants } from '../scopes.js';
import type { ScopeTemplate, ScopeTemplatePart } from './scope-template.js';

/** Whether a caller passes. */
export type Passage = 'always' | 'sometimes' | 'never';

/** Whether a caller with these scopes passes. */
export function passage(template: ScopeTemplatePart, held: readonly string[]): Passage {
  return passageOf(template, held, { nothing: 'always', mayBeEmpty: false });
}

/** The same for one call with unknown lists, which may be empty. */
export function passageOfCall(template: ScopeTemplatePart, held: readonly string[]): Passage {
  return passageOf(template, held, { nothing: 'always', mayBeEmpty: true });
}

interface Counting {
  /**
   * The value of an `if` without an `else` if its condition is false: in an `AnyOf` it is no way to pass.
   */
  readonly nothing: Passage;
  readonly mayBeEmpty: boolean;
}

function passageOf(
  template: ScopeTemplatePart,
  held: readonly string[],
  counting: Counting,
): Passage {
  if (typeof template === 'string') {
    return best(held.map((scope) => grantedBy(scope, template)));
  }
  if ('AllOf' in template) {
    const each = { ...counting, nothing: 'always' } as const;
    return worst(template.AllOf.map((part) => passageOf(part, held, each)));
  }
  if ('AnyOf' in template) {
    const each = { ...counting, nothing: 'never' } as const;
    return best(template.AnyOf.map((part) => passageOf(part, held, each)));
  }
  const { nothing, mayBeEmpty } = counting;
  if ('for' in template) {
    const passes = passageOf(template.each, held, counting);
    return mayBeEmpty && nothing === 'always' && passes === 'never' ? 'sometimes' : passes;
  }
  const [then, otherwise] = [template.then, template.else].map((branch) =>
    branch === undefined ? nothing : passageOf(branch, held, counting),
  );
  return then !== undefined && then === otherwise ? then : 'sometimes';
}

/** Those of the scopes that grant a scope of the template, for some of its parameters or for all. */
export function granters(template: ScopeTemplatePart, held: readonly string[]): string[] {
  const wanted = scopesOf(template);
  return held.filter((scope) => wanted.some((each) => grantedBy(scope, each) !== 'never'));
}

/** Every scope in a template. */
function scopesOf(template: ScopeTemplatePart): string[] {
  if (typeof template === 'string') {
    return [template];
  }
  if ('AllOf' in template) {
    return template.AllOf.flatMap(scopesOf);
  }
  if ('AnyOf' in template) {
    return template.AnyOf.flatMap(scopesOf);
  }
  if ('for' in template) {
    return [template.each];
  }
  return [template.then, ...(template.else === undefined ? [] : [template.else])].flatMap(scopesOf);
}

function best(ways: readonly Passage[]): Passage {
  return ways.includes('always') ? 'always' : ways.includes('sometimes') ? 'sometimes' : 'never';
}

function worst(ways: readonly Passage[]): Passage {
  return ways.includes('never') ? 'never' : ways.includes('sometimes') ? 'sometimes' : 'always';
}

const PARAMETER = /<[a-zA-Z][a-zA-Z0-9_]*>/;

function grantedBy(scope: string, template: string): Passage {
  const at = template.indexOf('<');
  const head = at < 0 ? template : template.slice(0, at);
  // Most scopes belong to another service, and there may be ten thousand.
  if (!(scope.startsWith(head) || (scope.endsWith('*') && head.startsWith(scope.slice(0, -1))))) {
    return 'never';
  }
  const texts = template.split(new RegExp(PARAMETER, 'g'));
  const [start = ''] = texts;
  if (texts.length === 1) {
    return grants(scope, template) ? 'always' : 'never';
  }
  if (scope.endsWith('*')) {
    if (grants(scope, start)) {
      return 'always';
    }
    // A parameter may begin like the rest of the stem.
    return scope.slice(0, -1).startsWith(start) ? 'sometimes' : 'never';
  }
  return new RegExp(`^${texts.map(escaped).join('.*')}$`).test(scope) ? 'sometimes' : 'never';
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

/**
 * The scopes that satisfy a template for all parameters, or for the values in `given`; a value that ends in
 * `*` stands for all with that prefix.
 */
export function sufficient(
  template: ScopeTemplatePart,
  given: Readonly<Record<string, string>> = {},
): string[] {
  if (typeof template === 'string') {
    return [upToStar(template, given)];
  }
  if ('AllOf' in template) {
    return template.AllOf.flatMap((part) => sufficient(part, given));
  }
  if ('AnyOf' in template) {
    const way = template.AnyOf.find((part) => passageOf(part, ['*'], NO_WAY) === 'always');
    return way === undefined ? [] : sufficient(way, given);
  }
  if ('for' in template) {
    return sufficient(template.each, given);
  }
  const branches: ScopeTemplate[] = [template.then, ...(template.else ? [template.else] : [])];
  return branches.flatMap((branch) => sufficient(branch, given));
}

const NO_WAY: Counting = { nothing: 'never', mayBeEmpty: false };

/** The text up to the first `*`. */
function upToStar(template: string, given: Readonly<Record<string, string>>): string {
  const filled = template.replace(new RegExp(PARAMETER, 'g'), (parameter) => {
    const name = parameter.slice(1, -1);
    return Object.hasOwn(given, name) ? (given[name] ?? '*') : '*';
  });
  const parameterised = PARAMETER.test(template);
  return parameterised && filled.includes('*') ? filled.slice(0, filled.indexOf('*') + 1) : filled;
}
