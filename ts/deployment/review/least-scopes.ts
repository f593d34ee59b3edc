/**
 * The fewest and narrowest scopes that would have sufficed for the calls of an audit log, by the
 * declarations of a deployment's endpoints.
 *
 * It sees no body. What an expression asks of a task, the deployment tells: the definition of the task that a call
 * has created, or acts on. It reports a call as unknown if a parameter of its expression is still missing. It
 * expands no roles.
 */
import type { ApiReference } from '../api/reference.js';
import {
  fillKnown,
  isFilledBy,
  listsOfOne,
  render,
  type ScopeParameters,
  type ScopeTemplatePart,
} from '../api/scope-template.js';
import { granting, grants, type ScopeExpression, satisfies, union } from '../scopes.js';
import { type Call, findCall } from './call.js';
import { ReviewError } from './subject.js';

/** The fields of an audit log's line that matter here. */
export interface AuditLine {
  readonly method: string;
  readonly upstream?: string;
  readonly verdict: string;
  readonly status: number | null;
  readonly tries?: number;
  readonly scopes?: readonly string[];
  readonly authorizedScopes?: readonly string[];
}

/** A call with unknown scopes, and the reason. */
export interface Unknown {
  readonly call: string;
  readonly why: string;
  /** The expression with the known parameters filled in, if there is one. */
  readonly needs?: ScopeTemplatePart;
  /** The task whose definition could tell. */
  readonly taskId?: string;
}

/** A call whose scopes are known, by the name of its API method. */
export interface KnownCall {
  readonly call: string;
  /** As `queue.createTask`. */
  readonly endpoint: string;
  readonly needs: ScopeExpression | null;
}

/** Tells the definition of a task; undefined for one that cannot be read. */
export type TaskReader = (taskId: string) => Promise<object | undefined>;

/** What a task's definition gives to expressions, by the task's id. */
type Tasks = ReadonlyMap<string, ScopeParameters>;

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
 * @param readTask - Asked for the tasks of calls that cannot be judged without.
 */
export async function leastScopes(
  lines: readonly AuditLine[],
  references: readonly ApiReference[],
  rootUrl: string,
  readTask: TaskReader = async () => undefined,
): Promise<LeastScopes> {
  const signed = lines.filter(({ tries = 0 }) => tries > 0);
  const had = heldBy(signed);
  const calls = new Map<string, KnownCall>();
  const unknown = new Map<string, Unknown>();
  const sort = (found: KnownCall | Unknown | null) => {
    if (found !== null && 'why' in found) {
      unknown.set(`${found.call} ${found.why}`, found);
    } else if (found !== null) {
      calls.set(`${found.call} ${JSON.stringify(found.needs)}`, found);
    }
  };
  const tasks = new Map<string, ScopeParameters>();
  for (const line of signed) {
    const found = needOf(line, references, rootUrl, tasks);
    const { taskId } = found !== null && 'why' in found ? found : {};
    if (taskId !== undefined && !tasks.has(taskId)) {
      const definition = await readTask(taskId);
      tasks.set(taskId, definition === undefined ? {} : parametersOf(definition as TaskFields));
    }
    sort(taskId === undefined ? found : needOf(line, references, rootUrl, tasks));
  }
  const needs = [...calls.values()].flatMap((call) => (call.needs === null ? [] : [call.needs]));
  const scopes = fewest(needs, had ?? []);
  const judged = (had ?? []).filter((scope) => !scope.startsWith('assume:'));
  const uses = (held: string) => scopes.filter((scope) => grants(held, scope));
  return {
    calls: [...calls.values()],
    scopes,
    unknown: [...unknown.values()],
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

function heldBy(signed: readonly AuditLine[]): readonly string[] | null {
  const sets = signed.map(({ authorizedScopes, scopes }) => authorizedScopes ?? scopes);
  const known = sets.filter((set) => set !== undefined);
  return known.length < sets.length ? null : union(...known);
}

/** `null` for a call of another host. */
function needOf(
  { method, upstream = '', status }: AuditLine,
  references: readonly ApiReference[],
  rootUrl: string,
  tasks: Tasks,
): Unknown | KnownCall | null {
  const call = `${method} ${upstream.replace(/\?.*$/, '')}`;
  if (status === 401 || status === 403) {
    return { call, why: `it was refused with ${status}: whether the task needs it is not known` };
  }
  const root = rootUrl.replace(/\/+$/, '');
  if (!upstream.startsWith(`${root}/`)) {
    return null;
  }
  try {
    return needOfCall(call, findCall(references, method, upstream), new URL(upstream), tasks);
  } catch (error) {
    if (error instanceof ReviewError) {
      return { call, why: error.message };
    }
    throw error;
  }
}

function needOfCall(
  call: string,
  { service, entry, params }: Call,
  { searchParams }: URL,
  tasks: Tasks,
): Unknown | KnownCall {
  const { scopes, query = [] } = entry;
  const endpoint = `${service}.${entry.name}`;
  if (scopes === undefined) {
    return { call, endpoint, needs: null };
  }
  const asked = query.flatMap((name) => {
    const value = searchParams.get(name);
    return value === null ? [] : [[name, value] as const];
  });
  const known: Record<string, string> = { ...Object.fromEntries(asked), ...params };
  const { taskId } = service === 'queue' ? params : {};
  const ofTask = taskId === undefined ? {} : tasks.get(taskId);
  const all = { ...listsOfOne(scopes, params), ...ofTask, ...known };
  if (!isFilledBy(scopes, all)) {
    const why = `${endpoint} decides by the body or by what it names`;
    const needs = fillKnown(scopes, known);
    return { call, why, needs, ...(taskId === undefined ? {} : { taskId }) };
  }
  return { call, endpoint, needs: render(scopes, all) };
}

// === The fewest ===

/** Most ways to satisfy one expression that are examined. */
const WAYS = 256;

/**
 * Scopes that satisfy all expressions, with none to spare. Of several ways it prefers one that is `held`,
 * then the one that adds the fewest scopes, then the narrowest.
 */
function fewest(needs: readonly ScopeExpression[], held: readonly string[]): string[] {
  const isHeld = granting(held);
  const choices = needs
    .map((need) => {
      const all = waysOf(need);
      const own = all.filter((way) => way.every(isHeld));
      return own.length === 0 ? all : own;
    })
    .sort((a, b) => a.length - b.length);
  let chosen: string[] = [];
  for (const ways of choices) {
    const added = ways.map((way) =>
      way.filter((scope) => !chosen.some((has) => grants(has, scope))),
    );
    const [best = []] = added.sort((a, b) => a.length - b.length || width(a) - width(b));
    chosen = union(chosen, best);
  }
  for (const scope of [...chosen].sort((a, b) => a.length - b.length)) {
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
