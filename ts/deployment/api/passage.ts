/**
 * What can be said of a scope expression template before anybody calls: whether a set of scopes
 * satisfies it whatever its parameters are, for some of them, or never; and which scopes satisfy it
 * for all.
 *
 * A loop counts as one over a list that is not empty: an endpoint that is asked for nothing has
 * nothing to tell.
 */
import { grants } from '../scopes.js';
import type { ScopeTemplate, ScopeTemplatePart } from './scope-template.js';

/** Whether a caller passes. */
export type Passage = 'always' | 'sometimes' | 'never';

/** Whether a caller who holds these scopes passes. */
export function passage(template: ScopeTemplatePart, held: readonly string[]): Passage {
  return passageOf(template, held, 'always');
}

/**
 * @param nothing - What an `if` without its `else` counts as where it leaves nothing: in an `AnyOf`
 *   that is no way to pass.
 */
function passageOf(
  template: ScopeTemplatePart,
  held: readonly string[],
  nothing: Passage,
): Passage {
  if (typeof template === 'string') {
    return best(held.map((scope) => grantedBy(scope, template)));
  }
  if ('AllOf' in template) {
    return worst(template.AllOf.map((part) => passageOf(part, held, 'always')));
  }
  if ('AnyOf' in template) {
    return best(template.AnyOf.map((part) => passageOf(part, held, 'never')));
  }
  if ('for' in template) {
    return passageOf(template.each, held, nothing);
  }
  const [then, otherwise] = [template.then, template.else].map((branch) =>
    branch === undefined ? nothing : passageOf(branch, held, nothing),
  );
  return then !== undefined && then === otherwise ? then : 'sometimes';
}

function best(ways: readonly Passage[]): Passage {
  return ways.includes('always') ? 'always' : ways.includes('sometimes') ? 'sometimes' : 'never';
}

function worst(ways: readonly Passage[]): Passage {
  return ways.includes('never') ? 'never' : ways.includes('sometimes') ? 'sometimes' : 'always';
}

const PARAMETER = /<[a-zA-Z][a-zA-Z0-9_]*>/;

function grantedBy(scope: string, template: string): Passage {
  const texts = template.split(new RegExp(PARAMETER, 'g'));
  const [start = ''] = texts;
  if (texts.length === 1) {
    return grants(scope, template) ? 'always' : 'never';
  }
  if (scope.endsWith('*')) {
    if (grants(scope, start)) {
      return 'always';
    }
    // A parameter may go on as the stem does.
    return scope.slice(0, -1).startsWith(start) ? 'sometimes' : 'never';
  }
  return new RegExp(`^${texts.map(escaped).join('.*')}$`).test(scope) ? 'sometimes' : 'never';
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
}

/**
 * The scopes that satisfy a template whatever its parameters are, or for those values that `given`
 * restricts them to, each of which ends in `*` where anything may follow.
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
    const way = template.AnyOf.find((part) => passageOf(part, ['*'], 'never') === 'always');
    return way === undefined ? [] : sufficient(way, given);
  }
  if ('for' in template) {
    return sufficient(template.each, given);
  }
  const branches: ScopeTemplate[] = [template.then, ...(template.else ? [template.else] : [])];
  return branches.flatMap((branch) => sufficient(branch, given));
}

/** The text up to where anything may stand. */
function upToStar(template: string, given: Readonly<Record<string, string>>): string {
  const filled = template.replace(new RegExp(PARAMETER, 'g'), (parameter) => {
    const name = parameter.slice(1, -1);
    return Object.hasOwn(given, name) ? (given[name] ?? '*') : '*';
  });
  const parameterised = PARAMETER.test(template);
  return parameterised && filled.includes('*') ? filled.slice(0, filled.indexOf('*') + 1) : filled;
}
