/**
 * Which scopes of a subject no call in the audit logs has needed. `least-scopes.ts` tells what a call needs.
 *
 * A call counts for a client if the client has signed it. For a role and for scopes every call counts, since a line does
 * not tell why its client holds a scope. Memory does not grow with the logs: calls that need the same of the subject's
 * scopes count as one.
 */
import { granters } from '../api/passage.js';
import type { ScopeTemplatePart } from '../api/scope-template.js';
import { RoleExpansion, type RoleScopes } from '../auth/roles.js';
import { granting, grants, type ScopeExpression, satisfies } from '../scopes.js';
import { eachInSlices, Slice } from '../turns.js';
import { type AuditLine, auditPieces, type FileList } from './audit-log.js';
import { CallNeeds, fewest, signedCall, type TaskReader } from './least-scopes.js';
import {
  ANONYMOUS,
  described,
  grantedTo,
  ReviewError,
  type Source,
  type Subject,
} from './subject.js';
import { withRoles } from './what-if.js';

export interface UseQuestion {
  readonly subject: Subject;
  /** Roles to count with instead of the actual ones. */
  readonly wanted: readonly RoleScopes[];
  readonly days: number;
  readonly files: FileList;
  /** The root URLs by which proxies call the deployment. */
  readonly rootUrls: readonly string[];
  readonly readTask: TaskReader;
  /** Ends the reading. */
  readonly signal?: AbortSignal;
}

/** A scope of the subject, and what grants it. */
export interface HeldScope {
  readonly scope: string;
  readonly from: readonly string[];
}

/** A reason for which the need of calls is not known. */
export interface UnknownNeed {
  /** An endpoint that decides by the body, or a code: `refused`, `no-endpoint`. */
  readonly reason: string;
  readonly calls: number;
}

export interface Unused {
  /** The subject, in words. */
  readonly of: string;
  readonly days: number;
  /** The beginning of these days. */
  readonly since: string;
  /** The time of the earliest line in the logs; `null` without a line. */
  readonly earliest: string | null;
  /** The calls to this deployment in these days, and those of the subject among them. */
  readonly calls: number;
  readonly counted: number;
  /** The calls to other hosts, which need no scopes here, and some of these hosts. */
  readonly elsewhere: number;
  readonly hosts: readonly string[];
  /** The number of the subject's scopes that were judged. */
  readonly held: number;
  readonly unused: readonly HeldScope[];
  /** Scopes that only calls with an unknown need may have needed. */
  readonly perhaps: readonly HeldScope[];
  readonly unknown: readonly UnknownNeed[];
  /** The number of lines that are not of an audit log. */
  readonly unreadable: number;
}

const DAY = 24 * 60 * 60 * 1000;

/** Reads a number of days. @throws ReviewError */
export function readDays(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) {
    throw new ReviewError(`'${text}' is not a number of days: write one from 1 to 9999`);
  }
  return Number(text);
}

/** @throws ReviewError, RoleError */
export async function unusedScopes(source: Source, question: UseQuestion): Promise<Unused> {
  const { subject, wanted, files, rootUrls, readTask, signal } = question;
  const granted = subject.kind === 'anonymous' ? [ANONYMOUS] : await grantedTo(source, subject);
  const expansion = new RoleExpansion(withRoles(await source.roles(), wanted));
  const expanded = await expansion.expand(granted);
  const uses = new Uses(expanded.filter((scope) => !scope.startsWith('assume:')));
  const references = await source.references();
  const reading = new Reading(question, uses, new CallNeeds({ references, rootUrls, readTask }));
  const slice = new Slice();
  for await (const { lines, unreadable } of auditPieces(files)) {
    reading.unreadable += unreadable;
    for (const line of lines) {
      await reading.take(line);
      if (slice.isOver) {
        await slice.next();
        signal?.throwIfAborted();
      }
    }
  }
  const origins = await expansion.origins(granted);
  const withOrigin = (scope: string): HeldScope => ({
    scope,
    from: [
      ...(granted.includes(scope) && subject.kind !== 'scopes' ? [described(subject)] : []),
      ...new Set((origins.get(scope) ?? []).map(({ roleId }) => `the role ${roleId}`)),
    ],
  });
  const { unused, perhaps } = await uses.result();
  return {
    ...reading.result(),
    held: uses.held.length,
    unused: unused.map(withOrigin),
    perhaps: perhaps.map(withOrigin),
  };
}

/** Most other hosts that are named. */
const NAMED_HOSTS = 5;

/** The result so far of reading the logs. */
class Reading {
  unreadable = 0;
  readonly #question: UseQuestion;
  readonly #uses: Uses;
  readonly #needs: CallNeeds;
  readonly #since: number;
  #earliest = Number.POSITIVE_INFINITY;
  #calls = 0;
  #counted = 0;
  #elsewhere = 0;
  readonly #hosts = new Set<string>();
  readonly #unknown = new Map<string, number>();

  constructor(question: UseQuestion, uses: Uses, needs: CallNeeds) {
    this.#question = question;
    this.#uses = uses;
    this.#needs = needs;
    this.#since = Date.now() - question.days * DAY;
  }

  async take(line: AuditLine): Promise<void> {
    const time = Date.parse(line.time);
    this.#earliest = Math.min(this.#earliest, time);
    const call = time < this.#since ? undefined : signedCall(line);
    if (call === undefined) {
      return;
    }
    const found = await this.#needs.of(call);
    if (found === null) {
      this.#noteElsewhere(call.url);
      return;
    }
    this.#calls += 1;
    const { subject } = this.#question;
    if (subject.kind === 'client' && line.clientId !== subject.clientId) {
      return;
    }
    this.#counted += 1;
    if ('why' in found) {
      this.#unknown.set(found.reason, (this.#unknown.get(found.reason) ?? 0) + 1);
      if (found.needs !== undefined) {
        this.#uses.mayNeed(found.needs);
      }
    } else if (found.needs !== null) {
      this.#uses.need(found.needs);
    }
  }

  #noteElsewhere(url: string): void {
    this.#elsewhere += 1;
    if (this.#hosts.size < NAMED_HOSTS && URL.canParse(url)) {
      this.#hosts.add(new URL(url).origin);
    }
  }

  result(): Omit<Unused, 'held' | 'unused' | 'perhaps'> {
    const { subject, days } = this.#question;
    const earliest = Number.isFinite(this.#earliest) ? new Date(this.#earliest) : null;
    const unknown = [...this.#unknown].map(([reason, calls]) => ({ reason, calls }));
    return {
      of: described(subject),
      days,
      since: new Date(this.#since).toISOString(),
      earliest: earliest?.toISOString() ?? null,
      calls: this.#calls,
      counted: this.#counted,
      elsewhere: this.#elsewhere,
      hosts: [...this.#hosts],
      unknown: unknown.sort((a, b) => b.calls - a.calls),
      unreadable: this.unreadable,
    };
  }
}

/** Most texts that are remembered as already seen. */
const REMEMBERED = 10_000;

/** Gathers what calls need of the scopes that are held. */
class Uses {
  readonly held: readonly string[];
  readonly #isHeld: (wanted: string) => boolean;
  /**
   * By each needed scope, one scope that stands for all those which the same held scopes grant. Below: that one
   * scope by these held scopes.
   */
  readonly #alike = new Map<string, string>();
  readonly #standing = new Map<string, string>();
  readonly #needs = new Map<string, ScopeExpression>();
  readonly #templates = new Set<string>();
  readonly #perhaps = new Set<string>();

  constructor(held: readonly string[]) {
    this.held = held;
    this.#isHeld = granting(held);
  }

  /** Each part of an `AllOf` is needed, also if another one is not granted by these scopes. */
  need(wanted: ScopeExpression): void {
    if (typeof wanted === 'string') {
      if (this.#isHeld(wanted)) {
        this.#keep(this.#alikeOf(wanted));
      }
    } else if ('AllOf' in wanted) {
      for (const part of wanted.AllOf) {
        this.need(part);
      }
    } else {
      this.#needAny(wanted.AnyOf);
    }
  }

  #needAny(ways: readonly ScopeExpression[]): void {
    const own = ways.filter((way) => satisfies(this.held, way));
    const [only] = own;
    if (own.length === 0) {
      this.mayNeed({ AnyOf: ways } as ScopeTemplatePart);
    } else if (own.length === 1 && only !== undefined) {
      this.need(only);
    } else {
      this.#keep({ AnyOf: own.map((way) => this.#standIn(way)) });
    }
  }

  /** Counts a call with a need that is known in part. */
  mayNeed(wanted: ScopeTemplatePart): void {
    const text = JSON.stringify(wanted);
    if (!this.#templates.has(text)) {
      remember(this.#templates, text);
      for (const scope of granters(wanted, this.held)) {
        this.#perhaps.add(scope);
      }
    }
  }

  #keep(wanted: ScopeExpression): void {
    const text = JSON.stringify(wanted);
    if (this.#needs.size < REMEMBERED) {
      this.#needs.set(text, wanted);
    } else if (!this.#needs.has(text)) {
      this.mayNeed(wanted as ScopeTemplatePart);
    }
  }

  #standIn(wanted: ScopeExpression): ScopeExpression {
    if (typeof wanted === 'string') {
      return this.#alikeOf(wanted);
    }
    return 'AllOf' in wanted
      ? { AllOf: wanted.AllOf.map((part) => this.#standIn(part)) }
      : { AnyOf: wanted.AnyOf.map((part) => this.#standIn(part)) };
  }

  #alikeOf(wanted: string): string {
    const known = this.#alike.get(wanted);
    if (known !== undefined) {
      return known;
    }
    const key = this.held.filter((scope) => grants(scope, wanted)).join('\n');
    const alike = this.#standing.get(key) ?? wanted;
    this.#standing.set(key, alike);
    if (this.#alike.size >= REMEMBERED) {
      this.#alike.clear();
    }
    this.#alike.set(wanted, alike);
    return alike;
  }

  async result(): Promise<{ unused: readonly string[]; perhaps: readonly string[] }> {
    const chosen = fewest([...this.#needs.values()], this.held);
    const isUsed = await eachInSlices(this.held, async (scope) =>
      chosen.some((needed) => grants(scope, needed)),
    );
    const left = this.held.filter((_, index) => !isUsed[index]);
    return {
      unused: left.filter((scope) => !this.#perhaps.has(scope)),
      perhaps: left.filter((scope) => this.#perhaps.has(scope)),
    };
  }
}

function remember(texts: Set<string>, text: string): void {
  if (texts.size >= REMEMBERED) {
    texts.clear();
  }
  texts.add(text);
}
