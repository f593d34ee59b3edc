/** `taskcluster-local scopes`: which scopes a task needs, according to the audit log of its proxy. */
import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { ApiReference } from '../../deployment/api/reference.js';
import {
  type AuditLine,
  type LeastScopes,
  leastScopes,
} from '../../deployment/review/least-scopes.js';
import { ReviewError } from '../../deployment/review/subject.js';
import { readable } from '../../deployment/review/wording.js';
import { addDeploymentOption, deploymentOf, orTrouble, present } from './review-options.js';

interface Options {
  readonly from: string;
  readonly references?: string;
  readonly rootUrl?: string;
  readonly form: 'list' | 'json' | 'diff';
}

export function declareScopes(program: Command): void {
  const command = program
    .command('scopes')
    .description(
      'Tell which scopes would have sufficed for the calls of an audit log of taskcluster-proxy. Calls ' +
        'that it cannot judge are listed on stderr.',
    )
    .requiredOption('--from <file>', 'the audit log', present)
    .option(
      '--references <file>',
      "the deployment's references, a JSON array, instead of asking it for them",
      present,
    );
  addDeploymentOption(command)
    .addOption(
      new Option(
        '--form <form>',
        'a scope a line, the scopes of a task, or what the task had beside it',
      )
        .choices(['list', 'json', 'diff'])
        .default('list'),
    )
    .action(orTrouble(tell));
}

async function tell({ from, references, rootUrl, form }: Options): Promise<void> {
  const lines = await readLines(from);
  const known =
    references === undefined
      ? await deploymentOf(rootUrl === undefined ? {} : { rootUrl }).references()
      : ((await readJson(references)) as ApiReference[]);
  const { TASKCLUSTER_ROOT_URL = '' } = process.env;
  const least = leastScopes(lines, known, rootUrl ?? TASKCLUSTER_ROOT_URL);
  for (const { call, why, needs } of least.unknown) {
    console.error(`not known: ${call}: ${why}${needs === undefined ? '' : `: ${readable(needs)}`}`);
  }
  process.stdout.write(FORMS[form](least));
}

const FORMS: Record<Options['form'], (least: LeastScopes) => string> = {
  list: ({ scopes }) => scopes.map((scope) => `${scope}\n`).join(''),
  json: ({ scopes }) => `${JSON.stringify({ scopes }, null, 2)}\n`,
  diff: ({ scopes, had, unused, tooWide }) =>
    [
      ...(had === null ? ['? the task was signed for with all scopes of its credentials'] : []),
      ...unused.map((scope) => `- ${scope}`),
      ...tooWide.map((scope) => `> ${scope}`),
      ...scopes.map((scope) => `${had?.includes(scope) ? '=' : '+'} ${scope}`),
    ]
      .map((line) => `${line}\n`)
      .join(''),
};

async function readLines(path: string): Promise<AuditLine[]> {
  const text = await read(path);
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line, at) => {
    try {
      return JSON.parse(line) as AuditLine;
    } catch {
      throw new ReviewError(`line ${at + 1} of ${path} is no JSON: pass an audit log`);
    }
  });
}

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await read(path));
  } catch (error) {
    throw error instanceof SyntaxError ? new ReviewError(`${path} is no JSON`) : error;
  }
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new ReviewError(`cannot read ${path}: ${(error as Error).message}`);
  }
}
