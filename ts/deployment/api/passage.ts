/**
 * What can be said of a scope expression template before anybody calls: whether a set of scopes
 * satisfies it whatever its parameters are, for some of them, or never; and which scopes satisfy it
 * for all.
 *
 * A loop counts as one over a list that is not empty: an endpoint that is asked for nothing has
 * nothing to tell.
 */
import type { ScopeTemplate, ScopeTemplatePart } from './scope-template.js';

/** Whether a caller passes. */
export type Passage = 'always' | 'sometimes' | 'never';

/** Whether whoever holds these scopes passes. */
export function passage(template: ScopeTemplatePart, held: readonly string[]): Passage {
  if (typeof template === 'string') {
    return best(held.map((scope) => grantedBy(scope, template)));
  }
  if ('AllOf' in template) {
    return worst(template.AllOf.map((part) => passage(part, held)));
  }
  if ('AnyOf' in template) {
    return best(template.AnyOf.map((part) => passage(part, held)));
  }
  if ('for' in template) {
    return passage(template.each, held);
  }
  const ways = [
    passage(template.then, held),
    template.else === undefined ? 'always' : passage(template.else, held),
  ] as const;
  return ways[0] === ways[1] ? ways[0] : 'sometimes';
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
  if (scope.endsWith('*')) {
    const stem = scope.slice(0, -1);
    if (start.startsWith(stem)) {
      return 'always';
    }
    // A parameter may go on as the stem does.
    return texts.length > 1 && stem.startsWith(start) ? 'sometimes' : 'never';
  }
  if (texts.length === 1) {
    return scope === template ? 'always' : 'never';
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
    const [first] = template.AnyOf;
    return first === undefined ? [] : sufficient(first, given);
  }
  if ('for' in template) {
    return sufficient(template.each, given);
  }
  const branches: ScopeTemplate[] = [template.then, ...(template.else ? [template.else] : [])];
  return branches.flatMap((branch) => sufficient(branch, given));
}

/** The text up to where anything may stand. */
function upToStar(template: string, given: Readonly<Record<string, string>>): string {
  const filled = template.replace(
    new RegExp(PARAMETER, 'g'),
    (parameter) => given[parameter.slice(1, -1)] ?? '*',
  );
  const parameterised = PARAMETER.test(template);
  return parameterised && filled.includes('*') ? filled.slice(0, filled.indexOf('*') + 1) : filled;
}
