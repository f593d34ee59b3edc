// Clients that put load on a peer. wrk drives small GETs as fast as they are answered; it is a
// program of its own, so that its CPU time is nobody else's.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { BenchError, findProgram } from './program.js';

export interface Load {
  /** Answered with 2xx. */
  readonly requests: number;
  readonly perSecond: number;
}

export function findWrk(): string | undefined {
  return findProgram('wrk');
}

/**
 * As many requests as `connections` can carry, each sent when the one before it is answered.
 *
 * @param seconds - Whole seconds.
 */
export async function runWrk(url: string, connections: number, seconds: number): Promise<Load> {
  const wrk = findWrk();
  if (wrk === undefined) {
    throw new BenchError('wrk is not installed');
  }
  const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '--timeout', '10s', url];
  const child = spawn(wrk, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [told] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  const failures = /Non-2xx.*|Socket errors.*[1-9].*/.exec(told)?.[0];
  const requests = Number(/(\d+) requests in/.exec(told)?.[1]);
  const perSecond = Number(/Requests\/sec:\s+([\d.]+)/.exec(told)?.[1]);
  if (failures !== undefined || !(requests > 0)) {
    throw new BenchError(`not every request to ${url} was answered with 2xx:\n${told}`);
  }
  return { requests, perSecond };
}
