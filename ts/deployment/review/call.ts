/**
 * Whether one concrete call passes: the endpoint that a method and a path lead to, its expression
 * filled in from the path, and the scopes that are held.
 *
 * What it is not: it sees no body. Where the expression names what only a body says, the answer
 * depends on it.
 */
import { passageOfCall } from '../api/passage.js';
import type { ApiReference, ReferenceEntry } from '../api/reference.js';
import { fillKnown, needsOnly, render, type ScopeTemplatePart } from '../api/scope-template.js';
import { satisfies } from '../scopes.js';
import { ReviewError } from './subject.js';

export interface Call {
  readonly service: string;
  readonly entry: ReferenceEntry;
  /** What the path says. */
  readonly params: Readonly<Record<string, string>>;
}

export interface Verdict {
  readonly passes: 'yes' | 'no' | 'depends';
  /** With what the path says filled in; `null` where nothing is needed. */
  readonly needs: ScopeTemplatePart | null;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH'];

/** @throws ReviewError where there is no such endpoint */
export function findCall(references: readonly ApiReference[], method: string, path: string): Call {
  const wanted = method.toUpperCase();
  if (!METHODS.includes(wanted)) {
    throw new ReviewError(`'${method}' is not a method: write one of ${METHODS.join(', ')}`);
  }
  const target = pathOf(path);
  const matches = references.flatMap((api) =>
    api.entries.flatMap((entry) => match(api, entry, target)),
  );
  const asked = wanted === 'HEAD' ? 'GET' : wanted;
  const found = matches.filter(({ entry }) => entry.method.toUpperCase() === asked).sort(closest);
  const [first] = found;
  if (first === undefined) {
    const others = [...new Set(matches.map(({ entry }) => entry.method.toUpperCase()))];
    throw new ReviewError(
      `no endpoint of this deployment is called by ${wanted} ${path}: ` +
        (others.length > 0
          ? `that path has ${others.join(', ')}`
          : 'write the path from /api/ on, as /api/queue/v1/task/<taskId>'),
    );
  }
  return first;
}

/** From `/api/` on, without a query: of a URL its path, of a proxy's path what it stands for. */
function pathOf(text: string): string {
  const path = text.replace(/^https?:\/\/[^/]*/, '').replace(/[?#].*$/, '');
  return path.startsWith('/api/') ? path : `/api/${path.replace(/^\//, '')}`;
}

interface Match extends Call {
  /** How much of the path the route itself says. */
  readonly literal: number;
}

function closest(a: Match, b: Match): number {
  return b.literal - a.literal;
}

/** References do not say which parameter stands for many segments: the last may. */
function match(api: ApiReference, entry: ReferenceEntry, path: string): Match[] {
  const route = `/api/${api.serviceName}/${api.apiVersion}${entry.route}`;
  const names: string[] = [];
  const parts = route.split(/<(\w+)>/);
  const source = parts.map((part, index) => {
    if (index % 2 === 0) {
      return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    }
    names.push(part);
    return index === parts.length - 2 && parts.at(-1) === '' ? '(.+)' : '([^/]+)';
  });
  const found = new RegExp(`^${source.join('')}$`).exec(path);
  if (found === null) {
    return [];
  }
  const params = Object.fromEntries(names.map((name, index) => [name, decoded(found[index + 1])]));
  const literal = parts.filter((_, index) => index % 2 === 0).join('').length;
  return [{ service: api.serviceName, entry, params, literal }];
}

function decoded(segment = ''): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new ReviewError(`'${segment}' is no part of a path: write a % of its own as %25`);
  }
}

/** For who holds these scopes, roles expanded. */
export function judge({ entry: { scopes }, params }: Call, held: readonly string[]): Verdict {
  if (scopes === undefined) {
    return { passes: 'yes', needs: null };
  }
  if (needsOnly(scopes, new Set(Object.keys(params)))) {
    const needs = render(scopes, params);
    const passes = needs === null || satisfies(held, needs) ? 'yes' : 'no';
    return { passes, needs: needs as ScopeTemplatePart | null };
  }
  const needs = fillKnown(scopes, params);
  const WORD = { always: 'yes', sometimes: 'depends', never: 'no' } as const;
  return { passes: WORD[passageOfCall(needs, held)], needs };
}
