/** `taskcluster-local status`: the state of a deployment, for an operator and for scripts. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { revision, version } from 'taskcluster-proxy';
import { readStatus, type Status } from '../../deployment/operation/status.js';
import { openDatabase } from '../../deployment/storage/open.js';
import { ofRunning, orOneSentence, PlaceError, type PlaceOptions, requirePlace } from './place.js';

interface StatusOptions extends PlaceOptions {
  readonly json: boolean;
}

export function declareStatus(program: Command): void {
  const command = program
    .command('status')
    .description(
      'Tell the version, where the data are, how many processes serve them, whether LISTEN is heard, ' +
        'which migrations have been applied, and how many rows there are of each kind. The command ' +
        'changes nothing, and ends with 1 where the operator has something to do.',
    )
    .option('--json', 'print it as JSON', false)
    .action(orOneSentence(print));
  requirePlace(command);
}

async function print({ json, ...place }: StatusOptions): Promise<void> {
  const status = { version, revision, dataFolder: place.dataFolder, ...(await read(place)) };
  console.log(json ? JSON.stringify(status, null, 2) : describe(status));
  if (status.problems.length > 0) {
    process.exitCode = 1;
  }
}

/** @throws PlaceError, and as `openDatabase` */
async function read(place: PlaceOptions): Promise<Status> {
  const { dataFolder, databaseUrl: url } = place;
  const folder = join(dataFolder, 'database');
  if (url === undefined && !existsSync(folder)) {
    throw new PlaceError(
      `there are no data in ${dataFolder}: name the folder that \`taskcluster-local start\` was given`,
    );
  }
  const running = await ofRunning(place);
  const database = running ?? (await openDatabase({ folder, url }));
  try {
    return await readStatus({ database, isShared: running !== undefined });
  } finally {
    await database.close();
  }
}

interface Report extends Status {
  readonly version: string;
  readonly revision: string;
  readonly dataFolder: string;
}

function describe(report: Report): string {
  const { migrations, counts, problems } = report;
  const { applied, known, latest } = migrations;
  const since = latest === undefined ? '' : `, ${latest.name} on ${latest.applied.toJSON()}`;
  const rows = [
    ['version', `${report.version} (git revision ${report.revision})`],
    ['data folder', report.dataFolder],
    ['database', report.database],
    ['processes', `${report.processes}`],
    ['LISTEN', report.listen],
    ['migrations', `${applied} of ${known}${since}`],
    ...Object.entries(counts).map(([name, count]) => [name, `${count}`]),
  ];
  const width = Math.max(...rows.map(([name = '']) => name.length));
  const lines = rows.map(([name = '', value = '']) => `${name.padEnd(width)}  ${value}`);
  return [...lines, ...problems.map((problem) => `problem: ${problem}`)].join('\n');
}
