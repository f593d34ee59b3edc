// Makes cases from a seed and plays them on both wires, on several pairs of proxies at a time.
//
// What it is not: it says neither what a case is (`script.ts`) nor what must be the same
// (`compare.ts`).
import fc from 'fast-check';
import { differences, type Wire } from './compare.js';
import { type Seen, Stage } from './play.js';
import { type Script, script } from './script.js';

export interface Run {
  cases: number;
  seed: number;
  /** Pairs of proxies. */
  pairs: number;
  /** Where to begin in the only pair, as a report says. */
  path?: string;
  /** Further flags of one proxy of each pair, to see that a difference is found. */
  hyperFlags?: string[];
  /** How long a script that differs is made smaller. */
  shrinkingMs?: number;
  /** Called behind each case. */
  progress?: () => void;
  /** Called with what is found, when it is: a long run may be ended before its end. */
  tell?: (report: string) => void;
}

export interface Outcome {
  cases: number;
  /** The differences, each with its smallest script and how to repeat it. */
  found: string[];
  /** Cases that differed, and then did not. */
  passing: string[];
}

interface Teardown {
  teardown(end: () => unknown): void;
}

export async function run(
  t: Teardown,
  { cases, seed, pairs, path, hyperFlags = [], shrinkingMs = 30_000, progress, tell }: Run,
): Promise<Outcome> {
  const outcome: Outcome = { cases: 0, found: [], passing: [] };
  const runs = Array.from({ length: pairs }, async (_, at) => {
    const pair = await Pair.open(t, hyperFlags);
    let until = Number.POSITIVE_INFINITY;
    const property = fc.asyncProperty(script, async (drawn) => {
      if (Date.now() > until) {
        return;
      }
      try {
        const passing = await pair.check(drawn);
        if (passing !== undefined && until === Number.POSITIVE_INFINITY) {
          outcome.passing.push(passing);
          tell?.(`Differed, and then did not:\n${passing}`);
        }
      } catch (error) {
        until = Math.min(until, Date.now() + shrinkingMs);
        throw error;
      }
      progress?.();
    });
    const numRuns = Math.ceil(cases / pairs);
    const own = seed + at;
    const details = await fc.check(property, {
      seed: own,
      numRuns,
      ...(path === undefined ? {} : { path }),
    });
    outcome.cases += details.numRuns;
    if (details.failed) {
      const error = details.errorInstance;
      const [smallest] = details.counterexample ?? [];
      const found = [
        error instanceof Error ? error.message : String(error),
        JSON.stringify(smallest),
        `npm run wires -- --pairs 1 --seed ${own} --path ${details.counterexamplePath}`,
      ].join('\n');
      outcome.found.push(found);
      tell?.(found);
    }
  });
  await Promise.all(runs);
  return outcome;
}

/** Plays these scripts in turn, and gives what differs. */
export async function again(t: Teardown, scripts: Script[]): Promise<string[]> {
  const pair = await Pair.open(t, []);
  const found: string[] = [];
  for (const each of scripts) {
    await pair.check(each).catch((error: Error) => found.push(error.message));
  }
  return found;
}

/** Two proxies that differ in their wire alone. */
export class Pair {
  #number = 0;
  readonly #stages: Record<Wire, Stage>;

  private constructor(stages: Record<Wire, Stage>) {
    this.#stages = stages;
  }

  static async open(t: Teardown, hyperFlags: string[]): Promise<Pair> {
    const [socket, hyper] = await Promise.all([
      Stage.open(t, []),
      // All goes by hyper then, also to an upstream of HTTP/1.1.
      Stage.open(t, ['--upstream-http2', ...hyperFlags]),
    ]);
    return new Pair({ socket, hyper });
  }

  /** Throws where the wires differ on `drawn` three times running; gives what differed before. */
  async check(drawn: Script): Promise<string | undefined> {
    let before: string | undefined;
    for (let time = 0; time < 3; time += 1) {
      const differing = this.differences(drawn, await this.play(drawn));
      if (differing.length === 0) {
        return before && `${before}\n${JSON.stringify(drawn)}`;
      }
      before = differing.join('\n');
    }
    throw new Error(before);
  }

  /** Plays a script on both wires, or another one on hyper's. */
  async play(drawn: Script, other = drawn): Promise<Record<Wire, Seen>> {
    this.#number += 1;
    const [socket, hyper] = await Promise.all([
      this.#stages.socket.play(drawn, this.#number),
      this.#stages.hyper.play(other, this.#number),
    ]);
    return { socket, hyper };
  }

  differences(drawn: Script, seen: Record<Wire, Seen>): string[] {
    return differences(drawn, this.#stages, seen);
  }
}
