/**
 * Whether one concrete call passes: it finds the endpoint of a method and a path, fills in its expression
 * from the path, and compares it with the caller's scopes.
 *
 * It sees no body. If the expression has a parameter of the body, the answer depends on the body.
 */
import { passageOfCall } from '../api/passage.js';
import type { ApiReference, ReferenceEntry } from '../api/reference.js';
import {
  areGiven,
  fillKnown,
  listsOfOne,
  parameterKinds,
  render,
  type ScopeTemplatePart,
} from '../api/scope-template.js';
import { satisfies } from '../scopes.js';
import { ReviewError } from './subject.js';

export interface Call {
  readonly service: string;
  readonly entry: ReferenceEntry;
  /** The parameters of the path. */
  readonly params: Readonly<Record<string, string>>;
}

export interface Verdict {
  readonly passes: 'yes' | 'no' | 'depends';
  /** The expression with the parameters of the path; `null` for an endpoint without scopes. */
  readonly needs: ScopeTemplatePart | null;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'PATCH'];

/** @throws ReviewError for an unknown endpoint */
export function findCall(references: readonly ApiReference[], method: string, path: string): Call {
  const wanted = method.toUpperCase();
  if (!METHODS.includes(wanted)) {
    throw new ReviewError(`'${method}' is not a method: write one of ${METHODS.join(', ')}`);
  }
  const target = pathOf(path);
  const matches = matchesOf(references, target);
  const asked = wanted === 'HEAD' ? 'GET' : wanted;
  const [first] = matches.filter(({ route }) => route.method === asked).sort(closest);
  if (first === undefined) {
    const others = [...new Set(matches.map(({ route }) => route.method))];
    throw new ReviewError(
      `no endpoint of this deployment is called by ${wanted} ${path}: ` +
        (others.length > 0
          ? `that path has ${others.join(', ')}`
          : 'write the path from /api/ on, as /api/queue/v1/task/<taskId>'),
    );
  }
  return callOf(first);
}

/** The path from `/api/` on, without a query, of a URL, a path or a path as the proxy takes it. */
function pathOf(text: string): string {
  const path = text.replace(/^https?:\/\/[^/]*/, '').replace(/[?#].*$/, '');
  return path.startsWith('/api/') ? path : `/api/${path.replace(/^\//, '')}`;
}

/** An endpoint's path, ready to be compared with those of many calls. */
interface Route extends Pick<Call, 'service' | 'entry'> {
  /** In capitals. */
  readonly method: string;
  /** The path up to its first parameter. */
  readonly start: string;
  readonly pattern: RegExp;
  readonly names: readonly string[];
  /** Number of characters of the route that are no parameter. */
  readonly literal: number;
}

interface Match {
  readonly route: Route;
  /** The path, and the values of its parameters. */
  readonly found: readonly string[];
}

function matchesOf(references: readonly ApiReference[], path: string): Match[] {
  const matches: Match[] = [];
  for (const api of references) {
    for (const route of path.startsWith(rootOf(api)) ? routesOf(api) : []) {
      const found = path.startsWith(route.start) ? route.pattern.exec(path) : null;
      if (found !== null) {
        matches.push({ route, found });
      }
    }
  }
  return matches;
}

function closest(a: Match, b: Match): number {
  return b.route.literal - a.route.literal;
}

function callOf({ route: { service, entry, names }, found }: Match): Call {
  const params = Object.fromEntries(names.map((name, index) => [name, decoded(found[index + 1])]));
  return { service, entry, params };
}

const ROUTES = new WeakMap<ApiReference, readonly Route[]>();

function routesOf(api: ApiReference): readonly Route[] {
  let routes = ROUTES.get(api);
  if (routes === undefined) {
    routes = api.entries.map((entry) => routeOf(api, entry));
    ROUTES.set(api, routes);
  }
  return routes;
}

function rootOf({ serviceName, apiVersion }: ApiReference): string {
  return `/api/${serviceName}/${apiVersion}`;
}

/** References do not tell which parameter takes several segments: the last one may. */
function routeOf(api: ApiReference, entry: ReferenceEntry): Route {
  const route = `${rootOf(api)}${entry.route}`;
  const names: string[] = [];
  const parts = route.split(/<(\w+)>/);
  const source = parts.map((part, index) => {
    if (index % 2 === 0) {
      return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
    }
    names.push(part);
    return index === parts.length - 2 && parts.at(-1) === '' ? '(.+)' : '([^/]+)';
  });
  return {
    service: api.serviceName,
    entry,
    method: entry.method.toUpperCase(),
    start: parts[0] ?? '',
    pattern: new RegExp(`^${source.join('')}$`),
    names,
    literal: parts.filter((_, index) => index % 2 === 0).join('').length,
  };
}

function decoded(segment = ''): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new ReviewError(`'${segment}' is no part of a path: write a % of its own as %25`);
  }
}

/** Whether a caller with these scopes, roles expanded, passes. */
export function judge({ entry: { scopes }, params }: Call, held: readonly string[]): Verdict {
  if (scopes === undefined) {
    return { passes: 'yes', needs: null };
  }
  const known = { ...listsOfOne(scopes, params), ...params };
  if (areGiven(parameterKinds(scopes), known)) {
    const needs = render(scopes, known);
    const passes = needs === null || satisfies(held, needs) ? 'yes' : 'no';
    return { passes, needs: needs as ScopeTemplatePart | null };
  }
  const needs = fillKnown(scopes, params);
  const WORD = { always: 'yes', sometimes: 'depends', never: 'no' } as const;
  return { passes: WORD[passageOfCall(needs, held)], needs };
}
