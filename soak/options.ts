// The soak's command line.
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';

export const HELP = `Runs the proxy, or the deployment, under load while what it stands on breaks, on Linux.

  npm run soak -- [options]

  --minutes N    How long the load lasts. [default: 5]
  --pause MS     The longest pause of a client between two exchanges. [default: 100]
  --deployment   The deployment on PostgreSQL, whose server is restarted, in the place of the proxy.
  --seed N       Make the choices of the run that printed this seed. What the network and the
                 scheduler do meanwhile is not repeated.
  --help         Show this help.

TASKCLUSTER_PROXY_COMMAND names another build of the proxy's command.
`;

export interface Options {
  readonly minutes: number;
  readonly pause: number;
  readonly seed: number;
  readonly deployment: boolean;
  readonly help: boolean;
}

/** What the user is told in one sentence, without a stack. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export function readOptions(args: string[]): Options {
  const { minutes = '5', pause = '100', seed, deployment = false, help = false } = parse(args);
  return {
    minutes: number('--minutes', minutes, (value) => value > 0),
    pause: number('--pause', pause, (value) => Number.isInteger(value) && value > 0),
    seed: number('--seed', seed ?? `${randomInt(2 ** 32)}`, Number.isInteger),
    deployment,
    help,
  };
}

function parse(args: string[]) {
  try {
    const options = {
      minutes: { type: 'string' },
      pause: { type: 'string' },
      seed: { type: 'string' },
      deployment: { type: 'boolean' },
      help: { type: 'boolean' },
    } as const;
    return parseArgs({ args, options }).values;
  } catch (error) {
    throw new UsageError(`${error instanceof Error ? error.message : error} (--help tells more)`);
  }
}

function number(flag: string, text: string, isFit: (value: number) => boolean): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value) || !isFit(value)) {
    throw new UsageError(`${flag} takes a number, not ${text} (--help tells more)`);
  }
  return value;
}
