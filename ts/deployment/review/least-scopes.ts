/**
 * The fewest and narrowest scopes that would have sufficed for the calls of an audit log, by the
 * declarations of a deployment's endpoints.
 *
 * It sees no body. Where an expression depends on a task, the deployment tells the definition of the task that a
 * call has created, or acts on. It reports a call as unknown if a parameter of its expression is still missing. It
 * expands no roles.
 */
import type { ApiReference, ReferenceEntry } from '../api/reference.js';
import {
  areGiven,
  fillKnown,
  listsOfOne,
  type ParameterKind,
  parameterKinds,
  render,
  type ScopeParameters,
  type ScopeTemplate,
  type ScopeTemplatePart,
} from '../api/scope-template.js';
import { granting, grants, type ScopeExpression, satisfies, union } from '../scopes.js';
import { Slice } from '../turns.js';
import type { AuditLine } from './audit-log.js';
import { type Call, findCall } from './call.js';
import { ReviewError } from './subject.js';

/** A call with unknown scopes, and the reason. */
export interface Unknown {
  readonly call: string;
  readonly why: string;
  /** The endpoint, or a code: `refused`, `no-endpoint`. */
  readonly reason: string;
  /** The expression with the known parameters filled in, if there is one. */
  readonly needs?: ScopeTemplatePart;
  /** The task whose definition may contain the missing parameters. */
  readonly taskId?: string;
}

/** A call with known scopes, by the name of its API method. */
export interface KnownCall {
  readonly call: string;
  /** As `queue.createTask`. */
  readonly endpoint: string;
  readonly needs: ScopeExpression | null;
}

/** Tells the definition of a task; undefined for one that cannot be read. */
export type TaskReader = (taskId: string) => Promise<object | undefined>;

export interface LeastScopes {
  /** The calls of the deployment that could be judged, each once, in their order. */
  readonly calls: readonly KnownCall[];
  /** In normal form: without any one of them, one of the calls would have been refused. */
  readonly scopes: readonly string[];
  readonly unknown: readonly Unknown[];
  /** The scopes that the calls were signed with; `null` for all scopes of permanent credentials. */
  readonly had: readonly string[] | null;
  /** The task's scopes that no call has used, without roles. */
  readonly unused: readonly string[];
  /** The task's scopes that end in `*` and could be narrower. */
  readonly tooWide: readonly string[];
}

/**
 * @param rootUrl - Calls of other hosts need no scopes of this deployment.
 * @param readTask - Reads the tasks of calls that cannot be judged without them.
 */
export async function leastScopes(
  lines: Iterable<AuditLine> | AsyncIterable<AuditLine>,
  references: readonly ApiReference[],
  rootUrl: string,
  readTask: TaskReader = async () => undefined,
): Promise<LeastScopes> {
  const needs = new CallNeeds({ references, rootUrls: [rootUrl], readTask });
  const sets = new DistinctSets();
  const slice = new Slice();
  const calls = new Map<string, KnownCall>();
  const unknown = new Map<string, Unknown>();
  for await (const line of lines) {
    const signed = signedCall(line);
    if (signed !== undefined) {
      sets.add(line.authorizedScopes ?? line.scopes);
      const found = await needs.of(signed);
      if (found !== null && 'why' in found) {
        unknown.set(`${found.call} ${found.why}`, found);
      } else if (found !== null) {
        calls.set(`${found.call} ${JSON.stringify(found.needs)}`, found);
      }
    }
    if (slice.isOver) {
      await slice.next();
    }
  }
  return fitting(sets.values(), [...calls.values()], [...unknown.values()]);
}

/** The sets of scopes that signed calls; most lines have the set of the line before. */
class DistinctSets {
  readonly #sets = new Map<string, readonly string[] | undefined>();
  #last: readonly string[] | undefined;

  add(set: readonly string[] | undefined): void {
    const last = this.#last;
    const isLast =
      set?.length === last?.length && set?.every((scope, at) => scope === last?.[at]) === true;
    if (!isLast) {
      this.#sets.set(JSON.stringify(set ?? null), set);
      this.#last = set;
    }
  }

  values(): (readonly string[] | undefined)[] {
    return [...this.#sets.values()];
  }
}

function fitting(
  sets: readonly (readonly string[] | undefined)[],
  calls: readonly KnownCall[],
  unknown: readonly Unknown[],
): LeastScopes {
  const known = sets.filter((set) => set !== undefined);
  const had = known.length < sets.length ? null : union(...known);
  const needs = calls.flatMap((call) => (call.needs === null ? [] : [call.needs]));
  const scopes = fewest(needs, had ?? []);
  const judged = (had ?? []).filter((scope) => !scope.startsWith('assume:'));
  const uses = (held: string) => scopes.filter((scope) => grants(held, scope));
  return {
    calls,
    scopes,
    unknown,
    had,
    unused: judged.filter((held) => uses(held).length === 0),
    tooWide: judged.filter((held) => uses(held).length > 0 && !scopes.includes(held)),
  };
}

/** The fields of a task's definition that expressions name. */
interface TaskFields {
  readonly provisionerId: string;
  readonly workerType: string;
  readonly taskQueueId?: string;
  readonly projectId?: string;
  readonly schedulerId: string;
  readonly taskGroupId: string;
  readonly scopes?: readonly string[];
  readonly routes?: readonly string[];
  readonly priority: string;
}

function parametersOf(definition: TaskFields): ScopeParameters {
  const { provisionerId, workerType, schedulerId, taskGroupId, priority } = definition;
  const { taskQueueId = `${provisionerId}/${workerType}`, projectId = 'none' } = definition;
  const { scopes = [], routes = [] } = definition;
  const ids = { provisionerId, workerType, taskQueueId, projectId, schedulerId, taskGroupId };
  // A scope for a higher priority would do, too, but is wider.
  return { ...ids, scopes, routes, priorities: [priority] };
}

// === What a call needs ===

/** A call that the proxy has signed. */
export interface SignedCall {
  readonly method: string;
  readonly url: string;
  readonly status: number | null;
}

/** The call that a line's signature is for, which may be one by a signed URL; undefined without a signature. */
export function signedCall(line: AuditLine): SignedCall | undefined {
  const { method, upstream = '', signedUrl, status, tries = 0 } = line;
  if (signedUrl !== undefined) {
    return { method: 'GET', url: signedUrl, status: null };
  }
  return tries > 0 ? { method, url: upstream, status } : undefined;
}

export interface CallNeedsOptions {
  readonly references: readonly ApiReference[];
  /** The root URLs of the deployment. */
  readonly rootUrls: readonly string[];
  readonly readTask: TaskReader;
}

/** Most definitions of tasks that are kept. */
const KEPT_TASKS = 1000;

/** Tells what calls need, one after the other. */
export class CallNeeds {
  readonly #references: readonly ApiReference[];
  readonly #roots: readonly string[];
  readonly #readTask: TaskReader;
  /** What a task's definition gives to expressions, by the task's id. */
  readonly #tasks = new Map<string, ScopeParameters>();

  constructor({ references, rootUrls, readTask }: CallNeedsOptions) {
    this.#references = references;
    this.#roots = rootUrls.map((rootUrl) => `${rootUrl.replace(/\/+$/, '')}/`);
    this.#readTask = readTask;
  }

  /** `null` for a call of another host. */
  async of(call: SignedCall): Promise<Unknown | KnownCall | null> {
    const found = this.#needOf(call);
    const { taskId } = found !== null && 'why' in found ? found : {};
    if (taskId === undefined) {
      return found;
    }
    await this.#learn(taskId);
    return this.#needOf(call);
  }

  async #learn(taskId: string): Promise<void> {
    if (this.#tasks.has(taskId)) {
      return;
    }
    const definition = await this.#readTask(taskId);
    const [oldest] = this.#tasks.keys();
    if (oldest !== undefined && this.#tasks.size >= KEPT_TASKS) {
      this.#tasks.delete(oldest);
    }
    this.#tasks.set(taskId, definition === undefined ? {} : parametersOf(definition as TaskFields));
  }

  #needOf({ method, url, status }: SignedCall): Unknown | KnownCall | null {
    if (!this.#roots.some((root) => url.startsWith(root))) {
      return null;
    }
    const call = `${method} ${url.replace(/\?.*$/, '')}`;
    const found = this.#needOfKnown(call, method, url);
    if (status !== 401 && status !== 403) {
      return found;
    }
    const why = `it was refused with ${status}: whether the task needs it is not known`;
    const needs = found.needs ?? undefined;
    return { call, why, reason: 'refused', ...(needs && { needs: needs as ScopeTemplatePart }) };
  }

  #needOfKnown(call: string, method: string, url: string): Unknown | KnownCall {
    try {
      return needOfCall(call, findCall(this.#references, method, url), url, this.#tasks);
    } catch (error) {
      if (error instanceof ReviewError) {
        return { call, why: error.message, reason: 'no-endpoint' };
      }
      throw error;
    }
  }
}

function needOfCall(
  call: string,
  { service, entry, params }: Call,
  url: string,
  tasks: ReadonlyMap<string, ScopeParameters>,
): Unknown | KnownCall {
  const { scopes } = entry;
  const endpoint = `${service}.${entry.name}`;
  if (scopes === undefined) {
    return { call, endpoint, needs: null };
  }
  const { kinds, asked } = parametersIn(scopes, entry);
  const known = asked.length === 0 ? params : { ...askedIn(url, asked), ...params };
  const { taskId } = service === 'queue' ? params : {};
  const ofTask = taskId === undefined ? {} : tasks.get(taskId);
  const all = { ...listsOfOne(scopes, params), ...ofTask, ...known };
  if (!areGiven(kinds, all)) {
    const why = `${endpoint} decides by the body or by what it names`;
    const needs = fillKnown(scopes, known);
    return { call, why, reason: endpoint, needs, ...(taskId === undefined ? {} : { taskId }) };
  }
  return { call, endpoint, needs: render(scopes, all) };
}

/** The parameters of an endpoint's expression, and those of them that a query may give. */
interface EndpointParameters {
  readonly kinds: ReadonlyMap<string, ParameterKind>;
  readonly asked: readonly string[];
}

/** They are the same for each call of an endpoint. */
const PARAMETERS = new WeakMap<ReferenceEntry, EndpointParameters>();

function parametersIn(scopes: ScopeTemplate, entry: ReferenceEntry): EndpointParameters {
  let found = PARAMETERS.get(entry);
  if (found === undefined) {
    const kinds = parameterKinds(scopes);
    const { query = [] } = entry;
    found = { kinds, asked: query.filter((name) => kinds.has(name)) };
    PARAMETERS.set(entry, found);
  }
  return found;
}

function askedIn(url: string, names: readonly string[]): Record<string, string> {
  const [, query = ''] = /\?([^#]*)/.exec(url) ?? [];
  const values = new URLSearchParams(query);
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = values.get(name);
      return value === null ? [] : [[name, value] as const];
    }),
  );
}

// === The fewest ===

/** Most ways to satisfy one expression that are examined. */
const WAYS = 256;

/**
 * Scopes that satisfy all expressions, with none to spare. Of several ways it prefers one that is `held`,
 * then the one that adds the fewest scopes, then the narrowest.
 */
export function fewest(needs: readonly ScopeExpression[], held: readonly string[]): string[] {
  const isHeld = granting(held);
  const ways = needs.map(waysOf);
  const forced = union(ways.filter(({ length }) => length === 1).flat(2));
  const choices = ways
    .filter(({ length }) => length > 1)
    .map((all) => {
      const own = all.filter((way) => way.every(isHeld));
      return own.length === 0 ? all : own;
    })
    .sort((a, b) => a.length - b.length);
  let chosen = forced;
  for (const choice of choices) {
    const added = choice.map((way) =>
      way.filter((scope) => !chosen.some((has) => grants(has, scope))),
    );
    const [best = []] = added.sort((a, b) => a.length - b.length || width(a) - width(b));
    chosen = union(chosen, best);
  }
  const isForced = new Set(forced);
  const spare = chosen.filter((scope) => !isForced.has(scope));
  for (const scope of spare.sort((a, b) => a.length - b.length)) {
    const without = chosen.filter((other) => other !== scope);
    if (needs.every((need) => satisfies(without, need))) {
      chosen = without;
    }
  }
  return chosen;
}

/** A longer scope is narrower. */
function width(scopes: readonly string[]): number {
  return -scopes.join('').length;
}

/** The sets of scopes that each satisfy the expression. */
function waysOf(need: ScopeExpression): string[][] {
  if (typeof need === 'string') {
    return [[need]];
  }
  if ('AnyOf' in need) {
    return need.AnyOf.flatMap(waysOf).slice(0, WAYS);
  }
  return need.AllOf.map(waysOf).reduce<string[][]>(
    (ways, more) => ways.flatMap((way) => more.map((other) => [...way, ...other])).slice(0, WAYS),
    [[]],
  );
}
