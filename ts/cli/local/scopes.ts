/** `taskcluster-local scopes`: which scopes a task needs, according to the audit log of its proxy. */
import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import type { ApiReference } from '../../deployment/api/reference.js';
import type { ScopeTemplatePart } from '../../deployment/api/scope-template.js';
import { type AuditLine, auditPieces, checkAuditLogs } from '../../deployment/review/audit-log.js';
import { type LeastScopes, leastScopes } from '../../deployment/review/least-scopes.js';
import { ReviewError } from '../../deployment/review/subject.js';
import { counted } from '../../deployment/review/unused-wording.js';
import { readable } from '../../deployment/review/wording.js';
import { addDeploymentOption, deploymentOf, orTrouble, present } from './review-options.js';

interface Options {
  readonly from: string;
  readonly references?: string;
  readonly rootUrl?: string;
  readonly form: 'list' | 'json' | 'diff' | 'calls';
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
        'a scope a line, the scopes of a task, what the task had beside it, or each call with its API ' +
          'method and what that needs',
      )
        .choices(['list', 'json', 'diff', 'calls'])
        .default('list'),
    )
    .action(orTrouble(tell));
}

async function tell({ from, references, rootUrl, form }: Options): Promise<void> {
  await checkAuditLogs([from]);
  const lines = linesOf(from);
  const { TASKCLUSTER_ROOT_URL = '' } = process.env;
  const root = rootUrl ?? TASKCLUSTER_ROOT_URL;
  const least = await (references === undefined
    ? askingFor(lines, root)
    : leastScopes(lines, (await readJson(references)) as ApiReference[], root));
  for (const { call, why, needs } of least.unknown) {
    console.error(`not known: ${call}: ${why}${needs === undefined ? '' : `: ${readable(needs)}`}`);
  }
  process.stdout.write(FORMS[form](least));
}

async function askingFor(lines: AsyncIterable<AuditLine>, rootUrl: string): Promise<LeastScopes> {
  const deployment = deploymentOf({ rootUrl });
  const references = await deployment.references();
  return leastScopes(lines, references, rootUrl, (taskId) => deployment.task(taskId));
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
  calls: ({ calls }) =>
    calls
      .map(({ call, endpoint, needs }) => {
        const words = needs === null ? 'no scopes' : readable(needs as ScopeTemplatePart);
        return `${endpoint}  ${call}: ${words}\n`;
      })
      .join(''),
};

async function* linesOf(path: string): AsyncGenerator<AuditLine> {
  let unreadable = 0;
  for await (const piece of auditPieces(async () => [path])) {
    unreadable += piece.unreadable;
    yield* piece.lines;
  }
  if (unreadable > 0) {
    console.error(
      `not known: ${counted(unreadable, 'line')} of ${path}: not in the form of an audit log`,
    );
  }
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
