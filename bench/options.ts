// The bench's command line.
import { parseArgs } from 'node:util';
import { BenchError } from './program.js';

export const HELP = `Measures the proxy beside others, in alternation, on Linux.

  npm run bench -- [options]

  --only NAME,...     These scenarios alone: a name, or the beginning of several names (--list shows
                      them).
  --peers NAME,...    These peers alone, of direct, ours, nginx, haproxy and those of --with.
  --with NAME=COMMAND Another proxy beside them; may be repeated. The command is split at white
                      space; {port}, {rootUrl} and {log} stand for what it is given, credentials
                      are in its environment:
                      --with 'go=taskcluster-proxy --ip-address 127.0.0.1 --port {port} --root-url {rootUrl}'
  --rounds N          Measurements of each peer; their median counts. [default: 5]
  --seconds N         How long load lasts, where time bounds it. [default: 2]
  --long              Also what takes many minutes: bodies of 16 GiB.
  --json FILE         Write every value as JSON.
  --svg FILE          Draw a chart.
  --write-docs        Write figures, chart and JSON into docs/performance.*.
  --list              Show the scenarios.
  --help              Show this help.

TASKCLUSTER_PROXY_COMMAND names another build of the command to measure as ours.
`;

export interface Options {
  only: string[];
  peers: string[];
  with: string[];
  rounds: number;
  seconds: number;
  long: boolean;
  json: string | undefined;
  svg: string | undefined;
  writeDocs: boolean;
  list: boolean;
  help: boolean;
}

export function readOptions(args: string[]): Options {
  const { values } = parse(args);
  const names = (text = '') => text.split(',').filter((name) => name !== '');
  return {
    only: names(values.only),
    peers: names(values.peers),
    with: values.with ?? [],
    rounds: count('--rounds', values.rounds ?? '5'),
    seconds: count('--seconds', values.seconds ?? '2'),
    long: values.long ?? false,
    json: values.json,
    svg: values.svg,
    writeDocs: values['write-docs'] ?? false,
    list: values.list ?? false,
    help: values.help ?? false,
  };
}

/** The scenarios that `--only` names: one by its whole name, or all that begin so. */
export function choose<T extends { name: string }>(
  all: readonly T[],
  only: readonly string[],
): readonly T[] {
  if (only.length === 0) {
    return all;
  }
  const chosen = new Set<T>();
  for (const given of only) {
    const exact = all.filter(({ name }) => name === given);
    const named = exact.length > 0 ? exact : all.filter(({ name }) => name.startsWith(given));
    if (named.length === 0) {
      throw new BenchError(`--only ${given} names no scenario (--list shows them)`);
    }
    for (const each of named) {
      chosen.add(each);
    }
  }
  return all.filter((each) => chosen.has(each));
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        only: { type: 'string' },
        peers: { type: 'string' },
        with: { type: 'string', multiple: true },
        rounds: { type: 'string' },
        seconds: { type: 'string' },
        long: { type: 'boolean' },
        json: { type: 'string' },
        svg: { type: 'string' },
        'write-docs': { type: 'boolean' },
        list: { type: 'boolean' },
        help: { type: 'boolean' },
      },
    });
  } catch (error) {
    throw new BenchError(`${error instanceof Error ? error.message : error} (--help tells more)`);
  }
}

function count(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new BenchError(`${flag} takes a whole number from 1, not ${text}`);
  }
  return value;
}
