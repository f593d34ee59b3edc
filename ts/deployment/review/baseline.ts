/**
 * A baseline: a file of accepted findings, each with a note, that a build compares with. An open endpoint
 * that it does not list, or that is open wider than listed, is new.
 */
import type { Passage } from '../api/passage.js';
import type { Exposure } from '../exposure.js';
import { isWider } from './changes.js';
import { ReviewError } from './subject.js';

/** An endpoint that is open to the subject, and the note that accepts it. */
export interface Accepted {
  readonly endpoint: string;
  readonly passes: Exclude<Passage, 'never'>;
  readonly by: readonly string[];
  readonly note: string;
}

export interface Baseline {
  /** The subject, in words: a finding accepted for one client is not accepted for every caller. */
  readonly of: string;
  readonly accepted: readonly Accepted[];
}

export interface Comparison {
  /** Endpoints that are open wider than accepted. */
  readonly fresh: readonly Exposure[];
  /** Accepted endpoints that are no longer open. */
  readonly gone: readonly string[];
}

/** Endpoints that are open by granted scopes: an endpoint that needs no scopes is no finding. */
export function findings(rows: readonly Exposure[]): Exposure[] {
  return rows.filter(({ scopes, passes }) => scopes !== null && passes !== 'never');
}

export function baselineOf(of: string, rows: readonly Exposure[], note: string): Baseline {
  const accepted = findings(rows).map(({ service, endpoint, passes, by }) => ({
    endpoint: `${service}.${endpoint}`,
    passes: passes as Accepted['passes'],
    by,
    note,
  }));
  return { of, accepted };
}

export function compare(rows: readonly Exposure[], { accepted }: Baseline): Comparison {
  const known = new Map(accepted.map((each) => [each.endpoint, each]));
  const open = findings(rows);
  const names = new Set(open.map(nameOf));
  return {
    fresh: open.filter((row) => isWider(known.get(nameOf(row)), row)),
    gone: accepted.map(({ endpoint }) => endpoint).filter((name) => !names.has(name)),
  };
}

function nameOf({ service, endpoint }: Exposure): string {
  return `${service}.${endpoint}`;
}

/** @throws ReviewError if it does not have the form of `baselineOf`, or is for another subject */
export function readBaseline(text: string, file: string, of: string): Baseline {
  const baseline = jsonOf(text, file) as Partial<Baseline> | null;
  const { accepted } = baseline ?? {};
  if (typeof baseline?.of !== 'string' || !Array.isArray(accepted)) {
    throw new ReviewError(`${file} is no baseline: make one with --as-baseline NOTE`);
  }
  onlyKeys(baseline, ['of', 'accepted'], file);
  if (baseline.of !== of) {
    throw new ReviewError(`${file} accepts what ${baseline.of} may do, and this is for ${of}`);
  }
  for (const each of accepted) {
    checkAccepted(each, file);
  }
  return { of, accepted };
}

function checkAccepted(each: Partial<Accepted> | null, file: string): void {
  const { endpoint, passes = '', by, note } = each ?? {};
  if (typeof endpoint !== 'string' || !/^[\w-]+\.\w+$/.test(endpoint)) {
    throw new ReviewError(`${file}: a finding names no endpoint, such as "queue.task"`);
  }
  onlyKeys(each ?? {}, ['endpoint', 'passes', 'by', 'note'], `${file}: ${endpoint}`);
  if (!['always', 'sometimes'].includes(passes) || !isListOfText(by)) {
    throw new ReviewError(
      `${file}: ${endpoint} needs "passes" (always or sometimes) and "by", a list of scopes`,
    );
  }
  if (typeof note !== 'string' || note.trim() === '') {
    throw new ReviewError(`${file}: ${endpoint} needs a "note" that says why it is accepted`);
  }
}

/** A state as `exposure --json` prints it. @throws ReviewError */
export function readState(text: string, file: string): Exposure[] {
  const rows = jsonOf(text, file);
  const isState = Array.isArray(rows) && rows.length > 0 && rows.every(isExposure);
  if (!isState) {
    throw new ReviewError(`${file} is no saved state: save one with exposure --json`);
  }
  return rows;
}

function isExposure(row: Partial<Exposure> | null): boolean {
  const { service, endpoint, method, path, scopes, passes = '', by } = row ?? {};
  const texts = [service, endpoint, method, path].every((each) => typeof each === 'string');
  return (
    texts &&
    scopes !== undefined &&
    ['always', 'sometimes', 'never'].includes(passes) &&
    isListOfText(by)
  );
}

function jsonOf(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ReviewError(`${file} is not JSON`);
  }
}

function isListOfText(value: unknown): boolean {
  return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

function onlyKeys(value: object, keys: readonly string[], where: string): void {
  const other = Object.keys(value).find((key) => !keys.includes(key));
  if (other !== undefined) {
    throw new ReviewError(`${where} has '${other}': write ${keys.join(', ')} only`);
  }
}
